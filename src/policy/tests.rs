//! Decisions on requests, as tables.
#![expect(non_snake_case, reason = "a test is named subject__should_claim")]

use super::*;
use crate::identity::{Algorithm, RequestKey};
use crate::ids::{NodeId, RequestId, Scheme, WalletId};
use crate::keys::DerivationPath;
use crate::wire::request::SignRequestBuilder;

/// Who approves with which key.
type Approvals<'a> = &'a [(&'a str, &'a RequestKey)];

fn key(algorithm: Algorithm) -> RequestKey {
    RequestKey::generate(algorithm).unwrap()
}

fn id(text: &str) -> AuthorizerId {
    AuthorizerId::try_from(text.to_owned()).unwrap()
}

fn wallet() -> WalletId {
    "wallet-1".parse().unwrap()
}

fn signing<'a>(scheme: Scheme) -> SignRequestBuilder<'a> {
    // The id differs between the two JSON forms.
    let request_id: RequestId = "tx <1> & 2".parse().unwrap();
    SignRequest::builder(scheme, wallet(), request_id, &[7; 32]).path(DerivationPath::try_from(vec![44, 1]).unwrap())
}

#[test]
fn check_sign__should_decide_by_coverage_scheme_and_legacy_rule() {
    use Coverage::{Complete, Legacy};
    use Scheme::{Bip340, Ecdsa, Ed25519};
    let not_covered = || Err(PolicyError::PathNotCovered);
    for algorithm in [Algorithm::Ed25519, Algorithm::P256] {
        let initiator = key(algorithm);
        for (scheme, coverage, legacy_allowed, expected) in [
            (Ecdsa, Complete, false, Ok(())),
            (Ecdsa, Complete, true, Ok(())),
            (Ecdsa, Legacy, true, Ok(())),
            (Ecdsa, Legacy, false, not_covered()),
            (Ed25519, Legacy, true, Ok(())),
            (Ed25519, Legacy, false, not_covered()),
            (Bip340, Complete, false, Ok(())),
            (Bip340, Legacy, true, not_covered()),
            (Bip340, Legacy, false, not_covered()),
        ] {
            for form in JsonForm::ALL {
                let policy = Policy::new(initiator.public()).allow_legacy_path(legacy_allowed);
                let request = signing(scheme).coverage(coverage).form(form).sign_with(&initiator).unwrap();
                assert_eq!(policy.check_sign(&request), expected, "{scheme} {coverage:?} {legacy_allowed} {form:?}");
            }
        }
    }
}

#[test]
fn check_sign__should_notice_any_changed_field() {
    let initiator = key(Algorithm::Ed25519);
    let policy = Policy::new(initiator.public());
    let request = signing(Scheme::Bip340).sign_with(&initiator).unwrap();
    policy.check_sign(&request).unwrap();
    let json: serde_json::Value = serde_json::from_slice(request.bytes()).unwrap();
    for (field, value) in [
        ("wallet_id", "wallet-2".into()),
        ("network_internal_code", "eth".into()),
        ("tx_id", "tx2".into()),
        ("tx", "AAAA".into()),
        ("derivation_path", vec![44, 2].into()),
        ("derivation_path", serde_json::Value::Null),
        ("taproot_merkle_root", "none".into()),
        ("taproot_merkle_root", "00".repeat(32).into()),
        ("signature", serde_json::Value::Null),
        ("signature", "AAAA".into()),
    ] {
        let mut changed = json.clone();
        changed[field] = value;
        let changed = SignRequest::parse(changed.to_string().as_bytes()).unwrap();
        assert_eq!(policy.check_sign(&changed), Err(PolicyError::InitiatorSignature), "{field}");
    }
}

#[test]
fn check_sign__should_refuse_another_initiator() {
    let policy = Policy::new(key(Algorithm::Ed25519).public()).allow_legacy_path(true);
    for algorithm in [Algorithm::Ed25519, Algorithm::P256] {
        let request = signing(Scheme::Ecdsa).sign_with(&key(algorithm)).unwrap();
        assert_eq!(policy.check_sign(&request).unwrap_err().code(), Code::InvalidInitiatorSignature);
    }
}

#[test]
fn check_keygen__should_take_both_kinds_of_request() {
    let initiator = key(Algorithm::P256);
    let policy = Policy::new(initiator.public());
    let legacy = KeygenRequest::builder(wallet()).sign_with(&initiator).unwrap();
    let ours = KeygenRequest::builder(wallet()).key_types(&[Scheme::Bip340]).sign_with(&initiator).unwrap();
    policy.check_keygen(&legacy).unwrap();
    policy.check_keygen(&ours).unwrap();
    // Neither turns into the other by adding or dropping key types.
    let added = String::from_utf8(legacy.bytes().to_vec()).unwrap().replacen('{', r#"{"key_types":["taproot"],"#, 1);
    let dropped = String::from_utf8(ours.bytes().to_vec()).unwrap().replace(r#""key_types":["taproot"],"#, "");
    for changed in [added, dropped] {
        let request = KeygenRequest::parse(changed.as_bytes()).unwrap();
        assert_eq!(policy.check_keygen(&request), Err(PolicyError::InitiatorSignature), "{changed}");
    }
}

#[test]
fn check_approvals__should_want_the_required_and_verify_all() {
    let initiator = key(Algorithm::Ed25519);
    let (alice, bob, eve) = (key(Algorithm::Ed25519), key(Algorithm::P256), key(Algorithm::Ed25519));
    let authorizers = BTreeMap::from([(id("alice"), alice.public()), (id("bob"), bob.public())]);
    let policy = Policy::new(initiator.public()).with_authorizers(authorizers, BTreeSet::from([id("alice")])).unwrap();
    let cases: [(Approvals<'_>, Result<(), PolicyError>); 6] = [
        (&[("alice", &alice)], Ok(())),
        (&[("alice", &alice), ("bob", &bob)], Ok(())),
        (&[], Err(PolicyError::ApprovalMissing(id("alice")))),
        (&[("bob", &bob)], Err(PolicyError::ApprovalMissing(id("alice")))),
        (&[("alice", &alice), ("bob", &eve)], Err(PolicyError::ApprovalInvalid(id("bob")))),
        (&[("alice", &alice), ("eve", &eve)], Err(PolicyError::ApprovalInvalid(id("eve")))),
    ];
    for (approvals, expected) in cases {
        for form in JsonForm::ALL {
            let builder = approvals
                .iter()
                .fold(signing(Scheme::Ecdsa).form(form), |all, (name, key)| all.approved_by(id(name), *key));
            assert_eq!(policy.check_sign(&builder.sign_with(&initiator).unwrap()), expected);
        }
        let builder =
            approvals.iter().fold(KeygenRequest::builder(wallet()), |all, (name, key)| all.approved_by(id(name), *key));
        assert_eq!(policy.check_keygen(&builder.sign_with(&initiator).unwrap()), expected);
    }
}

#[test]
fn check_approvals__should_not_take_an_approval_of_another_request() {
    let (initiator, alice) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
    let authorizers = BTreeMap::from([(id("alice"), alice.public())]);
    let policy = Policy::new(initiator.public()).with_authorizers(authorizers, BTreeSet::from([id("alice")])).unwrap();
    let approved = signing(Scheme::Ecdsa).approved_by(id("alice"), &alice).sign_with(&initiator).unwrap();
    let other = signing(Scheme::Ed25519).sign_with(&initiator).unwrap();
    let mut moved: serde_json::Value = serde_json::from_slice(other.bytes()).unwrap();
    let from: serde_json::Value = serde_json::from_slice(approved.bytes()).unwrap();
    moved["authorizer_signatures"] = from["authorizer_signatures"].clone();
    let moved = SignRequest::parse(moved.to_string().as_bytes()).unwrap();
    assert_eq!(policy.check_sign(&moved), Err(PolicyError::ApprovalInvalid(id("alice"))));
}

#[test]
fn with_authorizers__should_refuse_a_required_one_without_key() {
    let policy = Policy::new(key(Algorithm::Ed25519).public());
    let required = BTreeSet::from([id("carol")]);
    assert_eq!(policy.with_authorizers(BTreeMap::new(), required), Err(UnknownAuthorizer(id("carol"))));
}

#[test]
fn check_threshold__should_want_a_majority_unless_told_otherwise() {
    let strict = Policy::new(key(Algorithm::Ed25519).public());
    let lenient = strict.clone().allow_minority_threshold(true);
    for (signers, parties, majority) in [(2, 3, true), (2, 4, false), (3, 4, true), (2, 2, true), (16, 32, false)] {
        let threshold = Threshold::new(signers, parties).unwrap();
        assert_eq!(strict.check_threshold(threshold).is_ok(), majority, "{threshold}");
        lenient.check_threshold(threshold).unwrap();
    }
}

#[test]
fn check_reshare__should_need_the_initiator_the_approvals_and_a_majority() {
    let (initiator, authorizer, stranger) = (key(Algorithm::P256), key(Algorithm::Ed25519), key(Algorithm::Ed25519));
    let request = |signers, nodes: u128, approved: bool, by: &RequestKey| {
        let nodes: Vec<NodeId> = (0..nodes).map(|number| NodeId(uuid::Uuid::from_u128(number))).collect();
        let builder = ReshareRequest::builder(wallet(), "s<1>".parse().unwrap(), signers, &nodes);
        let builder = builder.key_types(&[Scheme::Ecdsa]);
        let builder = if approved { builder.approved_by(id("a"), &authorizer) } else { builder };
        builder.sign_with(by).unwrap()
    };
    let policy = Policy::new(initiator.public());
    let approving = policy.clone().with_authorizers([(id("a"), authorizer.public())].into(), [id("a")].into()).unwrap();
    assert_eq!(policy.check_reshare(&request(2, 3, false, &initiator)), Ok(()));
    assert_eq!(policy.check_reshare(&request(2, 3, false, &stranger)), Err(PolicyError::InitiatorSignature));
    let minority = Err(PolicyError::MinorityThreshold(Threshold::new(2, 4).unwrap()));
    assert_eq!(policy.check_reshare(&request(2, 4, false, &initiator)), minority);
    assert_eq!(policy.allow_minority_threshold(true).check_reshare(&request(2, 4, false, &initiator)), Ok(()));
    assert_eq!(approving.check_reshare(&request(2, 3, true, &initiator)), Ok(()));
    let missing = Err(PolicyError::ApprovalMissing(id("a")));
    assert_eq!(approving.check_reshare(&request(2, 3, false, &initiator)), missing);
}

#[test]
fn check_destroy__should_allow_only_what_is_configured_and_approved_by_enough() {
    use crate::keys::PublicKey;
    use crate::wire::request::DestroyRequest;
    let (initiator, stranger) = (key(Algorithm::Ed25519), key(Algorithm::Ed25519));
    let (alice, bob) = (key(Algorithm::Ed25519), key(Algorithm::P256));
    let keys = [PublicKey::new(Scheme::Ed25519, &[7; 32]).unwrap()];
    let request = |signer: &RequestKey, approvals: Approvals<'_>| {
        let builder = DestroyRequest::builder(wallet(), &keys);
        let approved = approvals.iter().fold(builder, |request, (name, key)| request.approved_by(id(name), *key));
        approved.sign_with(signer).unwrap()
    };
    let both = || BTreeMap::from([(id("alice"), alice.public()), (id("bob"), bob.public())]);
    let plain = Policy::new(initiator.public());
    let with = |needed: u8, required: &[&str]| {
        let required = required.iter().map(|name| id(name)).collect();
        let policy = Policy::new(initiator.public()).with_authorizers(both(), required).unwrap();
        policy.allow_destruction(needed.try_into().unwrap())
    };
    let approved_by_both: Approvals<'_> = &[("alice", &alice), ("bob", &bob)];
    let too_few = |given, needed| Err(PolicyError::TooFewApprovals { given, needed });
    for (policy, request, expected) in [
        // Never by default, however many approve.
        (plain.clone(), request(&initiator, approved_by_both), Err(PolicyError::DestructionNotAllowed)),
        (
            Policy::new(initiator.public()).with_authorizers(both(), [id("alice")].into()).unwrap(),
            request(&initiator, approved_by_both),
            Err(PolicyError::DestructionNotAllowed),
        ),
        // Approvals that nobody can check are none.
        (plain.allow_destruction(1.try_into().unwrap()), request(&initiator, approved_by_both), too_few(0, 1)),
        (with(1, &[]), request(&initiator, &[]), too_few(0, 1)),
        (with(1, &[]), request(&initiator, &[("bob", &bob)]), Ok(())),
        (with(2, &[]), request(&initiator, &[("bob", &bob)]), too_few(1, 2)),
        (with(2, &[]), request(&initiator, approved_by_both), Ok(())),
        (with(1, &["alice"]), request(&initiator, &[("bob", &bob)]), Err(PolicyError::ApprovalMissing(id("alice")))),
        (with(1, &[]), request(&initiator, &[("bob", &alice)]), Err(PolicyError::ApprovalInvalid(id("bob")))),
        (with(1, &[]), request(&initiator, &[("eve", &stranger)]), Err(PolicyError::ApprovalInvalid(id("eve")))),
        (with(1, &[]), request(&stranger, approved_by_both), Err(PolicyError::InitiatorSignature)),
    ] {
        assert_eq!(policy.check_destroy(&request), expected);
    }
}
