//! The request to sign one message with one key of a wallet.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::json::{
    JsonForm, ObjectWriter, base64_bytes, in_field, numbers, optional_list, optional_text, parse_object, required_text,
};
use super::{Authorization, MAX_NETWORK_CODE_BYTES, RequestError, SignRequestBuilder};
use crate::ids::{RequestId, Scheme, WalletId};
use crate::keys::{DerivationPath, TapTweak};
use crate::wire::sheet::MAX_MESSAGE_BYTES;
use crate::wire::transcript::Transcript;

/// How much of a signing request its initiator signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Everything that determines the signature.
    Complete,
    /// mpcium's form: all but the derivation path, which anyone on the way could have changed.
    Legacy,
}

/// A client asks for a signature. Within all limits; not yet authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignRequest {
    bytes: Vec<u8>,
    scheme: Scheme,
    wallet: WalletId,
    network_code: String,
    request_id: RequestId,
    /// `tx` as decoded: what Go writes again.
    tx: Vec<u8>,
    /// `tx` as it was given: what JavaScript signs.
    tx_text: String,
    message: Vec<u8>,
    path: Option<DerivationPath>,
    /// The text of `taproot_merkle_root`, if there was one.
    merkle_root: Option<String>,
    tweak: Option<TapTweak>,
    authorization: Authorization,
}

impl SignRequest {
    /// Begins a request to sign `tx`: the digest for ECDSA, the message itself for the others.
    #[must_use]
    pub fn builder<'a>(scheme: Scheme, wallet: WalletId, request_id: RequestId, tx: &[u8]) -> SignRequestBuilder<'a> {
        SignRequestBuilder::new(scheme, wallet, request_id, tx)
    }

    /// Parses a request.
    ///
    /// # Errors
    /// When it is too long, is no JSON object, or a field breaks its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let fields: Fields = parse_object(bytes)?;
        let scheme: Scheme = required_text("key_type", fields.key_type)?.parse().map_err(in_field("key_type"))?;
        let wallet =
            WalletId::try_from(required_text("wallet_id", fields.wallet_id)?).map_err(in_field("wallet_id"))?;
        let network_code = network_code(fields.network_internal_code)?;
        let request_id = RequestId::try_from(required_text("tx_id", fields.tx_id)?).map_err(in_field("tx_id"))?;
        let tx_text = required_text("tx", fields.tx)?;
        let tx = base64_bytes("tx", &tx_text)?;
        let message = message_of(scheme, &tx)?;
        let path = optional_list(PATH, fields.derivation_path)?.as_deref().map(path_of).transpose()?;
        let merkle_root = optional_text(MERKLE_ROOT, fields.taproot_merkle_root)?;
        let tweak = tweak_of(scheme, merkle_root.as_deref())?;
        let authorization =
            Authorization::from_json(request_id.to_string(), fields.signature, fields.authorizer_signatures)?;
        Ok(Self {
            bytes: bytes.to_vec(),
            scheme,
            wallet,
            network_code,
            request_id,
            tx,
            tx_text,
            message,
            path,
            merkle_root,
            tweak,
            authorization,
        })
    }

    /// The bytes that this was parsed from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The scheme of the key that is to sign.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The wallet that is to sign.
    #[must_use]
    pub const fn wallet(&self) -> &WalletId {
        &self.wallet
    }

    /// The client's own name of the chain, at most [`MAX_NETWORK_CODE_BYTES`]; it is returned with the result.
    #[must_use]
    pub fn network_code(&self) -> &str {
        &self.network_code
    }

    /// The client's name of the request (`tx_id`).
    #[must_use]
    pub const fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// What is signed: the digest of exactly 32 bytes for ECDSA, otherwise a message of 1 to 65,536 bytes.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The child key that signs; empty for the wallet's own key.
    #[must_use]
    pub fn path(&self) -> DerivationPath {
        self.path.clone().unwrap_or_default()
    }

    /// What is added to the key before it signs; always `None` unless the scheme is BIP-340.
    #[must_use]
    pub const fn tweak(&self) -> Option<TapTweak> {
        self.tweak
    }

    /// The signatures, not yet verified.
    #[must_use]
    pub const fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// The coverages of the initiator's signature that may authorise this request. Taproot requests are ours, so they
    /// are complete always; the others may be legacy where `legacy` allows it.
    #[must_use]
    pub const fn accepted_coverage(&self, legacy: bool) -> &'static [Coverage] {
        match self.scheme {
            Scheme::Ecdsa | Scheme::Ed25519 if legacy => &[Coverage::Complete, Coverage::Legacy],
            _ => &[Coverage::Complete],
        }
    }

    /// What the initiator signs.
    #[must_use]
    pub fn signed_bytes(&self, coverage: Coverage, form: JsonForm) -> Vec<u8> {
        let tx = match form {
            JsonForm::Go => &STANDARD.encode(&self.tx),
            JsonForm::JavaScript => &self.tx_text,
        };
        let object = ObjectWriter::new(form)
            .text("key_type", self.scheme.as_str())
            .text("wallet_id", self.wallet.as_str())
            .text("network_internal_code", &self.network_code)
            .text("tx_id", self.request_id.as_str())
            .text("tx", tx);
        match coverage {
            Coverage::Legacy => object.finish(),
            Coverage::Complete => self.write_key_choice(object, form).finish(),
        }
    }

    /// Names what is asked for: two requests with the same hash have the same signature as their answer. The
    /// initiator's signature is no part of it, since its bytes may differ each time.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        let path: Vec<u8> = self.path().indices().iter().flat_map(|index| index.to_be_bytes()).collect();
        let tweak: (&[u8], &[u8]) = match &self.tweak {
            None => (b"none", b""),
            Some(TapTweak::KeyPathOnly) => (b"key path", b""),
            Some(TapTweak::MerkleRoot(root)) => (b"merkle root", root),
        };
        Transcript::new("quorate/sign-request/v1")
            .field(self.scheme.as_str().as_bytes())
            .field(self.wallet.as_str().as_bytes())
            .field(self.network_code.as_bytes())
            .field(self.request_id.as_str().as_bytes())
            .field(&self.message)
            .field(&path)
            .field(tweak.0)
            .field(tweak.1)
            .finish()
    }

    /// The members that only the complete form covers: which key signs.
    fn write_key_choice(&self, object: ObjectWriter, form: JsonForm) -> ObjectWriter {
        let object = match &self.path {
            None => object.raw(PATH, "null"),
            Some(path) => object.raw(PATH, &numbers(path.indices())),
        };
        match (&self.merkle_root, self.scheme) {
            (_, Scheme::Ecdsa | Scheme::Ed25519) => object,
            (None, Scheme::Bip340) => object.raw(MERKLE_ROOT, "null"),
            (Some(text), Scheme::Bip340) => object.raw(MERKLE_ROOT, &form.quote(text)),
        }
    }
}

#[derive(Deserialize)]
struct Fields {
    key_type: Option<Value>,
    wallet_id: Option<Value>,
    network_internal_code: Option<Value>,
    tx_id: Option<Value>,
    tx: Option<Value>,
    derivation_path: Option<Value>,
    taproot_merkle_root: Option<Value>,
    signature: Option<Value>,
    authorizer_signatures: Option<Value>,
}

fn network_code(value: Option<Value>) -> Result<String, RequestError> {
    let code = optional_text(NETWORK, value)?.unwrap_or_default();
    if code.len() > MAX_NETWORK_CODE_BYTES {
        return Err(RequestError::field(NETWORK, "it is longer than 128 bytes"));
    }
    if code.chars().any(char::is_control) {
        return Err(RequestError::field(NETWORK, "it holds a control character"));
    }
    Ok(code)
}

/// ECDSA takes `tx` for a big-endian number, so a short one gets leading zeros.
fn message_of(scheme: Scheme, tx: &[u8]) -> Result<Vec<u8>, RequestError> {
    if tx.is_empty() {
        return Err(RequestError::field("tx", "it is empty"));
    }
    match scheme {
        Scheme::Ecdsa => {
            let zeros =
                32_usize.checked_sub(tx.len()).ok_or(RequestError::field("tx", "a digest has at most 32 bytes"))?;
            Ok([vec![0; zeros].as_slice(), tx].concat())
        }
        Scheme::Ed25519 | Scheme::Bip340 if tx.len() > MAX_MESSAGE_BYTES => {
            Err(RequestError::field("tx", "the message is longer than 64 KiB"))
        }
        Scheme::Ed25519 | Scheme::Bip340 => Ok(tx.to_vec()),
    }
}

fn path_of(items: &[Value]) -> Result<DerivationPath, RequestError> {
    let indices = items
        .iter()
        .map(|item| item.as_u64().and_then(|index| u32::try_from(index).ok()))
        .collect::<Option<Vec<u32>>>()
        .ok_or(RequestError::field(PATH, "an entry is not a number of 32 bits"))?;
    DerivationPath::try_from(indices).map_err(in_field(PATH))
}

/// See the table of the module's documentation.
fn tweak_of(scheme: Scheme, merkle_root: Option<&str>) -> Result<Option<TapTweak>, RequestError> {
    if scheme != Scheme::Bip340 {
        return match merkle_root {
            None => Ok(None),
            Some(_) => Err(RequestError::field(MERKLE_ROOT, "only a taproot key takes one")),
        };
    }
    let root = match merkle_root {
        None | Some("") => return Ok(Some(TapTweak::KeyPathOnly)),
        Some("none") => return Ok(None),
        Some(text) if text.len() == 64 => hex::decode(text).ok(),
        Some(text) => base64_bytes(MERKLE_ROOT, text).ok(),
    };
    let root = root.and_then(|root| <[u8; 32]>::try_from(root).ok());
    root.map(|root| Some(TapTweak::MerkleRoot(root)))
        .ok_or(RequestError::field(MERKLE_ROOT, "it is neither 32 bytes of hex or base64, nor \"\", nor \"none\""))
}

pub(super) const PATH: &str = "derivation_path";
pub(super) const MERKLE_ROOT: &str = "taproot_merkle_root";
const NETWORK: &str = "network_internal_code";
