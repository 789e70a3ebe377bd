//! Identities in files: what is written is read again, and what is wrong is named.
#![expect(non_snake_case, reason = "a test is named subject__should_claim")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ed25519_dalek::VerifyingKey;
use uuid::Uuid;

use super::*;
use crate::error::Code;
use crate::ids::{NodeId, NodeName};
use crate::secret::SecretBytes;
use crate::wire::request::RequestSigner;

/// RFC 8032, section 7.1, test 1.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/// A P-256 key made with `openssl ecparam -name prime256v1 -genkey`: SEC1, PKCS#8 and SPKI in DER.
const P256_SEC1: &str = "3077020101042016117af03b887a4d5fd8b0d4326d7f455d2b58f1b493137eb64ac28c74c64aeea00a06082a8648ce3d030107a1440342000466cd4edbaa3450ef65990cd5ee07cdb3b34f1b8af05f7974821b6369e15a101967b04dae256987352344ff728244a676b9593712461e8a82a9fa413a1f707a3e";
const P256_PKCS8: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b020101042016117af03b887a4d5fd8b0d4326d7f455d2b58f1b493137eb64ac28c74c64aeea1440342000466cd4edbaa3450ef65990cd5ee07cdb3b34f1b8af05f7974821b6369e15a101967b04dae256987352344ff728244a676b9593712461e8a82a9fa413a1f707a3e";
const P256_SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d0301070342000466cd4edbaa3450ef65990cd5ee07cdb3b34f1b8af05f7974821b6369e15a101967b04dae256987352344ff728244a676b9593712461e8a82a9fa413a1f707a3e";
/// `openssl dgst -sha256 -sign` of `quorate` with that key.
const P256_SIGNATURE: &str = "3045022022a822e8158a29ac0ccb2912c5fc6602346dda79ef32d8d5c33c2504969279c0022100a50a601a7c1b2c8f6dcef6fcddd7850020587437b54f4f6e46e545855d6a10b5";

/// The seed above, encrypted by the `age` tool (1.1.1, `age --passphrase`) under "correct horse battery".
const SEALED_BY_AGE: &str = "6167652d656e6372797074696f6e2e6f72672f76310a2d3e20736372797074204f63574b47676d7164537645543955304670734276672031380a50794e6b64376433777956564f7852496f78726d7874496c713571684c34377178325732756a67334a49510a2d2d2d20714f765a72667976303065316e2f59354d6930434672436a71364a4f724b674b50765879363148767772340a3c70711accf10e7ebc0df418b9ce901221100c799e7093d24b9b6f1b28bd917cd1b30273c0e4f7b9e40bf771a03751060a69197bf4e46008d4e326c34bafe5dcbc024db0b9cd4c41898e018789db53710829597ac84b191482c1b9d5e859b7fa";

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn node(index: u8) -> NodeIdentity {
    NodeIdentity::generate(name(&format!("node{index}")), NodeId(Uuid::from_u128(u128::from(index)))).unwrap()
}

fn passphrase(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A folder with `peers.json` and the plain identities of three nodes.
fn cluster() -> (tempfile::TempDir, Vec<NodeIdentity>, PeerBook) {
    let folder = tempfile::tempdir().unwrap();
    let nodes: Vec<NodeIdentity> = [3, 1, 2].map(node).into_iter().collect();
    for node in &nodes {
        node.save(folder.path(), Protection::FileMode, Existing::Keep).unwrap();
    }
    let book = PeerBook::new(nodes.iter().map(NodeIdentity::member).collect()).unwrap();
    book.save(&folder.path().join("peers.json"), Existing::Keep).unwrap();
    (folder, nodes, book)
}

fn load_book(folder: &Path) -> Result<PeerBook, IdentityError> {
    PeerBook::load(&folder.join("peers.json"), folder)
}

/// Changes one text in a file.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn node_files__should_have_mpciums_format() {
    let folder = tempfile::tempdir().unwrap();
    let id = "5d1e2f3a-4b5c-4d6e-8f70-a1b2c3d4e5f6";
    fs::write(
        folder.path().join("node0_identity.json"),
        format!(
            r#"{{"node_name":"node0","node_id":"{id}","public_key":"{PUBLIC}","created_at":"2026-01-31T10:00:00Z"}}"#
        ),
    )
    .unwrap();
    fs::write(folder.path().join("node0_private.key"), format!("{SEED}{PUBLIC}\n")).unwrap();
    let node = NodeIdentity::load(folder.path(), &name("node0"), None).unwrap();
    assert_eq!((node.name().as_str(), node.id().to_string().as_str()), ("node0", id));
    assert_eq!(hex::encode(node.member().key.as_bytes()), PUBLIC);

    let copy = tempfile::tempdir().unwrap();
    node.save(copy.path(), Protection::FileMode, Existing::Keep).unwrap();
    assert_eq!(fs::read_to_string(copy.path().join("node0_private.key")).unwrap(), format!("{SEED}{PUBLIC}"));
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(copy.path().join("node0_identity.json")).unwrap()).unwrap();
    assert_eq!((&json["node_name"], &json["node_id"]), (&"node0".into(), &id.into()));
    assert_eq!(json["public_key"], PUBLIC);
    assert!(json["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(json.as_object().unwrap().len(), 4);
}

#[test]
fn node_files__should_be_private_and_never_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (node(1), node(1));
    let private = folder.path().join("node1_private.key");
    first.save(folder.path(), Protection::FileMode, Existing::Keep).unwrap();
    assert_eq!(mode(&private), 0o600);
    assert_eq!(mode(&folder.path().join("node1_identity.json")), 0o644);
    let before = fs::read(&private).unwrap();
    let sealed = Protection::Passphrase { passphrase: &passphrase("p"), work_factor: 2 };
    for protection in [Protection::FileMode, sealed] {
        let error = second.save(folder.path(), protection, Existing::Keep).unwrap_err();
        assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
    }
    assert_eq!(fs::read(&private).unwrap(), before);
    second.save(folder.path(), Protection::FileMode, Existing::Replace).unwrap();
    assert_eq!(mode(&private), 0o600);
    let loaded = NodeIdentity::load(folder.path(), &name("node1"), None).unwrap();
    assert_eq!(loaded.member(), second.member());
    // Nothing else is left lying about.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn sealed_key__should_open_with_its_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(1);
    let right = passphrase("correct horse");
    let sealed = Protection::Passphrase { passphrase: &right, work_factor: 2 };
    node.save(folder.path(), sealed, Existing::Keep).unwrap();
    let path = folder.path().join("node1_private.key.age");
    assert_eq!(mode(&path), 0o600);
    let load = |passphrase: Option<&SecretBytes>| NodeIdentity::load(folder.path(), &name("node1"), passphrase);
    assert_eq!(load(Some(&right)).unwrap().member(), node.member());
    assert!(matches!(load(Some(&passphrase("wrong"))), Err(IdentityError::Decrypt { .. })));
    assert!(matches!(load(None), Err(IdentityError::PassphraseMissing { .. })));
    let mut damaged = fs::read(&path).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, damaged).unwrap();
    assert!(matches!(load(Some(&right)), Err(IdentityError::Decrypt { .. })));
}

#[test]
fn replacing__should_leave_one_form_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let secret = passphrase("p");
    let sealed = Protection::Passphrase { passphrase: &secret, work_factor: 2 };
    for (protection, passphrase, kept, gone) in [
        (Protection::FileMode, None, "node1_private.key", "node1_private.key.age"),
        (sealed, Some(&secret), "node1_private.key.age", "node1_private.key"),
        (Protection::FileMode, None, "node1_private.key", "node1_private.key.age"),
    ] {
        let node = node(1);
        node.save(folder.path(), protection, Existing::Replace).unwrap();
        assert!(folder.path().join(kept).exists() && !folder.path().join(gone).exists(), "{kept}");
        let loaded = NodeIdentity::load(folder.path(), &name("node1"), passphrase).unwrap();
        assert_eq!(loaded.member(), node.member());
    }
}

#[test]
fn sealed_key__should_bound_the_work_of_opening() {
    let folder = tempfile::tempdir().unwrap();
    let right = passphrase("p");
    let node = node(1);
    for work_factor in [0, MAX_WORK_FACTOR + 1] {
        let sealed = Protection::Passphrase { passphrase: &right, work_factor };
        let error = node.save(folder.path(), sealed, Existing::Keep).unwrap_err();
        assert!(matches!(error, IdentityError::Encrypt(_)), "{error}");
    }
    let sealed = Protection::Passphrase { passphrase: &right, work_factor: 2 };
    node.save(folder.path(), sealed, Existing::Keep).unwrap();
    // The header names the work factor; no honest file asks for 2^30.
    let path = folder.path().join("node1_private.key.age");
    let mut file = fs::read(&path).unwrap();
    let end = file.windows(3).position(|bytes| bytes == b" 2\n").unwrap();
    file.splice(end..end + 3, *b" 30\n");
    fs::write(&path, file).unwrap();
    let error = NodeIdentity::load(folder.path(), &name("node1"), Some(&right)).err().unwrap();
    assert!(matches!(error, IdentityError::WorkFactor { required: 30, .. }), "{error}");
}

#[test]
fn node_files__should_be_named_when_they_are_wrong() {
    for (file, from, to) in [
        ("node1_identity.json", "\"node1\"", "\"node2\""),
        ("node1_identity.json", "-0000-", "-00-"),
        ("node1_identity.json", "public_key\": \"", "public_key\": \"00"),
        ("node1_identity.json", "{", "["),
    ] {
        let (folder, _, _) = cluster();
        let path = folder.path().join(file);
        edit(&path, from, to);
        let error = NodeIdentity::load(folder.path(), &name("node1"), None).err().unwrap();
        assert!(matches!(&error, IdentityError::Content { path: found, .. } if *found == path), "{error}");
        assert!(error.to_string().contains(file), "{error}");
    }
    let (folder, _, _) = cluster();
    let private = folder.path().join("node1_private.key");
    let other = fs::read(folder.path().join("node2_private.key")).unwrap();
    let mut mixed = other.clone();
    mixed[..64].copy_from_slice(&fs::read(&private).unwrap()[..64]);
    for content in [other.as_slice(), &mixed, &other[..126], b"", b"zz"] {
        fs::write(&private, content).unwrap();
        let error = NodeIdentity::load(folder.path(), &name("node1"), None).err().unwrap();
        assert!(matches!(&error, IdentityError::Content { path, .. } if *path == private), "{error}");
        assert!(!error.to_string().contains(&String::from_utf8_lossy(&other[..16])[..]), "no key in the text");
    }
    fs::write(&private, vec![b'0'; MAX_FILE_BYTES + 1]).unwrap();
    let error = NodeIdentity::load(folder.path(), &name("node1"), None).err().unwrap();
    assert!(matches!(error, IdentityError::TooLong { .. }), "{error}");
    fs::remove_file(&private).unwrap();
    let error = NodeIdentity::load(folder.path(), &name("node1"), None).err().unwrap();
    assert!(matches!(error, IdentityError::Read { .. }), "{error}");
    assert_eq!(error.code(), Code::Internal);
}

#[test]
fn peer_book__should_load_what_was_saved_and_rank_by_id() {
    let (folder, nodes, book) = cluster();
    assert_eq!(load_book(folder.path()).unwrap(), book);
    let ranks: Vec<(u128, u8)> =
        book.committee().iter().map(|member| (member.node.0.as_u128(), member.index.get())).collect();
    assert_eq!(ranks, [(1, 1), (2, 2), (3, 3)]);
    for node in &nodes {
        book.confirm(node).unwrap();
        assert_eq!(book.by_name(node.name()), book.get(node.id()));
    }
}

#[test]
fn peer_book__should_confirm_only_itself() {
    let (_folder, nodes, book) = cluster();
    let with_key_of_another = node(3);
    let renamed = NodeIdentity::generate(name("nodeX"), nodes[0].id()).unwrap();
    for stranger in [node(9), with_key_of_another, renamed] {
        let error = book.confirm(&stranger).unwrap_err();
        assert!(matches!(error, IdentityError::NotMyself { .. }), "{error}");
    }
}

#[test]
fn peer_book__should_refuse_repeats_and_wrong_numbers() {
    let members: Vec<Member> = (1..=33).map(|index| node(index).member()).collect();
    assert!(PeerBook::new(members[..1].to_vec()).is_err());
    assert!(PeerBook::new(members.clone()).is_err());
    assert_eq!(PeerBook::new(members[..32].to_vec()).unwrap().committee().len(), 32);
    let (a, b) = (&members[0], &members[1]);
    let mut weak = [0; 32];
    weak[0] = 1;
    for bad in [
        Member { name: a.name.clone(), ..b.clone() },
        Member { id: a.id, ..b.clone() },
        Member { key: a.key, ..b.clone() },
        Member { key: VerifyingKey::from_bytes(&weak).unwrap(), ..b.clone() },
    ] {
        let error = PeerBook::new(vec![a.clone(), bad]).unwrap_err();
        assert!(matches!(error, IdentityError::PeerBook { .. }), "{error}");
    }
}

#[test]
fn peer_list__should_number_its_nodes_and_survive_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    let list = PeerList::generate(32).unwrap();
    list.save(&path, Existing::Keep).unwrap();
    assert_eq!(PeerList::load(&path).unwrap(), list);
    assert_eq!(list.id_of(&name("node31")), list.nodes().last().map(|(_, id)| *id));
    assert_eq!(list.id_of(&name("node32")), None);
    assert_ne!(PeerList::generate(2).unwrap(), PeerList::generate(2).unwrap(), "ids are random");
    assert!(matches!(list.save(&path, Existing::Keep), Err(IdentityError::Exists { .. })));
    for count in [0, 1, 33, 255] {
        assert!(PeerList::generate(count).is_err(), "{count}");
    }
}

#[test]
fn fingerprint__should_change_with_every_member() {
    let members = |range: std::ops::RangeInclusive<u8>| range.map(|index| node(index).member()).collect::<Vec<_>>();
    let all = members(1..=3);
    let print = |members: Vec<Member>| PeerBook::new(members).unwrap().fingerprint();
    let reversed = all.iter().rev().cloned().collect();
    assert_eq!(print(all.clone()), print(reversed));
    let with = |changed: Member| print(vec![changed, all[1].clone(), all[2].clone()]);
    for other in [
        with(Member { name: name("other"), ..all[0].clone() }),
        with(Member { id: NodeId(Uuid::from_u128(9)), ..all[0].clone() }),
        with(Member { key: node(9).member().key, ..all[0].clone() }),
        print(all[1..].to_vec()),
    ] {
        assert_ne!(print(all.clone()), other);
    }
}

#[test]
fn peers_file__should_be_refused_when_it_disagrees() {
    let id = |index: u128| Uuid::from_u128(index).to_string();
    for peers in [
        "[]".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"node1":"{0}","node1":"{0}"}}"#, id(1)),
        format!(r#"{{"node1":"{}","node2":"{}"}}"#, id(1), id(3)),
        format!(r#"{{"node1":"{}","node9":"{}"}}"#, id(1), id(9)),
        format!(r#"{{"node1":"{}","../node2":"{}"}}"#, id(1), id(2)),
        r#"{"node1":"one","node2":"two"}"#.to_owned(),
    ] {
        let (folder, _, _) = cluster();
        fs::write(folder.path().join("peers.json"), &peers).unwrap();
        assert!(load_book(folder.path()).is_err(), "{peers}");
    }
}

#[test]
fn node_signature__should_hold_for_its_domain_parts_and_node_only() {
    let (_folder, nodes, book) = cluster();
    let node = &nodes[0];
    let parts: [&[u8]; 2] = [b"ab", b"c"];
    let signature = node.sign("sheet", &parts);
    book.verify(node.id(), "sheet", &parts, &signature).unwrap();
    let mut damaged = signature;
    damaged[0] ^= 1;
    for (id, domain, parts, signature) in [
        (node.id(), "record", &parts[..], &signature),
        (node.id(), "sheet", &[b"a", b"bc"], &signature),
        (node.id(), "sheet", &[b"abc"], &signature),
        (nodes[1].id(), "sheet", &parts, &signature),
        (node.id(), "sheet", &parts, &damaged),
        (node.id(), "sheet", &parts, &[0; 64]),
    ] {
        let error = book.verify(id, domain, parts, signature).unwrap_err();
        assert!(matches!(error, IdentityError::Signature(found) if found == id), "{error}");
        assert_eq!(error.code(), Code::ProtocolViolation);
    }
    let stranger = NodeId(Uuid::from_u128(9));
    assert!(matches!(book.verify(stranger, "sheet", &parts, &signature), Err(IdentityError::UnknownNode(_))));
}

#[test]
fn link_keys__should_agree_as_x25519_does() {
    // Each side combines its own secret with the other's public key, by the arithmetic of the links.
    use snow::resolvers::{CryptoResolver, DefaultResolver};
    let agree = |mine: &NodeIdentity, theirs: &NodeIdentity| {
        let mut dh = DefaultResolver.resolve_dh(&snow::params::DHChoice::Curve25519).unwrap();
        dh.set(mine.link_secret().expose());
        assert_eq!(dh.pubkey(), mine.member().link_key());
        let mut shared = [0; 32];
        dh.dh(&theirs.member().link_key(), &mut shared).unwrap();
        shared
    };
    let (a, b) = (node(1), node(2));
    assert_eq!(agree(&a, &b), agree(&b, &a));
}

#[test]
fn request_keys__should_read_every_form() {
    let ed25519 = RequestPublicKey::parse(Algorithm::Ed25519, PUBLIC).unwrap();
    for text in [PUBLIC.to_uppercase(), format!("0x{PUBLIC}"), format!(" {PUBLIC}\n")] {
        assert_eq!(RequestPublicKey::parse(Algorithm::Ed25519, &text).unwrap(), ed25519);
    }
    assert_eq!(RequestKey::parse(Algorithm::Ed25519, SEED.as_bytes()).unwrap().public(), ed25519);

    let p256 = RequestPublicKey::parse(Algorithm::P256, P256_SPKI).unwrap();
    let base64 = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(hex::decode(P256_SPKI).unwrap())
    };
    for text in [P256_SPKI.to_uppercase(), format!("0x{P256_SPKI}"), base64] {
        assert_eq!(RequestPublicKey::parse(Algorithm::P256, &text).unwrap(), p256);
    }
    for text in [P256_SEC1, P256_PKCS8] {
        assert_eq!(RequestKey::parse(Algorithm::P256, text.as_bytes()).unwrap().public(), p256);
    }
    assert!(p256.verifies(b"quorate", &hex::decode(P256_SIGNATURE).unwrap()), "openssl's signature");
    assert_eq!(p256.to_string(), P256_SPKI);
    assert_eq!(ed25519.to_string(), PUBLIC);
}

#[test]
fn request_keys__should_refuse_what_is_none() {
    let identity_point = format!("01{}", "00".repeat(31));
    let not_a_point = format!("02{}", "00".repeat(31));
    for text in ["", "0x", &PUBLIC[2..], &identity_point, &not_a_point, P256_SPKI] {
        assert!(RequestPublicKey::parse(Algorithm::Ed25519, text).is_err(), "{text}");
    }
    for text in ["", PUBLIC, &P256_SPKI[..P256_SPKI.len() - 2], P256_SEC1] {
        assert!(RequestPublicKey::parse(Algorithm::P256, text).is_err(), "{text}");
    }
    for (algorithm, text) in [
        (Algorithm::Ed25519, ""),
        (Algorithm::Ed25519, P256_SEC1),
        (Algorithm::P256, SEED),
        (Algorithm::P256, P256_SPKI),
        (Algorithm::P256, "zz"),
    ] {
        assert!(RequestKey::parse(algorithm, text.as_bytes()).is_err(), "{algorithm} {text}");
    }
}

#[test]
fn request_keys__should_sign_in_their_encoding() {
    for algorithm in [Algorithm::Ed25519, Algorithm::P256] {
        let key = RequestKey::generate(algorithm).unwrap();
        let signature = key.sign_request(b"request").unwrap();
        let public = key.public();
        assert!(public.verifies(b"request", &signature));
        assert!(!public.verifies(b"another", &signature));
        assert!(!public.verifies(b"request", &signature[1..]));
        assert!(!public.verifies(b"request", &[]));
        match algorithm {
            Algorithm::Ed25519 => assert_eq!(signature.len(), 64),
            Algorithm::P256 => assert_eq!((signature[0], usize::from(signature[1])), (0x30, signature.len() - 2)),
        }
    }
}

#[test]
fn request_files__should_load_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let secret = passphrase("p");
    let sealed = Protection::Passphrase { passphrase: &secret, work_factor: 2 };
    for algorithm in [Algorithm::Ed25519, Algorithm::P256] {
        for (protection, passphrase) in [(Protection::FileMode, None), (sealed, Some(&secret))] {
            for files in [
                RequestKeyFiles::initiator(folder.path(), &name(RequestKeyFiles::DEFAULT_INITIATOR)),
                RequestKeyFiles::authorizer(folder.path(), &name("alice")),
            ] {
                let key = RequestKey::generate(algorithm).unwrap();
                files.save(&key, protection, Existing::Replace).unwrap();
                assert_eq!(files.load_public().unwrap(), key.public());
                assert_eq!(files.load(passphrase).unwrap().public(), key.public());
                assert!(matches!(files.save(&key, protection, Existing::Keep), Err(IdentityError::Exists { .. })));
            }
        }
    }
    let mut found: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let expected = ["alice.authorizer", "event_initiator"]
        .iter()
        .flat_map(|stem| [".identity.json", ".key.age"].map(|end| format!("{stem}{end}")))
        .collect::<Vec<_>>();
    assert_eq!(found, expected);
    assert_eq!(mode(&folder.path().join("alice.authorizer.key.age")), 0o600);
}

#[test]
fn request_files__should_notice_a_key_of_another_identity() {
    let folder = tempfile::tempdir().unwrap();
    let files = RequestKeyFiles::initiator(folder.path(), &name("event_initiator"));
    let (key, other) =
        (RequestKey::generate(Algorithm::Ed25519).unwrap(), RequestKey::generate(Algorithm::Ed25519).unwrap());
    files.save(&key, Protection::FileMode, Existing::Keep).unwrap();
    fs::write(folder.path().join("event_initiator.key"), &*other.to_text().unwrap()).unwrap();
    assert!(matches!(files.load(None), Err(IdentityError::Content { .. })));
}

#[test]
fn request_files__should_read_mpciums() {
    let folder = tempfile::tempdir().unwrap();
    let files = RequestKeyFiles::initiator(folder.path(), &name("event_initiator"));
    fs::write(
        folder.path().join("event_initiator.identity.json"),
        format!(
            r#"{{"node_name":"event_initiator","algorithm":"ed25519","public_key":"{PUBLIC}",
            "created_at":"2026-01-31T10:00:00Z","created_by":"me","machine_os":"linux","machine_name":"here"}}"#
        ),
    )
    .unwrap();
    fs::write(folder.path().join("event_initiator.key"), SEED).unwrap();
    assert_eq!(files.load(None).unwrap().public().to_string(), PUBLIC);
}

#[test]
fn request_files__should_read_what_the_age_tool_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let files = RequestKeyFiles::initiator(folder.path(), &name("event_initiator"));
    let identity = format!(r#"{{"algorithm":"ed25519","public_key":"{PUBLIC}"}}"#);
    fs::write(folder.path().join("event_initiator.identity.json"), identity).unwrap();
    fs::write(folder.path().join("event_initiator.key.age"), hex::decode(SEALED_BY_AGE).unwrap()).unwrap();
    assert_eq!(files.load(Some(&passphrase("correct horse battery"))).unwrap().public().to_string(), PUBLIC);
}
