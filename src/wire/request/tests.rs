//! Requests as clients write them. The signed bytes below are the ones that Go and JavaScript produce for these values.
#![expect(non_snake_case, reason = "a test is named subject__should_claim")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ids::{Generation, NodeId, Scheme, SessionId, Threshold, WalletId};
use crate::keys::{DerivationPath, TapTweak};
use crate::wire::sheet::{MAX_MESSAGE_BYTES, Participant, SHEET_VERSION, Sheet, Task};

fn parse(value: &Value) -> Result<SignRequest, RequestError> {
    SignRequest::parse(value.to_string().as_bytes())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn signing() -> Value {
    json!({
        "key_type": "ed25519", "wallet_id": "wallet-1", "network_internal_code": "solana-devnet", "tx_id": "tx-1",
        "tx": "aGVsbG8=", "signature": "AQID", "derivation_path": null
    })
}

fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut request = signing();
    request[field] = value.into();
    request
}

#[test]
fn signed_bytes__should_be_compact_json_in_mpciums_order() {
    let request = parse(&signing()).unwrap();
    let legacy = r#"{"key_type":"ed25519","wallet_id":"wallet-1","network_internal_code":"solana-devnet","tx_id":"tx-1","tx":"aGVsbG8="}"#;
    for form in JsonForm::ALL {
        assert_eq!(text(request.signed_bytes(Coverage::Legacy, form)), legacy);
    }
}

#[test]
fn signed_bytes__should_escape_as_go_and_as_javascript() {
    let request = parse(&with("tx_id", "<a>&\u{2028}\u{2029}\"\\/ü\u{1f600}")).unwrap();
    let signed = |form| text(request.signed_bytes(Coverage::Legacy, form));
    assert!(
        signed(JsonForm::Go).contains(r#""tx_id":"\u003ca\u003e\u0026\u2028\u2029\"\\/ü😀","#),
        "{}",
        signed(JsonForm::Go)
    );
    assert!(
        signed(JsonForm::JavaScript).contains("\"tx_id\":\"<a>&\u{2028}\u{2029}\\\"\\\\/ü😀\","),
        "{}",
        signed(JsonForm::JavaScript)
    );
}

#[test]
fn signed_bytes__should_write_tx_again_for_go_and_keep_it_for_javascript() {
    // Go skips line breaks and ignores the last character's unused bits, and writes neither again.
    for (given, javascript) in [("aGVs\nbG8=", r#""tx":"aGVs\nbG8=""#), ("aGVsbG9=", r#""tx":"aGVsbG9=""#)] {
        let request = parse(&with("tx", given)).unwrap();
        assert_eq!(request.message(), b"hello");
        assert!(text(request.signed_bytes(Coverage::Legacy, JsonForm::Go)).contains(r#""tx":"aGVsbG8=""#));
        assert!(text(request.signed_bytes(Coverage::Legacy, JsonForm::JavaScript)).contains(javascript));
    }
}

#[test]
fn signed_bytes__should_cover_the_path_as_given() {
    let ending = |request: &Value| {
        let signed = text(parse(request).unwrap().signed_bytes(Coverage::Complete, JsonForm::Go));
        signed.split_once(r#""tx":"aGVsbG8=""#).unwrap().1.to_owned()
    };
    let mut absent = signing();
    absent.as_object_mut().unwrap().remove("derivation_path");
    for (request, expected) in [
        (absent, r#","derivation_path":null}"#),
        (signing(), r#","derivation_path":null}"#),
        (with("derivation_path", json!([])), r#","derivation_path":[]}"#),
        (with("derivation_path", json!([44, 60, 0, 2_147_483_647])), r#","derivation_path":[44,60,0,2147483647]}"#),
    ] {
        assert_eq!(ending(&request), expected);
    }
}

#[test]
fn signed_bytes__should_cover_the_tweak_of_taproot_requests() {
    let request = |root: Value| {
        let mut request = with("key_type", "taproot");
        request["taproot_merkle_root"] = root;
        parse(&request).unwrap()
    };
    let root = [7; 32];
    for (given, tweak, ending) in [
        (Value::Null, Some(TapTweak::KeyPathOnly), "null".to_owned()),
        ("".into(), Some(TapTweak::KeyPathOnly), r#""""#.to_owned()),
        ("none".into(), None, r#""none""#.to_owned()),
        (hex::encode(root).into(), Some(TapTweak::MerkleRoot(root)), format!("\"{}\"", hex::encode(root))),
        (STANDARD.encode(root).into(), Some(TapTweak::MerkleRoot(root)), format!("\"{}\"", STANDARD.encode(root))),
    ] {
        let request = request(given);
        assert_eq!(request.tweak(), tweak);
        let signed = text(request.signed_bytes(Coverage::Complete, JsonForm::Go));
        let ending = format!(r#","derivation_path":null,"taproot_merkle_root":{ending}}}"#);
        assert!(signed.ends_with(&ending), "{signed}");
        assert_eq!(request.accepted_coverage(true), [Coverage::Complete]);
    }
}

fn resharing() -> Value {
    json!({
        "session_id": "s-1",
        "node_ids": ["00000000-0000-0000-0000-000000000002", "00000000-0000-0000-0000-000000000001"],
        "new_threshold": 1, "key_type": "secp256k1", "wallet_id": "w<1", "signature": "AQID"
    })
}

fn resharing_with(field: &str, value: impl Into<Value>) -> Result<ReshareRequest, RequestError> {
    let mut request = resharing();
    request[field] = value.into();
    ReshareRequest::parse(request.to_string().as_bytes())
}

#[test]
fn reshare__should_be_signed_as_mpcium_does_and_count_signers() {
    let request = ReshareRequest::parse(resharing().to_string().as_bytes()).unwrap();
    let nodes = r#"["00000000-0000-0000-0000-000000000002","00000000-0000-0000-0000-000000000001"]"#;
    let expected = |wallet: &str| {
        format!(
            r#"{{"session_id":"s-1","node_ids":{nodes},"new_threshold":1,"key_type":"secp256k1","wallet_id":"{wallet}"}}"#
        )
    };
    assert_eq!(text(request.signed_bytes(JsonForm::Go)), expected("w\\u003c1"));
    assert_eq!(text(request.signed_bytes(JsonForm::JavaScript)), expected("w<1"));
    assert_eq!(request.threshold(), Threshold::new(2, 2).unwrap(), "t means t + 1");
    let committee: Vec<_> = request.committee().iter().map(|p| (p.node.0.as_u128(), p.index.get())).collect();
    assert_eq!(committee, [(1, 1), (2, 2)], "by rank, however they are listed");
    assert_eq!(request.schemes(), [Scheme::Ecdsa]);
}

#[test]
fn reshare__should_take_several_keys_in_a_form_of_its_own() {
    let mut several = resharing();
    several.as_object_mut().unwrap().remove("key_type");
    several["key_types"] = json!(["taproot", "ed25519"]);
    let request = ReshareRequest::parse(several.to_string().as_bytes()).unwrap();
    assert_eq!(request.schemes(), [Scheme::Ed25519, Scheme::Bip340]);
    let signed = text(request.signed_bytes(JsonForm::JavaScript));
    assert!(signed.ends_with(r#""new_threshold":1,"key_types":["taproot","ed25519"],"wallet_id":"w<1"}"#), "{signed}");
}

#[test]
fn reshare__should_refuse_what_no_committee_can_be_made_of() {
    let one = json!(["00000000-0000-0000-0000-000000000001"]);
    let twice = json!(["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"]);
    let many: Vec<String> = (0..33).map(|number| uuid::Uuid::from_u128(number).to_string()).collect();
    for (field, value) in [
        ("node_ids", one),
        ("node_ids", twice),
        ("node_ids", many.into()),
        ("node_ids", json!(["node0", "node1"])),
        ("node_ids", Value::Null),
        ("new_threshold", 0.into()),
        ("new_threshold", 2.into()),
        ("new_threshold", 255.into()),
        ("new_threshold", u64::MAX.into()),
        ("new_threshold", (-1).into()),
        ("new_threshold", "1".into()),
        ("new_threshold", Value::Null),
        ("key_type", "rsa".into()),
        ("key_type", Value::Null),
        ("key_types", json!(["ed25519"])),
        ("session_id", "".into()),
        ("session_id", Value::Null),
        ("wallet_id", "".into()),
    ] {
        assert!(resharing_with(field, value.clone()).is_err(), "{field}: {value}");
    }
}

#[test]
fn reshare__should_be_the_same_request_only_if_everything_is_the_same() {
    let hash = |request: Result<ReshareRequest, RequestError>| request.unwrap().content_hash();
    let first = hash(resharing_with("signature", "AQID"));
    assert_eq!(first, hash(resharing_with("signature", "AAAA")));
    let swapped = json!(["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]);
    assert_eq!(first, hash(resharing_with("node_ids", swapped)));
    let three = json!([
        "00000000-0000-0000-0000-000000000001",
        "00000000-0000-0000-0000-000000000002",
        "00000000-0000-0000-0000-000000000003"
    ]);
    for (field, value) in
        [("session_id", json!("s-2")), ("wallet_id", json!("w")), ("key_type", json!("ed25519")), ("node_ids", three)]
    {
        assert_ne!(first, hash(resharing_with(field, value)), "{field}");
    }
}

#[test]
fn keygen__should_sign_the_wallet_id_or_the_key_types_too() {
    let request = KeygenRequest::parse(br#"{"wallet_id":"w<1","signature":"AQID","key_types":null}"#);
    assert!(request.is_ok(), "'<' is no wild card");
    let request = request.unwrap();
    assert_eq!(request.signed_bytes(JsonForm::Go), b"w<1");
    assert_eq!(request.schemes(), KeygenRequest::DEFAULT_SCHEMES);
    let request = KeygenRequest::parse(br#"{"wallet_id":"w<1","key_types":["taproot","secp256k1"]}"#).unwrap();
    assert_eq!(
        text(request.signed_bytes(JsonForm::Go)),
        r#"{"wallet_id":"w\u003c1","key_types":["taproot","secp256k1"]}"#
    );
    assert_eq!(
        text(request.signed_bytes(JsonForm::JavaScript)),
        r#"{"wallet_id":"w<1","key_types":["taproot","secp256k1"]}"#
    );
    assert_eq!(request.schemes(), [Scheme::Ecdsa, Scheme::Bip340]);
}

#[test]
fn keygen__should_refuse_what_breaks_a_rule() {
    for (request, field) in [
        (json!({}), "wallet_id"),
        (json!({"wallet_id": null}), "wallet_id"),
        (json!({"wallet_id": 7}), "wallet_id"),
        (json!({"wallet_id": "a b"}), "wallet_id"),
        (json!({"wallet_id": r#"{"key_type":"ed25519"}"#}), "wallet_id"),
        (json!({"wallet_id": "w", "key_types": []}), "key_types"),
        (json!({"wallet_id": "w", "key_types": "taproot"}), "key_types"),
        (json!({"wallet_id": "w", "key_types": ["dsa"]}), "key_types"),
        (json!({"wallet_id": "w", "key_types": [1]}), "key_types"),
        (json!({"wallet_id": "w", "key_types": ["taproot", "taproot"]}), "key_types"),
        (json!({"wallet_id": "w", "key_types": ["taproot", "ed25519", "secp256k1", "taproot"]}), "key_types"),
        (json!({"wallet_id": "w", "signature": "A"}), "signature"),
        (json!({"wallet_id": "w", "signature": STANDARD.encode([0; 129])}), "signature"),
    ] {
        let error = KeygenRequest::parse(request.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::Field { field: found, .. } if found == field), "{request}: {error}");
        assert_eq!(error.code(), Code::MsgValidation);
    }
}

#[test]
fn sign__should_pad_digests_and_bound_messages() {
    let message = |key_type: &str, tx: &[u8]| {
        let mut request = with("key_type", key_type);
        request["tx"] = STANDARD.encode(tx).into();
        parse(&request).map(|request| request.message().to_vec())
    };
    let padded = [&[0; 30][..], &[1, 2]].concat();
    assert_eq!(message("secp256k1", &[1, 2]).unwrap(), padded);
    assert_eq!(message("secp256k1", &[9; 32]).unwrap(), [9; 32]);
    assert!(message("secp256k1", &[9; 33]).is_err());
    for key_type in ["secp256k1", "ed25519", "taproot"] {
        assert!(message(key_type, &[]).is_err());
    }
    for key_type in ["ed25519", "taproot"] {
        assert_eq!(message(key_type, &[1, 2]).unwrap(), [1, 2]);
        assert_eq!(message(key_type, &vec![5; 65_536]).unwrap().len(), 65_536);
        assert!(message(key_type, &vec![5; 65_537]).is_err());
    }
}

#[test]
fn sign__should_name_the_field_that_breaks_a_rule() {
    let approval = |id: &str| json!({"authorizer_id": id, "signature": "AQID"});
    let many: Vec<Value> = (0..33).map(|index: u8| approval(&index.to_string())).collect();
    for (field, value) in [
        ("key_type", json!("rsa")),
        ("key_type", json!(null)),
        ("wallet_id", json!("")),
        ("network_internal_code", json!("a\nb")),
        ("network_internal_code", json!("x".repeat(129))),
        ("tx_id", json!("")),
        ("tx_id", json!("x".repeat(257))),
        ("tx", json!(null)),
        ("tx", json!("aGVsbG8")),
        ("tx", json!("aGVsbG8==")),
        ("tx", json!("aGVs bG8=")),
        ("tx", json!("_-==")),
        ("derivation_path", json!("m/44")),
        ("derivation_path", json!([2_147_483_648_u32])),
        ("derivation_path", json!([4_294_967_296_u64])),
        ("derivation_path", json!([-1])),
        ("derivation_path", json!([1.5])),
        ("derivation_path", json!(vec![1; 256])),
        ("taproot_merkle_root", json!("none")),
        ("authorizer_signatures", json!({})),
        ("authorizer_signatures", json!([1])),
        ("authorizer_signatures", json!([["id", "AQID"]])),
        ("authorizer_signatures", json!(many)),
        ("authorizer_signatures", json!([approval("a"), approval("a")])),
        ("authorizer_signatures.authorizer_id", json!([approval("")])),
        ("authorizer_signatures.signature", json!([{"authorizer_id": "a"}])),
    ] {
        let key = field.split('.').next().unwrap();
        let error = parse(&with(key, value.clone())).unwrap_err();
        assert!(
            matches!(error, RequestError::Field { field: found, .. } if found == field),
            "{field} {value}: {error}"
        );
        assert_eq!(error.code(), Code::MsgValidation);
    }
    let mut taproot = with("key_type", "taproot");
    for bad in ["None", "00", &"0".repeat(63), &"z".repeat(64), "AAAA"] {
        taproot["taproot_merkle_root"] = bad.into();
        assert!(parse(&taproot).is_err(), "{bad}");
    }
}

#[test]
fn parse__should_refuse_what_is_no_object_or_ambiguous() {
    let good = signing().to_string();
    for bad in [
        "",
        "null",
        "[]",
        "\"text\"",
        "{",
        r#"["ed25519","wallet-1","","tx-1","AQ==",null,null,"",null]"#,
        &format!("{good}x"),
        &good.replacen('{', r#"{"tx_id":"other","#, 1),
        &good.replace("tx-1", "\\ud800"),
    ] {
        let error = SignRequest::parse(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::Malformed { .. }), "{bad}: {error}");
        assert_eq!(error.code(), Code::UnmarshalFailure);
    }
    assert!(SignRequest::parse(b"{\"tx_id\":\"\xff\"}").is_err());
    let long = vec![b' '; MAX_REQUEST_BYTES + 1];
    assert_eq!(SignRequest::parse(&long), Err(RequestError::TooLong { len: long.len() }));
    assert_eq!(KeygenRequest::parse(&long).unwrap_err().code(), Code::MsgValidation);
}

#[test]
fn parse__should_ignore_fields_it_does_not_know_and_blanks() {
    let request = format!(" {} \n", with("priority", 3));
    let request = SignRequest::parse(request.as_bytes()).unwrap();
    assert_eq!(request.bytes().first(), Some(&b' '), "the bytes are kept as they came");
    assert_eq!(request.content_hash(), parse(&signing()).unwrap().content_hash());
}

#[test]
fn parse__should_hold_the_largest_request() {
    let approvals: Vec<Value> = (0..MAX_APPROVALS)
        .map(|index| {
            json!({"authorizer_id": format!("{index:0>128}"), "signature": STANDARD.encode([0; MAX_SIGNATURE_BYTES])})
        })
        .collect();
    let mut request = with("tx", STANDARD.encode(vec![1; 65_536]));
    request["tx_id"] = "x".repeat(256).into();
    request["derivation_path"] = json!(vec![2_147_483_647_u32; 255]);
    request["authorizer_signatures"] = approvals.into();
    assert!(parse(&request).is_ok(), "{} bytes", request.to_string().len());
}

#[test]
fn sheet__should_hold_the_largest_request() {
    let participants: Vec<Participant> = (1..=32_u8)
        .map(|index| Participant {
            node: NodeId(uuid::Uuid::from_u128(index.into())),
            index: index.try_into().unwrap(),
        })
        .collect();
    let sheet = Sheet {
        version: SHEET_VERSION,
        cluster: "c".repeat(64).parse().unwrap(),
        session: SessionId([0xff; 32]),
        coordinator: participants[31].node,
        participants,
        task: Task::Sign {
            wallet: "w".repeat(128).parse().unwrap(),
            scheme: Scheme::Bip340,
            generation: Generation(u32::MAX),
            threshold: Threshold::new(32, 32).unwrap(),
            request_id: "x".repeat(256).parse().unwrap(),
            path: DerivationPath::try_from(vec![2_147_483_647; 255]).unwrap(),
            tweak: Some(TapTweak::MerkleRoot([0xff; 32])),
            message: vec![0xff; MAX_MESSAGE_BYTES],
            request: vec![0xff; MAX_REQUEST_BYTES],
        },
        attempt: u32::MAX,
        deadline_ms: u64::MAX,
    };
    let (bytes, hash) = sheet.seal().unwrap();
    assert_eq!(Sheet::open(&bytes).unwrap(), (sheet, hash));
}

#[test]
fn content_hash__should_change_with_whatever_changes_the_signature() {
    let mut base = with("key_type", "taproot");
    base["derivation_path"] = json!([1, 2]);
    let hash = |request: &Value| parse(request).unwrap().content_hash();
    let mut hashes = vec![hash(&base)];
    for (field, value) in [
        ("key_type", json!("ed25519")),
        ("wallet_id", json!("wallet-2")),
        ("network_internal_code", json!("x")),
        ("tx_id", json!("tx-2")),
        ("tx", json!("AQID")),
        ("derivation_path", json!([1])),
        ("derivation_path", json!([2, 1])),
        ("taproot_merkle_root", json!("none")),
        ("taproot_merkle_root", json!("00".repeat(32))),
    ] {
        let mut changed = base.clone();
        changed[field] = value;
        hashes.push(hash(&changed));
    }
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
    // What does not change it: the signatures, and another way to say the same.
    for (field, value) in [
        ("signature", json!("BAUG")),
        ("signature", json!(null)),
        ("authorizer_signatures", json!([{"authorizer_id": "a", "signature": ""}])),
        ("taproot_merkle_root", json!("")),
    ] {
        let mut same = base.clone();
        same[field] = value;
        assert_eq!(hash(&same), hashes[0], "{field}");
    }
    let mut short = with("key_type", "secp256k1");
    short["tx"] = STANDARD.encode([1]).into();
    let mut padded = short.clone();
    padded["tx"] = STANDARD.encode([&[0; 31][..], &[1]].concat()).into();
    assert_eq!(hash(&short), hash(&padded));
}

#[test]
fn keygen_content_hash__should_be_that_of_the_keys_asked_for() {
    let hash = |request: &str| KeygenRequest::parse(request.as_bytes()).unwrap().content_hash();
    let legacy = hash(r#"{"wallet_id":"w","signature":"AQID"}"#);
    assert_eq!(hash(r#"{"wallet_id":"w","key_types":["ed25519","secp256k1"]}"#), legacy);
    assert_ne!(hash(r#"{"wallet_id":"w","key_types":["ed25519"]}"#), legacy);
    assert_ne!(hash(r#"{"wallet_id":"v"}"#), legacy);
}

/// Puts its number before what it signs, instead of signing.
struct Marker(u8);

impl RequestSigner for Marker {
    fn sign_request(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        Ok(vec![self.0, u8::try_from(bytes.len() % 251).unwrap()])
    }
}

#[test]
fn approval_bytes__should_quote_what_the_initiator_signed() {
    let request = SignRequest::builder(Scheme::Ed25519, "wallet-1".parse().unwrap(), "a&b".parse().unwrap(), b"hello")
        .approved_by(AuthorizerId::try_from("alice".to_owned()).unwrap(), &Marker(2))
        .sign_with(&Marker(1))
        .unwrap();
    let raw = request.signed_bytes(Coverage::Complete, JsonForm::Go);
    let authorization = request.authorization();
    assert_eq!(authorization.signature, Marker(1).sign_request(&raw).unwrap());
    let statement = authorization.approval_bytes(&raw, JsonForm::Go);
    let expected = format!(
        r#"{{"initiator_id":"a\u0026b","initiator_raw":"{}","initiator_sig":"{}"}}"#,
        STANDARD.encode(&raw),
        STANDARD.encode(&authorization.signature)
    );
    assert_eq!(text(statement.clone()), expected);
    assert_eq!(authorization.approvals[0].signature, Marker(2).sign_request(&statement).unwrap());
}

#[test]
fn builder__should_refuse_what_parsing_refuses() {
    let wallet: WalletId = "w".parse().unwrap();
    let request = SignRequest::builder(Scheme::Ecdsa, wallet.clone(), "t".parse().unwrap(), &[1; 33]);
    assert!(matches!(request.sign_with(&Marker(1)), Err(RequestError::Field { field: "tx", .. })));
    let request = SignRequest::builder(Scheme::Ecdsa, wallet.clone(), "t".parse().unwrap(), &[1]);
    assert!(request.tweak(None).sign_with(&Marker(1)).is_err());
    assert!(KeygenRequest::builder(wallet).key_types(&[]).sign_with(&Marker(1)).is_err());
    assert!(KeygenRequest::builder("{}".parse().unwrap()).sign_with(&Marker(1)).is_err());
}

proptest! {
    #[test]
    fn builder__should_be_understood_by_parsing(
        scheme in prop::sample::select(Scheme::ALL.to_vec()),
        network in "[^\\p{Cc}]{0,40}",
        request_id in "[^\\p{Cc}]{1,60}",
        tx in prop::collection::vec(any::<u8>(), 1..=32),
        path in prop::option::of(prop::collection::vec(0..1_u32 << 31, 0..5)),
        root in any::<Option<Option<[u8; 32]>>>(),
        javascript: bool,
    ) {
        let form = if javascript { JsonForm::JavaScript } else { JsonForm::Go };
        let mut builder = SignRequest::builder(scheme, "w".parse().unwrap(), request_id.parse().unwrap(), &tx)
            .network_code(&network)
            .form(form);
        if let Some(path) = &path {
            builder = builder.path(DerivationPath::try_from(path.clone()).unwrap());
        }
        let tweak = match root {
            _ if scheme != Scheme::Bip340 => None,
            None => None,
            Some(None) => Some(TapTweak::KeyPathOnly),
            Some(Some(root)) => Some(TapTweak::MerkleRoot(root)),
        };
        if scheme == Scheme::Bip340 {
            builder = builder.tweak(tweak);
        }
        let request = builder.sign_with(&Marker(1)).unwrap();
        prop_assert_eq!(request.scheme(), scheme);
        prop_assert_eq!(request.network_code(), network);
        prop_assert_eq!(request.request_id().as_str(), request_id);
        prop_assert!(request.message().ends_with(&tx));
        let indices = request.path();
        prop_assert_eq!(indices.indices(), path.unwrap_or_default());
        prop_assert_eq!(request.tweak(), tweak);
        // Whatever is signed is JSON that says the same again.
        let signed = request.signed_bytes(Coverage::Complete, form);
        prop_assert_eq!(SignRequest::parse(&signed).unwrap().content_hash(), request.content_hash());
    }

    #[test]
    fn parse__should_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(SignRequest::parse(&bytes));
        drop(KeygenRequest::parse(&bytes));
    }
}
