//! Signatures verified with other libraries than those that made them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bitcoin::bip32::{ChildNumber, Xpub};
use bitcoin::key::TapTweak;
use bitcoin::secp256k1::{self, Message, Secp256k1, XOnlyPublicKey, ecdsa, schnorr};
use quorate::ids::Scheme;
use quorate::keys::{ChainCode, DerivationPath, PublicKey};
use quorate::protocol::derivation::derive;
use serde_json::Value;

use crate::cluster::CHAIN_CODE;

/// The bytes of a member that holds base64.
pub(crate) fn bytes(event: &Value, member: &str) -> Vec<u8> {
    STANDARD.decode(event[member].as_str().unwrap_or_else(|| panic!("no {member} in {event}"))).unwrap()
}

/// A secp256k1 key of X‖Y.
pub(crate) fn ecdsa_key(coordinates: &[u8]) -> secp256k1::PublicKey {
    assert_eq!(coordinates.len(), 64);
    secp256k1::PublicKey::from_slice(&[&[4], coordinates].concat()).unwrap()
}

/// BIP-32.
pub(crate) fn ecdsa_child(key: secp256k1::PublicKey, path: &[u32]) -> secp256k1::PublicKey {
    let parent = Xpub {
        network: bitcoin::NetworkKind::Main,
        depth: 0,
        parent_fingerprint: [0; 4].into(),
        child_number: ChildNumber::from_normal_idx(0).unwrap(),
        public_key: key,
        chain_code: CHAIN_CODE.into(),
    };
    let path: Vec<ChildNumber> = path.iter().map(|&index| ChildNumber::from_normal_idx(index).unwrap()).collect();
    parent.derive_pub(&Secp256k1::verification_only(), &path).unwrap().public_key
}

/// mpcium's derivation of Ed25519 has no other library: its own vectors test ours.
pub(crate) fn eddsa_child(key: &[u8], path: &[u32]) -> Vec<u8> {
    let key = PublicKey::new(Scheme::Ed25519, key).unwrap();
    let path = DerivationPath::try_from(path.to_vec()).unwrap();
    derive(&key, &ChainCode(CHAIN_CODE), &path).unwrap().public_key.as_bytes().to_vec()
}

/// r‖s of a digest: valid, low, and with the recovery that leads back to the key.
pub(crate) fn assert_ecdsa(key: &secp256k1::PublicKey, digest: &[u8; 32], signature: &[u8], recovery: u8) {
    let message = Message::from_digest(*digest);
    let signature = ecdsa::Signature::from_compact(signature).unwrap();
    let mut low = signature;
    low.normalize_s();
    assert_eq!(signature, low, "s is low");
    Secp256k1::verification_only().verify_ecdsa(&message, &signature, key).unwrap();
    let id = k256::ecdsa::RecoveryId::from_byte(recovery).unwrap();
    let signature = k256::ecdsa::Signature::from_slice(&signature.serialize_compact()).unwrap();
    let recovered = k256::ecdsa::VerifyingKey::recover_from_prehash(digest, &signature, id).unwrap();
    assert_eq!(recovered.to_sec1_point(true).as_bytes(), key.serialize());
}

/// The signature in a signing event, of a digest.
pub(crate) fn assert_ecdsa_event(event: &Value, key: &secp256k1::PublicKey, digest: &[u8; 32]) {
    let (r, s, recovery) = (bytes(event, "r"), bytes(event, "s"), bytes(event, "signature_recovery"));
    assert_eq!((r.len(), s.len(), recovery.len()), (32, 32, 1));
    assert_ecdsa(key, digest, &[r, s].concat(), recovery[0]);
}

pub(crate) fn assert_eddsa(key: &[u8], message: &[u8], signature: &[u8]) {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().unwrap()).unwrap();
    key.verify_strict(message, &signature.try_into().unwrap()).unwrap();
}

/// A signature under the output key of an address without scripts (BIP-86).
pub(crate) fn assert_taproot(key: &[u8], message: &[u8; 32], signature: &[u8]) {
    let verifier = Secp256k1::verification_only();
    let internal = XOnlyPublicKey::from_slice(&key[1..]).unwrap();
    let (output, _) = internal.tap_tweak(&verifier, None);
    let signature = schnorr::Signature::from_slice(signature).unwrap();
    verifier.verify_schnorr(&signature, &Message::from_digest(*message), &output.to_x_only_public_key()).unwrap();
}
