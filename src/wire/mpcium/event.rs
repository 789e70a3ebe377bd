//! Result events: what a client of the mpcium protocol gets back.
//!
//! Every member is always present: absent bytes are `null`, absent text is `""`. Byte strings are base64 with padding.
//! The JSON is escaped as Go's `encoding/json` does it.

use serde::{Deserialize, Serialize};

use super::code::ErrorCode;
use super::subject::{ClientId, KEYGEN_RESULT, MessageKey, RESHARE_RESULT, SIGNING_RESULT, result_id, result_subject};
use crate::error::Failure;
use crate::ids::Scheme;
use crate::keys::{PublicKey, Signature};
use crate::wire::request::escape_as_go;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultType {
    /// With what was asked for.
    Success,
    /// Without.
    Error,
}

/// Why a request ended without what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError {
    /// What clients branch on.
    pub code: ErrorCode,
    /// The same for people.
    pub reason: String,
}

impl From<&Failure> for EventError {
    fn from(failure: &Failure) -> Self {
        Self { code: failure.code.into(), reason: failure.reason.clone() }
    }
}

/// The end of a key generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeygenEvent {
    /// The wallet.
    pub wallet_id: String,
    /// The secp256k1 key: X‖Y, 64 bytes.
    #[serde(with = "base64_or_null", default)]
    pub ecdsa_pub_key: Option<Vec<u8>>,
    /// The Ed25519 key, 32 bytes.
    #[serde(with = "base64_or_null", default)]
    pub eddsa_pub_key: Option<Vec<u8>>,
    /// The BIP-340 key, 32 bytes: only in answers to requests that name it, which mpcium's clients do not.
    #[serde(with = "base64_or_null", default, skip_serializing_if = "Option::is_none")]
    pub taproot_pub_key: Option<Vec<u8>>,
    /// How it ended.
    pub result_type: ResultType,
    /// Why, for people.
    pub error_reason: String,
    /// Why, for programs.
    pub error_code: String,
}

impl KeygenEvent {
    /// The wallet is there, with these keys.
    #[must_use]
    pub fn success(wallet: &str, keys: &[PublicKey]) -> Self {
        let key = |scheme| keys.iter().find(|key| key.scheme() == scheme);
        Self {
            wallet_id: wallet.to_owned(),
            ecdsa_pub_key: key(Scheme::Ecdsa).and_then(coordinates),
            eddsa_pub_key: key(Scheme::Ed25519).map(|key| key.as_bytes().to_vec()),
            taproot_pub_key: key(Scheme::Bip340).and_then(|key| key.as_bytes().get(1..)).map(<[u8]>::to_vec),
            result_type: ResultType::Success,
            error_reason: String::new(),
            error_code: String::new(),
        }
    }

    /// The wallet was not made. `wallet` is empty where the request does not say which.
    #[must_use]
    pub fn failure(wallet: &str, error: EventError) -> Self {
        Self {
            result_type: ResultType::Error,
            error_reason: error.reason,
            error_code: error.code.text.to_owned(),
            ..Self::success(wallet, &[])
        }
    }

    /// Where it is published.
    #[must_use]
    pub fn subject(&self, client: Option<&ClientId>) -> String {
        result_subject(KEYGEN_RESULT, client, &self.wallet_id)
    }

    /// What tells it from other results, if it answers this message.
    #[must_use]
    pub fn message_id(&self, client: Option<&ClientId>, message: MessageKey) -> String {
        result_id(KEYGEN_RESULT, client, &self.wallet_id, message)
    }

    /// The event as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The end of a reshare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReshareEvent {
    /// The wallet.
    pub wallet_id: String,
    /// As in the request: t means that t + 1 nodes must sign.
    pub new_threshold: u64,
    /// As in the request.
    pub key_type: String,
    /// secp256k1: X‖Y, 64 bytes. Ed25519: 32 bytes. BIP-340: 32 bytes.
    #[serde(with = "base64_or_null", default)]
    pub pub_key: Option<Vec<u8>>,
    /// How it ended.
    pub result_type: ResultType,
    /// Why, for people.
    pub error_reason: String,
    /// Why, for programs.
    pub error_code: String,
}

impl ReshareEvent {
    /// The key is held as was asked for.
    #[must_use]
    pub fn success(wallet: &str, new_threshold: u64, key: &PublicKey) -> Self {
        let pub_key = match key.scheme() {
            Scheme::Ecdsa => coordinates(key),
            Scheme::Ed25519 => Some(key.as_bytes().to_vec()),
            Scheme::Bip340 => key.as_bytes().get(1..).map(<[u8]>::to_vec),
        };
        Self {
            wallet_id: wallet.to_owned(),
            new_threshold,
            key_type: key.scheme().as_str().to_owned(),
            pub_key,
            result_type: ResultType::Success,
            error_reason: String::new(),
            error_code: String::new(),
        }
    }

    /// It is not. Texts are empty where the request does not give them.
    #[must_use]
    pub fn failure(wallet: &str, new_threshold: u64, key_type: &str, error: EventError) -> Self {
        Self {
            wallet_id: wallet.to_owned(),
            new_threshold,
            key_type: key_type.to_owned(),
            pub_key: None,
            result_type: ResultType::Error,
            error_reason: error.reason,
            error_code: error.code.text.to_owned(),
        }
    }

    /// Where it is published: below the client's name of the request.
    #[must_use]
    pub fn subject(session: &str, client: Option<&ClientId>) -> String {
        result_subject(RESHARE_RESULT, client, session)
    }

    /// What tells it from other results: `what` is the same for those that are to be one.
    #[must_use]
    pub fn message_id(session: &str, client: Option<&ClientId>, what: &str) -> String {
        let client = client.map(|client| format!("{client}:")).unwrap_or_default();
        format!("{RESHARE_RESULT}.{client}{session}:{what}")
    }

    /// The event as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The end of a signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningEvent {
    /// How it ended.
    pub result_type: ResultType,
    /// Why, for programs.
    pub error_code: String,
    /// Why, for people.
    pub error_reason: String,
    /// Whether time ran out: the same request may be sent again.
    pub is_timeout: bool,
    /// The client's name of the chain, as in the request.
    pub network_internal_code: String,
    /// The wallet.
    pub wallet_id: String,
    /// The client's name of the request.
    pub tx_id: String,
    /// ECDSA: 32 bytes, big-endian.
    #[serde(with = "base64_or_null", default)]
    pub r: Option<Vec<u8>>,
    /// ECDSA: 32 bytes, big-endian, at most half the group order.
    #[serde(with = "base64_or_null", default)]
    pub s: Option<Vec<u8>>,
    /// ECDSA: 1 byte, 0 to 3.
    #[serde(with = "base64_or_null", default)]
    pub signature_recovery: Option<Vec<u8>>,
    /// Ed25519 and BIP-340: 64 bytes.
    #[serde(with = "base64_or_null", default)]
    pub signature: Option<Vec<u8>>,
}

impl SigningEvent {
    /// The signature.
    #[must_use]
    pub fn success(network: &str, wallet: &str, request: &str, signature: &Signature) -> Self {
        let mut event = Self::of(network, wallet, request, ResultType::Success);
        match signature {
            Signature::Ecdsa { r, s, recovery } => {
                event.r = Some(r.to_vec());
                event.s = Some(s.to_vec());
                event.signature_recovery = Some(vec![*recovery]);
            }
            other => event.signature = Some(other.to_bytes().to_vec()),
        }
        event
    }

    /// There is no signature. Texts are empty where the request does not give them.
    #[must_use]
    pub fn failure(network: &str, wallet: &str, request: &str, error: EventError) -> Self {
        Self {
            error_code: error.code.text.to_owned(),
            error_reason: error.reason,
            is_timeout: error.code.is_timeout,
            ..Self::of(network, wallet, request, ResultType::Error)
        }
    }

    fn of(network: &str, wallet: &str, request: &str, result_type: ResultType) -> Self {
        Self {
            result_type,
            error_code: String::new(),
            error_reason: String::new(),
            is_timeout: false,
            network_internal_code: network.to_owned(),
            wallet_id: wallet.to_owned(),
            tx_id: request.to_owned(),
            r: None,
            s: None,
            signature_recovery: None,
            signature: None,
        }
    }

    /// Where it is published.
    #[must_use]
    pub fn subject(&self, client: Option<&ClientId>) -> String {
        result_subject(SIGNING_RESULT, client, "complete")
    }

    /// What tells it from other results, if it answers this message.
    #[must_use]
    pub fn message_id(&self, client: Option<&ClientId>, message: MessageKey) -> String {
        result_id(SIGNING_RESULT, client, &self.tx_id, message)
    }

    /// The event as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// X‖Y of a compressed point.
fn coordinates(key: &PublicKey) -> Option<Vec<u8>> {
    use k256::elliptic_curve::sec1::ToSec1Point;
    let point = k256::PublicKey::from_sec1_bytes(key.as_bytes()).ok()?.to_sec1_point(false);
    point.as_bytes().get(1..).map(<[u8]>::to_vec)
}

/// JSON as Go writes it. These events always serialise: their keys are texts.
fn to_json(event: &impl Serialize) -> Vec<u8> {
    escape_as_go(serde_json::to_string(event).unwrap_or_default()).into_bytes()
}

/// Bytes as base64, or `null`.
mod base64_or_null {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(|_| de::Error::custom("bytes are not base64"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    /// The generator of secp256k1: a point whose coordinates everybody knows.
    const GENERATOR: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn error(code: Code) -> EventError {
        EventError::from(&Failure::new(code, "because <of> \"it\""))
    }

    #[test]
    fn keygen_event__should_be_the_contracts_json() {
        let ecdsa = PublicKey::new(Scheme::Ecdsa, &hex::decode(GENERATOR).unwrap()).unwrap();
        let event = KeygenEvent::success("w", &[ecdsa]);
        let expected = concat!(
            r#"{"wallet_id":"w","ecdsa_pub_key":"eb5mfvncu6xVoGKVzocLBwKb/NstzijZWfKBWxb4F5hIOtp3JqPEZV2k+/wOEQio/Re0SKaFVBmcR9CP+xDUuA==","#,
            r#""eddsa_pub_key":null,"result_type":"success","error_reason":"","error_code":""}"#
        );
        assert_eq!(String::from_utf8(event.to_json()).unwrap(), expected);
        let failed = KeygenEvent::failure("w", error(Code::KeyAlreadyExists));
        let expected = concat!(
            r#"{"wallet_id":"w","ecdsa_pub_key":null,"eddsa_pub_key":null,"result_type":"error","#,
            r#""error_reason":"because \u003cof\u003e \"it\"","error_code":"ERROR_KEY_ALREADY_EXISTS"}"#
        );
        assert_eq!(String::from_utf8(failed.to_json()).unwrap(), expected);
    }

    #[test]
    fn signing_event__should_be_the_contracts_json() {
        let ecdsa = Signature::Ecdsa { r: [1; 32], s: [2; 32], recovery: 1 };
        let event = SigningEvent::success("eth", "w", "tx&1", &ecdsa);
        let expected = concat!(
            r#"{"result_type":"success","error_code":"","error_reason":"","is_timeout":false,"network_internal_code":"eth","#,
            r#""wallet_id":"w","tx_id":"tx\u00261","r":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","#,
            r#""s":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=","signature_recovery":"AQ==","signature":null}"#
        );
        assert_eq!(String::from_utf8(event.to_json()).unwrap(), expected);
        let late = SigningEvent::failure("", "w", "tx", error(Code::SessionTimeout));
        assert!(late.is_timeout && late.r.is_none() && late.error_code == "ERROR_SESSION_TIMEOUT");
    }

    #[test]
    fn reshare_event__should_be_the_contracts_json() {
        let ecdsa = PublicKey::new(Scheme::Ecdsa, &hex::decode(GENERATOR).unwrap()).unwrap();
        let event = ReshareEvent::success("w", 2, &ecdsa);
        let expected = concat!(
            r#"{"wallet_id":"w","new_threshold":2,"key_type":"secp256k1","#,
            r#""pub_key":"eb5mfvncu6xVoGKVzocLBwKb/NstzijZWfKBWxb4F5hIOtp3JqPEZV2k+/wOEQio/Re0SKaFVBmcR9CP+xDUuA==","#,
            r#""result_type":"success","error_reason":"","error_code":""}"#
        );
        assert_eq!(String::from_utf8(event.to_json()).unwrap(), expected);
        let failed = ReshareEvent::failure("w", 1, "ed25519", error(Code::ReshareFailure));
        let expected = concat!(
            r#"{"wallet_id":"w","new_threshold":1,"key_type":"ed25519","pub_key":null,"result_type":"error","#,
            r#""error_reason":"because \u003cof\u003e \"it\"","error_code":"ERROR_RESHARE_FAILURE"}"#
        );
        assert_eq!(String::from_utf8(failed.to_json()).unwrap(), expected);
        let client = ClientId::try_from("X").unwrap();
        assert_eq!(ReshareEvent::subject("s-1", None), "mpc.mpc_reshare_result.s-1");
        assert_eq!(ReshareEvent::subject("s-1", Some(&client)), "mpc.mpc_reshare_result.X.s-1");
        assert_eq!(ReshareEvent::message_id("s", Some(&client), "a"), "mpc.mpc_reshare_result.X:s:a");
    }

    #[test]
    fn events__should_come_back_from_their_json() {
        let ed25519 = Signature::Ed25519([7; 64]);
        let signed = SigningEvent::success("sol", "w", "tx<1>", &ed25519);
        assert_eq!(serde_json::from_slice::<SigningEvent>(&signed.to_json()).unwrap(), signed);
        let failed = KeygenEvent::failure("w\u{2028}", error(Code::NotMajority));
        assert_eq!(serde_json::from_slice::<KeygenEvent>(&failed.to_json()).unwrap(), failed);
    }
}
