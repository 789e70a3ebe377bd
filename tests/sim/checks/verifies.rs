//! Every signature verifies under its wallet's key, by code that had no part in it: k256 and ed25519-dalek for the
//! equations, the bitcoin library for the children of secp256k1 keys.

use bitcoin::NetworkKind;
use bitcoin::bip32::{ChainCode, ChildNumber, Fingerprint, Xpub};
use bitcoin::secp256k1;
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use quorate::ids::Scheme;
use quorate::keys::{DerivationPath, PublicKey};
use quorate::protocol::derivation::derive;
use quorate::signing::Signed;
use quorate::wallet::WalletRecord;

use super::Found;
use crate::history::{Asked, History, Outcome};
use crate::plan::{Ask, SignAsk};

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    for asked in &history.asked {
        if let Asked { node, ask: Ask::Sign(ask), ended: Some((at, Outcome::Signed(signed))), .. } = asked {
            let record = history.wallet(&ask.wallet);
            if !record.is_some_and(|record| verifies(record, ask, signed)) {
                found.push(format!("what node {node} told at {at:?} is no signature for {ask:?}"));
            }
        }
    }
    found
}

fn verifies(record: &WalletRecord, ask: &SignAsk, signed: &Signed) -> bool {
    let message = [ask.content; 32];
    let bytes = signed.signature.to_bytes();
    let Some(key) = record.key(ask.scheme).and_then(|key| child(record, &key.public_key(), &ask.path)) else {
        return false;
    };
    match ask.scheme {
        Scheme::Ecdsa => {
            let Ok(key) = k256::ecdsa::VerifyingKey::from_sec1_bytes(&key) else { return false };
            let Ok(signature) = k256::ecdsa::Signature::from_slice(&bytes) else { return false };
            key.verify_prehash(&message, &signature).is_ok()
        }
        Scheme::Bip340 => {
            let Ok(key) = k256::schnorr::VerifyingKey::from_slice(&key[1..]) else { return false };
            let Ok(signature) = k256::schnorr::Signature::try_from(bytes.as_slice()) else { return false };
            key.verify_raw(&message, &signature).is_ok()
        }
        Scheme::Ed25519 => {
            let Ok(key) = ed25519_dalek::VerifyingKey::try_from(key.as_slice()) else { return false };
            key.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&bytes)).is_ok()
        }
    }
}

/// The key at a path below a wallet's key.
fn child(record: &WalletRecord, key: &PublicKey, path: &[u32]) -> Option<Vec<u8>> {
    if key.scheme() == Scheme::Ed25519 {
        // No other library has this recipe: the wallet's own vectors vouch for it.
        let path = DerivationPath::try_from(path.to_vec()).ok()?;
        return derive(key, &record.chain_code, &path).ok().map(|derived| derived.public_key.as_bytes().to_vec());
    }
    let root = Xpub {
        network: NetworkKind::Main,
        depth: 0,
        parent_fingerprint: Fingerprint::default(),
        child_number: ChildNumber::Normal { index: 0 },
        public_key: secp256k1::PublicKey::from_slice(key.as_bytes()).ok()?,
        chain_code: ChainCode::from(record.chain_code.0),
    };
    let path: Vec<ChildNumber> = path.iter().map(|&index| ChildNumber::Normal { index }).collect();
    let child = root.derive_pub(&secp256k1::Secp256k1::new(), &path).ok()?;
    Some(child.public_key.serialize().to_vec())
}
