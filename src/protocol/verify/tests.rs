use k256::ecdsa::SigningKey;

use super::*;

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn array(text: &str) -> [u8; 64] {
    bytes(text).try_into().unwrap()
}

/// RFC 8032, section 7.1, tests 1 to 3: public key, message, signature.
const RFC8032: [(&str, &str, &str); 3] = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
];

#[test]
fn verify__should_accept_the_vectors_of_rfc_8032_and_nothing_near() {
    for (key, message, signature) in RFC8032 {
        let key = PublicKey::new(Scheme::Ed25519, &bytes(key)).unwrap();
        let (message, signature) = (bytes(message), array(signature));
        assert_eq!(verify(&key, &message, None, &Signature::Ed25519(signature)), Ok(()));
        let longer = [&message[..], &[0]].concat();
        assert_eq!(verify(&key, &longer, None, &Signature::Ed25519(signature)), Err(VerifyError::Invalid));
        for position in 0..64 {
            let mut signature = signature;
            signature[position] ^= 1;
            assert!(verify(&key, &message, None, &Signature::Ed25519(signature)).is_err(), "byte {position}");
        }
    }
}

#[test]
fn verify__should_refuse_ed25519_keys_of_small_order() {
    // Under the identity as key, R = s·B signs anything: with s = 0, R is the identity too.
    let identity = [&[1][..], &[0; 31]].concat();
    let key = PublicKey::new(Scheme::Ed25519, &identity).unwrap();
    let signature = [identity, vec![0; 32]].concat().try_into().unwrap();
    assert!(verify(&key, b"anything", None, &Signature::Ed25519(signature)).is_err());
}

/// BIP-340, test vectors: whether it is valid, public key, message, signature.
const BIP340: [(bool, &str, &str, &str); 19] = [
    (
        true,
        "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca821525f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0",
    ),
    (
        true,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de33418906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a",
    ),
    (
        true,
        "dd308afec5777e13121fa72b9cc1b7cc0139715309b086c960e18fd969774eb8",
        "7e2d58d8b3bcdf1abadec7829054f90dda9805aab56c77333024b9d0a508b75c",
        "5831aaeed7b44bb74e5eab94ba9d4294c49bcf2a60728d8b4c200f50dd313c1bab745879a5ad954a72c45a91c3a51d3c7adea98d82f8481e0e1e03674a6f3fb7",
    ),
    (
        true,
        "25d1dff95105f5253c4022f628a996ad3a0d95fbf21d468a1b33f8c160d8f517",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "7eb0509757e246f19449885651611cb965ecc1a187dd51b64fda1edc9637d5ec97582b9cb13db3933705b32ba982af5af25fd78881ebb32771fc5922efc66ea3",
    ),
    (
        true,
        "d69c3509bb99e412e68b0fe8544e72837dfa30746d8be2aa65975f29d22dc7b9",
        "4df3c3f68fcc83b27e9d42c90431a72499f17875c81a599b566c9889b9696703",
        "00000000000000000000003b78ce563f89a0ed9414f5aa28ad0d96d6795f9c6376afb1548af603b3eb45c9f8207dee1060cb71c04e80f593060b07d28308d7f4",
    ),
    (
        false,
        "eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e17776969e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "fff97bd5755eeea420453a14355235d382f6472f8568a18b2f057a14602975563cc27944640ac607cd107ae10923d9ef7a73c643e166be5ebeafa34b1ac553e2",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "1fa62e331edbc21c394792d2ab1100a7b432b013df3f6ff4f99fcb33e0e1515f28890b3edb6e7189b630448b515ce4f8622a954cfe545735aaea5134fccdb2bd",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e177769961764b3aa9b2ffcb6ef947b6887a226e8d7c93e00c5ed0c1834ff0d0c2e6da6",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "0000000000000000000000000000000000000000000000000000000000000000123dda8328af9c23a94c1feecfd123ba4fb73476f0d594dcb65c6425bd186051",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "00000000000000000000000000000000000000000000000000000000000000017615fbaf5ae28864013c099742deadb4dba87f11ac6754f93780d5a1837cf197",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "4a298dacae57395a15d0795ddbfd1dcb564da82b0f269bc70a74f8220429ba1d69e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f69e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b",
    ),
    (
        false,
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e177769fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
    ),
    (
        false,
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "6cff5c3ba86c69ea4b7376f31a9bcb4f74c1976089b2d9963da2e5543e17776969e89b4c5564d00349106b8497785dd7d1d713a8ae82b32fa79d5f7fc407d39b",
    ),
    (
        true,
        "778caa53b4393ac467774d09497a87224bf9fab6f6e68b23086497324d6fd117",
        "",
        "71535db165ecd9fbbc046e5ffaea61186bb6ad436732fccc25291a55895464cf6069ce26bf03466228f19a3a62db8a649f2d560fac652827d1af0574e427ab63",
    ),
    (
        true,
        "778caa53b4393ac467774d09497a87224bf9fab6f6e68b23086497324d6fd117",
        "11",
        "08a20a0afef64124649232e0693c583ab1b9934ae63b4c3511f3ae1134c6a303ea3173bfea6683bd101fa5aa5dbc1996fe7cacfc5a577d33ec14564cec2bacbf",
    ),
    (
        true,
        "778caa53b4393ac467774d09497a87224bf9fab6f6e68b23086497324d6fd117",
        "0102030405060708090a0b0c0d0e0f1011",
        "5130f39a4059b43bc7cac09a19ece52b5d8699d1a71e3c52da9afdb6b50ac370c4a482b77bf960f8681540e25b6771ece1e5a37fd80e5a51897c5566a97ea5a5",
    ),
    (
        true,
        "778caa53b4393ac467774d09497a87224bf9fab6f6e68b23086497324d6fd117",
        "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999",
        "403b12b0d8555a344175ea7ec746566303321e5dbfa8be6f091635163eca79a8585ed3e3170807e7c03b720fc54c7b23897fcba0e9d0b4a06894cfd249f22367",
    ),
];

#[test]
fn verify__should_agree_with_the_vectors_of_bip_340() {
    for (position, (valid, key, message, signature)) in BIP340.into_iter().enumerate() {
        for prefix in [2, 3] {
            let key = PublicKey::new(Scheme::Bip340, &[vec![prefix], bytes(key)].concat()).unwrap();
            let outcome = verify(&key, &bytes(message), None, &Signature::Bip340(array(signature)));
            assert_eq!(outcome.is_ok(), valid, "row {position}: {outcome:?}");
        }
    }
}

/// An ECDSA key, a digest, and its signature.
fn ecdsa(seed: u8) -> (PublicKey, [u8; 32], [u8; 32], [u8; 32], u8) {
    let secret = SigningKey::from_slice(&[seed; 32]).unwrap();
    let digest = [seed ^ 0x55; 32];
    let (signature, recovery) = secret.sign_prehash_recoverable(&digest);
    let key = PublicKey::new(Scheme::Ecdsa, secret.verifying_key().to_sec1_point(true).as_bytes()).unwrap();
    let (r, s) = signature.split_bytes();
    (key, digest, r.into(), s.into(), recovery.to_byte())
}

#[test]
fn verify__should_accept_ecdsa_only_with_a_low_s_and_its_recovery_id() {
    for seed in 1..=8 {
        let (key, digest, r, s, recovery) = ecdsa(seed);
        let check = |digest: &[u8], r, s, recovery| verify(&key, digest, None, &Signature::Ecdsa { r, s, recovery });
        assert_eq!(check(&digest, r, s, recovery), Ok(()));
        for wrong in [recovery ^ 1, recovery + 2, 4, 255] {
            assert_eq!(check(&digest, r, s, wrong), Err(VerifyError::Recovery), "{wrong}");
        }
        let high: [u8; 32] = (-k256::ecdsa::Signature::from_scalars(r, s).unwrap().s().as_ref()).to_bytes().into();
        assert_eq!(check(&digest, r, high, recovery ^ 1), Err(VerifyError::HighS));
        assert_eq!(check(&[0; 32], r, s, recovery), Err(VerifyError::Invalid));
        assert_eq!(check(&digest[1..], r, s, recovery), Err(VerifyError::DigestLength));
        assert_eq!(check(&digest, [0; 32], s, recovery), Err(VerifyError::Encoding));
        assert_eq!(check(&digest, r, [0; 32], recovery), Err(VerifyError::Encoding));
        assert_eq!(check(&digest, [0xff; 32], s, recovery), Err(VerifyError::Encoding));
    }
}

#[test]
fn verify__should_refuse_a_mixture_of_schemes() {
    let (key, digest, r, s, recovery) = ecdsa(1);
    let signature = Signature::Ecdsa { r, s, recovery };
    let tweaked = verify(&key, &digest, Some(TapTweak::KeyPathOnly), &signature);
    assert_eq!(tweaked, Err(VerifyError::Tweak));
    let as_bip340 = Signature::Bip340(signature.to_bytes());
    assert_eq!(verify(&key, &digest, None, &as_bip340), Err(VerifyError::Scheme));
}
