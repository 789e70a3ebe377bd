use std::str::FromStr;

use bitcoin::secp256k1::Secp256k1;
use bitcoin::taproot::TapNodeHash;

use super::*;
use crate::ids::Threshold;
use crate::keys::TapTweak;
use crate::protocol::rng;
use crate::protocol::testbed::deal;

fn path(indices: &[u32]) -> DerivationPath {
    DerivationPath::try_from(indices.to_vec()).unwrap()
}

fn parse(xpub: &str) -> (Xpub, PublicKey, ChainCode) {
    let xpub = Xpub::from_str(xpub).unwrap();
    let key = PublicKey::new(Scheme::Ecdsa, &xpub.public_key.serialize()).unwrap();
    (xpub, key, ChainCode(xpub.chain_code.to_bytes()))
}

fn key(scheme: Scheme) -> PublicKey {
    deal(scheme, Threshold::new(2, 2).unwrap(), &mut rng::os())[0].public_key()
}

fn array(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// BIP-32, test vectors 1 and 2: every step that is not hardened, as parent, index and child.
const BIP32: [(&str, u32, &str); 6] = [
    (
        "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
        1,
        "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
    ),
    (
        "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        2,
        "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
    ),
    (
        "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
        1_000_000_000,
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
    (
        "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB",
        0,
        "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
    ),
    (
        "xpub6ASAVgeehLbnwdqV6UKMHVzgqAG8Gr6riv3Fxxpj8ksbH9ebxaEyBLZ85ySDhKiLDBrQSARLq1uNRts8RuJiHjaDMBU4Zn9h8LZNnBC5y4a",
        1,
        "xpub6DF8uhdarytz3FWdA8TvFSvvAh8dP3283MY7p2V4SeE2wyWmG5mg5EwVvmdMVCQcoNJxGoWaU9DCWh89LojfZ537wTfunKau47EL2dhHKon",
    ),
    (
        "xpub6ERApfZwUNrhLCkDtcHTcxd75RbzS1ed54G1LkBUHQVHQKqhMkhgbmJbZRkrgZw4koxb5JaHWkY4ALHY2grBGRjaDMzQLcgJvLJuZZvRcEL",
        2,
        "xpub6FnCn6nSzZAw5Tw7cgR9bi15UV96gLZhjDstkXXxvCLsUXBGXPdSnLFbdpq8p9HmGsApME5hQTZ3emM2rnY5agb9rXpVGyy3bdW6EEgAtqt",
    ),
];

#[test]
fn derive__should_agree_with_the_vectors_of_bip_32() {
    for (parent, index, child) in BIP32 {
        let (parent, key, chain_code) = parse(parent);
        let mut derived = derive(&key, &chain_code, &path(&[index])).unwrap();
        // The vectors' parents are not at the root, as a wallet's key is.
        derived.depth += parent.depth;
        assert_eq!(derived.xpub(NetworkKind::Main).unwrap(), child);
    }
}

#[test]
fn derive__should_agree_with_another_library_down_to_the_deepest_path() {
    let secp = Secp256k1::new();
    let indices: Vec<u32> = (0..255).map(|level| level * 0x0080_0001).collect();
    for scheme in [Scheme::Ecdsa, Scheme::Bip340] {
        let (root, chain_code) = (key(scheme), ChainCode([7; 32]));
        let at_root = derive(&root, &chain_code, &path(&[])).unwrap();
        let mut reference = Xpub::from_str(&at_root.xpub(NetworkKind::Test).unwrap()).unwrap();
        for (depth, &index) in (1..).zip(&indices) {
            reference = reference.ckd_pub(&secp, ChildNumber::from_normal_idx(index).unwrap()).unwrap();
            if depth % 51 == 0 {
                let derived = derive(&root, &chain_code, &path(&indices[..depth])).unwrap();
                assert_eq!(derived.xpub(NetworkKind::Test).unwrap(), reference.to_string(), "depth {depth}");
            }
        }
        assert_eq!(reference.depth, 255);
    }
}

/// The client protocol's rule on Ed25519, computed apart from this crate with big integers: the public key of the secret
/// scalar 123456789, the chain code 00 01 .. 1f, and for each index of a path the child, its chain code and the tweak.
const ED25519_ROOT: &str = "17ffad8068dc0de9935d36636f3ad1b5de6de3413b12388e453b05f2a4c1d3db";
const ED25519: [(u32, &str, &str, &str); 4] = [
    (
        0,
        "f55ec334d97cb18bc7d63ad491449f52b5e4428aa07d8d8391ec8e8e292f15aa",
        "17dcc18b085f5ce00ac40d0312ec22113cee2373681c5be8afb9b92c4f5283f4",
        "0f70561267b995722a119ce9c901ff39f06124c01968a8adcb0c06a4867a2610",
    ),
    (
        1,
        "bb56cf1ecb8eb2a232210eff70b77943c725ff28a0f7670176e638fbcdf56f68",
        "375960bd4cdace167861a04a903b3967fca27d363ba21fcef61f80dc90277e5d",
        "044a3745f5631cfcfb5ada192c7234f7d92f4a7e250e7a26331251b93ededa6a",
    ),
    (
        44,
        "9778cc9233fad16bebd63ff4e40ccb0b7cb85db9b9df8e8d6598f590aaeb36d4",
        "d77c69cde622262bf1f8c06f1f215d0c31ee5daf43d697749cb8fdd14da843b4",
        "01de431c2c8cdd985fe12a5201d31f700fa7dca6162d1ad1dbd0aec71aaa7ec4",
    ),
    (
        2_147_483_647,
        "de46d0c12c3db478f68053076dfef53fbe2100b74257757aead64b418a44c238",
        "923312e6d7e36294157b64d0cb12d31892adaed500d9473d693cd7ee8e16a89b",
        "07cf5a157b203d786e2d39f4f9c0e4ae162929fb09df7d01461f6ed21ec431ef",
    ),
];

#[test]
fn derive__should_follow_the_client_protocol_on_ed25519() {
    let root = PublicKey::new(Scheme::Ed25519, &array(ED25519_ROOT)).unwrap();
    let chain_code = ChainCode(std::array::from_fn(|position| u8::try_from(position).unwrap()));
    for depth in 1..=ED25519.len() {
        let indices: Vec<u32> = ED25519[..depth].iter().map(|row| row.0).collect();
        let (_, child, child_chain_code, tweak) = ED25519[depth - 1];
        let derived = derive(&root, &chain_code, &path(&indices)).unwrap();
        assert_eq!(hex::encode(derived.public_key.as_bytes()), child);
        assert_eq!(hex::encode(derived.chain_code.0), child_chain_code);
        assert_eq!(hex::encode(derived.tweak.as_bytes()), tweak);
    }
}

#[test]
fn derive__should_leave_the_key_alone_at_the_empty_path() {
    for scheme in Scheme::ALL {
        let (key, chain_code) = (key(scheme), ChainCode([3; 32]));
        let derived = derive(&key, &chain_code, &path(&[])).unwrap();
        assert_eq!((derived.public_key, derived.chain_code, derived.depth), (key, chain_code, 0));
        assert_eq!(derived.tweak.as_bytes(), &[0; 32]);
    }
}

#[test]
fn derive__should_tell_the_difference_to_the_parent_as_tweak() {
    for scheme in Scheme::ALL {
        let key = key(scheme);
        let derived = derive(&key, &ChainCode([3; 32]), &path(&[1, 2, 3])).unwrap();
        with_suite!(scheme, C => {
            let moved = <C as frost_core::Ciphersuite>::Group::generator() * derived.tweak.to_scalar::<C>().unwrap();
            let child = decode_point::<C>(&key).unwrap() + moved;
            assert_eq!(encode_point::<C>(&child).unwrap(), derived.public_key);
        });
    }
}

#[test]
fn derive__should_give_every_path_and_chain_code_its_own_key() {
    for scheme in Scheme::ALL {
        let key = key(scheme);
        let mut seen = std::collections::BTreeSet::new();
        for chain_code in [ChainCode([1; 32]), ChainCode([2; 32])] {
            for indices in [&[0][..], &[1], &[0, 0], &[0, 1], &[1, 0], &[(1 << 31) - 1]] {
                assert!(seen.insert(derive(&key, &chain_code, &path(indices)).unwrap().public_key));
            }
        }
    }
}

#[test]
fn derive__should_refuse_what_is_no_point() {
    let no_point = |scheme, bytes: &[u8]| {
        let key = PublicKey::new(scheme, bytes).unwrap();
        derive(&key, &ChainCode([1; 32]), &path(&[0])).unwrap_err()
    };
    assert_eq!(no_point(Scheme::Ecdsa, &[&[2][..], &[0; 32]].concat()), DerivationError::PublicKey);
    let off_curve = [&[2][..], &[0xff; 32]].concat();
    assert_eq!(no_point(Scheme::Bip340, &off_curve), DerivationError::PublicKey);
    // The identity, and the point of order two.
    let identity = [&[1][..], &[0; 31]].concat();
    let order_two = [&[0xec][..], &[0xff; 30], &[0x7f]].concat();
    assert_eq!(no_point(Scheme::Ed25519, &identity), DerivationError::PublicKey);
    assert_eq!(no_point(Scheme::Ed25519, &order_two), DerivationError::PublicKey);
}

#[test]
fn scalar__should_be_refused_from_the_group_order_on() {
    let secp256k1_order = array("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let mut below = secp256k1_order;
    below[31] -= 1;
    assert!(scalar_from_be::<frost_secp256k1::Secp256K1Sha256>(below).is_some());
    assert!(scalar_from_be::<frost_secp256k1::Secp256K1Sha256>(secp256k1_order).is_none());
    assert!(scalar_from_be::<frost_secp256k1::Secp256K1Sha256>([0xff; 32]).is_none());
}

#[test]
fn xpub__should_not_exist_for_ed25519() {
    let derived = derive(&key(Scheme::Ed25519), &ChainCode([1; 32]), &path(&[])).unwrap();
    assert_eq!(derived.xpub(NetworkKind::Main), Err(DerivationError::Scheme));
}

/// BIP-341, wallet test vectors: internal key, merkle root, output key.
const BIP341: [(&str, &str, &str); 7] = [
    (
        "d6889cb081036e0faefa3a35157ad71086b123b2b144b649798b494c300a961d",
        "",
        "53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343",
    ),
    (
        "187791b6f712a8ea41c8ecdd0ee77fab3e85263b37e1ec18a3651926b3a6cf27",
        "5b75adecf53548f3ec6ad7d78383bf84cc57b55a3127c72b9a2481752dd88b21",
        "147c9c57132f6e7ecddba9800bb0c4449251c92a1e60371ee77557b6620f3ea3",
    ),
    (
        "93478e9488f956df2396be2ce6c5cced75f900dfa18e7dabd2428aae78451820",
        "c525714a7f49c28aedbbba78c005931a81c234b2f6c99a73e4d06082adc8bf2b",
        "e4d810fd50586274face62b8a807eb9719cef49c04177cc6b76a9a4251d5450e",
    ),
    (
        "ee4fe085983462a184015d1f782d6a5f8b9c2b60130aff050ce221ecf3786592",
        "6c2dc106ab816b73f9d07e3cd1ef2c8c1256f519748e0813e4edd2405d277bef",
        "712447206d7a5238acc7ff53fbe94a3b64539ad291c7cdbc490b7577e4b17df5",
    ),
    (
        "f9f400803e683727b14f463836e1e78e1c64417638aa066919291a225f0e8dd8",
        "ab179431c28d3b68fb798957faf5497d69c883c6fb1e1cd9f81483d87bac90cc",
        "77e30a5522dd9f894c3f8b8bd4c4b2cf82ca7da8a3ea6a239655c39c050ab220",
    ),
    (
        "e0dfe2300b0dd746a3f8674dfd4525623639042569d829c7f0eed9602d263e6f",
        "ccbd66c6f7e8fdab47b3a486f59d28262be857f30d4773f2d5ea47f7761ce0e2",
        "91b64d5324723a985170e4dc5a0f84c041804f2cd12660fa5dec09fc21783605",
    ),
    (
        "55adf4e8967fbd2e29f20ac896e60c3b0f1d5b0efa9d34941b5958c7b0a0312d",
        "2f6b2c5397b6d68ca18e09a3f05161668ffe93a988582d55c6f07bd5b3329def",
        "75169f4001aa68f15bbed28b218df1d0a62cbbcf1188c6665110c293c907b831",
    ),
];

fn taproot(prefix: u8, x: &str) -> PublicKey {
    PublicKey::new(Scheme::Bip340, &[&[prefix][..], &array(x)].concat()).unwrap()
}

#[test]
fn output_key__should_agree_with_the_vectors_of_bip_341() {
    for (internal, root, output) in BIP341 {
        let tweak = if root.is_empty() { TapTweak::KeyPathOnly } else { TapTweak::MerkleRoot(array(root)) };
        // The internal key is x-only: its parity makes no difference.
        for prefix in [2, 3] {
            assert_eq!(hex::encode(output_key(&taproot(prefix, internal), tweak).unwrap()), output);
        }
    }
}

#[test]
fn output_key__should_agree_with_another_library() {
    let secp = Secp256k1::new();
    for index in 0..8_u8 {
        let key = key(Scheme::Bip340);
        let internal = bitcoin::XOnlyPublicKey::from_slice(&key.as_bytes()[1..]).unwrap();
        let root = (index % 2 == 1).then_some([index; 32]);
        let tweak = root.map_or(TapTweak::KeyPathOnly, TapTweak::MerkleRoot);
        let merkle_root = root.map(TapNodeHash::assume_hidden);
        let (reference, _) = bitcoin::key::TapTweak::tap_tweak(internal, &secp, merkle_root);
        assert_eq!(output_key(&key, tweak).unwrap(), reference.serialize());
    }
}

#[test]
fn output_key__should_make_the_first_address_of_bip_86() {
    // BIP-86, test vectors: the account's extended key, and what its first receiving address pays to.
    let account = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ";
    let (xpub, _, chain_code) = parse(account);
    let key = PublicKey::new(Scheme::Bip340, &xpub.public_key.serialize()).unwrap();
    let child = derive(&key, &chain_code, &path(&[0, 0])).unwrap().public_key;
    assert_eq!(hex::encode(&child.as_bytes()[1..]), "cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115");
    assert_eq!(
        hex::encode(output_key(&child, TapTweak::KeyPathOnly).unwrap()),
        "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"
    );
}

#[test]
fn output_key__should_refuse_other_schemes_and_what_is_no_point() {
    assert_eq!(output_key(&key(Scheme::Ecdsa), TapTweak::KeyPathOnly), Err(DerivationError::Scheme));
    let off_curve = taproot(2, &"ff".repeat(32));
    assert_eq!(output_key(&off_curve, TapTweak::KeyPathOnly), Err(DerivationError::PublicKey));
}
