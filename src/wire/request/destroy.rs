//! The request to destroy a wallet, and making one as a client does.

use serde::Deserialize;
use serde_json::Value;

use super::json::{JsonForm, ObjectWriter, in_field, optional_list, parse_object, plain_texts, required_text};
use super::{Authorization, AuthorizerId, RequestError, RequestSigner};
use crate::ids::{Scheme, WalletId};
use crate::keys::PublicKey;
use crate::wire::transcript::Transcript;

/// The longest request to destroy a wallet, in bytes: three keys and 32 approvals take under 16 KiB.
pub const MAX_DESTROY_REQUEST_BYTES: usize = 32 * 1024;

/// A client asks for all shares of a wallet to be erased, on all nodes and for ever. Within all limits; not yet authorised.
///
/// It names the wallet's keys, so that whoever approves it approves the end of these keys, and it is of no use for any others.
/// Generations are not named: approvals may be gathered over days, in which shares are renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyRequest {
    bytes: Vec<u8>,
    wallet: WalletId,
    public_keys: Vec<PublicKey>,
    authorization: Authorization,
}

impl DestroyRequest {
    /// Begins a request to destroy `wallet`, which has these keys.
    #[must_use]
    pub fn builder<'a>(wallet: WalletId, public_keys: &[PublicKey]) -> DestroyRequestBuilder<'a> {
        DestroyRequestBuilder { wallet, public_keys: public_keys.to_vec(), approvers: Vec::new() }
    }

    /// Parses a request.
    ///
    /// # Errors
    /// When it is too long, is no JSON object, or a field breaks its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let fields: Fields = parse_object(bytes)?;
        if bytes.len() > MAX_DESTROY_REQUEST_BYTES {
            return Err(RequestError::field(WALLET, "the request is longer than 32 KiB"));
        }
        let wallet = WalletId::try_from(required_text(WALLET, fields.destroy_wallet_id)?).map_err(in_field(WALLET))?;
        let listed = optional_list(PUBLIC_KEYS, fields.public_keys)?.unwrap_or_default();
        if listed.is_empty() || listed.len() > Scheme::ALL.len() {
            return Err(RequestError::field(PUBLIC_KEYS, "it lists no key, or more than there are schemes"));
        }
        let public_keys: Vec<PublicKey> = listed
            .into_iter()
            .map(|key| public_key(&required_text(PUBLIC_KEYS, Some(key))?))
            .collect::<Result<_, _>>()?;
        if !public_keys.is_sorted_by(|a, b| a.scheme() < b.scheme()) {
            return Err(RequestError::field(PUBLIC_KEYS, "they are not one per scheme in ascending order"));
        }
        let authorization =
            Authorization::from_json(wallet.to_string(), fields.signature, fields.authorizer_signatures)?;
        Ok(Self { bytes: bytes.to_vec(), wallet, public_keys, authorization })
    }

    /// The bytes that this was parsed from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The wallet.
    #[must_use]
    pub const fn wallet(&self) -> &WalletId {
        &self.wallet
    }

    /// All its keys, ascending by scheme.
    #[must_use]
    pub fn public_keys(&self) -> &[PublicKey] {
        &self.public_keys
    }

    /// The signatures, not yet verified.
    #[must_use]
    pub const fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// What the initiator signs. No other request's text begins like it.
    #[must_use]
    pub fn signed_bytes(&self, form: JsonForm) -> Vec<u8> {
        asked(&self.wallet, &self.public_keys, form).finish()
    }

    /// Names what is asked for: two requests with the same hash ask for the same, whoever approves them.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        let transcript = Transcript::new("quorate/destroy-request/v1").field(self.wallet.as_str().as_bytes());
        let field =
            |all: Transcript, key: &PublicKey| all.field(key.scheme().as_str().as_bytes()).field(key.as_bytes());
        self.public_keys.iter().fold(transcript, field).finish()
    }
}

/// Fills in, signs and writes a [`DestroyRequest`].
pub struct DestroyRequestBuilder<'a> {
    wallet: WalletId,
    public_keys: Vec<PublicKey>,
    approvers: Vec<(AuthorizerId, &'a dyn RequestSigner)>,
}

impl<'a> DestroyRequestBuilder<'a> {
    /// Adds an approval.
    #[must_use]
    pub fn approved_by(mut self, authorizer: AuthorizerId, signer: &'a dyn RequestSigner) -> Self {
        self.approvers.push((authorizer, signer));
        self
    }

    /// Signs as the initiator, then collects the approvals.
    ///
    /// # Errors
    /// When a field breaks its rules or a signer fails.
    pub fn sign_with(self, initiator: &dyn RequestSigner) -> Result<DestroyRequest, RequestError> {
        let mut authorization =
            Authorization { subject: self.wallet.to_string(), signature: Vec::new(), approvals: Vec::new() };
        let write = |authorization: &Authorization| {
            let object = asked(&self.wallet, &self.public_keys, JsonForm::Go);
            DestroyRequest::parse(&authorization.write(object).finish())
        };
        let raw = write(&authorization)?.signed_bytes(JsonForm::Go);
        authorization.sign(&raw, initiator, &self.approvers)?;
        write(&authorization)
    }
}

/// The members that are signed, in their order.
fn asked(wallet: &WalletId, public_keys: &[PublicKey], form: JsonForm) -> ObjectWriter {
    let keys: Vec<String> =
        public_keys.iter().map(|key| format!("{}:{}", key.scheme(), hex::encode(key.as_bytes()))).collect();
    ObjectWriter::new(form)
        .text(WALLET, wallet.as_str())
        .raw(PUBLIC_KEYS, &plain_texts(keys.iter().map(String::as_str)))
}

/// A key as `<key type>:<hex>`.
fn public_key(text: &str) -> Result<PublicKey, RequestError> {
    let invalid = RequestError::field(PUBLIC_KEYS, "an entry is not <key type>:<public key in lower-case hex>");
    let (scheme, encoded) = text.split_once(':').ok_or(invalid.clone())?;
    let scheme: Scheme = scheme.parse().map_err(in_field(PUBLIC_KEYS))?;
    let bytes = hex::decode(encoded).map_err(|_| invalid.clone())?;
    // What is signed is written anew: one key must have one text.
    if encoded.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(invalid);
    }
    PublicKey::new(scheme, &bytes).map_err(in_field(PUBLIC_KEYS))
}

#[derive(Deserialize)]
struct Fields {
    destroy_wallet_id: Option<Value>,
    public_keys: Option<Value>,
    signature: Option<Value>,
    authorizer_signatures: Option<Value>,
}

const WALLET: &str = "destroy_wallet_id";
const PUBLIC_KEYS: &str = "public_keys";

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;
    use crate::identity::{Algorithm, RequestKey};

    fn keys() -> Vec<PublicKey> {
        let ecdsa = PublicKey::new(Scheme::Ecdsa, &[2; 33]).unwrap();
        let ed25519 = PublicKey::new(Scheme::Ed25519, &[7; 32]).unwrap();
        let mut keys = vec![ecdsa, ed25519];
        keys.sort_by_key(PublicKey::scheme);
        keys
    }

    #[test]
    fn request__should_be_what_was_built_and_bind_the_keys() {
        let initiator = RequestKey::generate(Algorithm::Ed25519).unwrap();
        let request = DestroyRequest::builder("w".parse().unwrap(), &keys()).sign_with(&initiator).unwrap();
        assert_eq!((request.wallet().as_str(), request.public_keys()), ("w", &keys()[..]));
        assert_eq!(DestroyRequest::parse(request.bytes()).unwrap(), request);
        let signed = String::from_utf8(request.signed_bytes(JsonForm::Go)).unwrap();
        assert!(signed.starts_with(r#"{"destroy_wallet_id":"w","public_keys":[""#), "{signed}");
        assert!(initiator.public().verifies(signed.as_bytes(), &request.authorization().signature));
        let other = DestroyRequest::builder("w".parse().unwrap(), &keys()[..1]).sign_with(&initiator).unwrap();
        assert_ne!(other.content_hash(), request.content_hash());
    }

    #[test]
    fn request__should_be_refused_when_a_field_breaks_its_rules() {
        let key = format!("ed25519:{}", "07".repeat(32));
        let long = format!(r#"{{"destroy_wallet_id":"w","public_keys":["{key}"],"x":"{}"}}"#, "a".repeat(33_000));
        for text in [
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"destroy_wallet_id":"w"}"#.to_owned(),
            r#"{"destroy_wallet_id":"w","public_keys":[]}"#.to_owned(),
            format!(r#"{{"wallet_id":"w","public_keys":["{key}"]}}"#),
            format!(r#"{{"destroy_wallet_id":"a b","public_keys":["{key}"]}}"#),
            format!(r#"{{"destroy_wallet_id":"w","public_keys":["{key}","{key}"]}}"#),
            r#"{"destroy_wallet_id":"w","public_keys":["ed25519:07"]}"#.to_owned(),
            format!(r#"{{"destroy_wallet_id":"w","public_keys":["ed25519:{}"]}}"#, "0A".repeat(32)),
            format!(r#"{{"destroy_wallet_id":"w","public_keys":["{key}"],"signature":1}}"#),
            long,
        ] {
            assert!(DestroyRequest::parse(text.as_bytes()).is_err(), "{text}");
        }
        let good = format!(r#"{{"destroy_wallet_id":"w","public_keys":["{key}"]}}"#);
        assert!(DestroyRequest::parse(good.as_bytes()).is_ok());
    }
}
