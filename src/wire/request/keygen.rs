//! The request to make a wallet.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::json::{JsonForm, ObjectWriter, in_field, optional_list, parse_object, plain_texts, required_text};
use super::{Authorization, KeygenRequestBuilder, RequestError};
use crate::ids::{Scheme, WalletId};
use crate::wire::transcript::Transcript;

/// A client asks for a new wallet. Within all limits; not yet authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeygenRequest {
    bytes: Vec<u8>,
    wallet: WalletId,
    /// As given, in the request's order: that order is signed.
    key_types: Option<Vec<Scheme>>,
    authorization: Authorization,
}

impl KeygenRequest {
    /// What a request without `key_types` asks for.
    pub const DEFAULT_SCHEMES: [Scheme; 2] = [Scheme::Ecdsa, Scheme::Ed25519];

    /// Begins a request for a new wallet.
    #[must_use]
    pub fn builder<'a>(wallet: WalletId) -> KeygenRequestBuilder<'a> {
        KeygenRequestBuilder::new(wallet)
    }

    /// Parses a request.
    ///
    /// # Errors
    /// When it is too long, is no JSON object, or a field breaks its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let fields: Fields = parse_object(bytes)?;
        let wallet = required_text("wallet_id", fields.wallet_id)?;
        if wallet.starts_with('{') {
            return Err(RequestError::field("wallet_id", "it begins with '{', like the text of another request"));
        }
        let wallet = WalletId::try_from(wallet).map_err(in_field("wallet_id"))?;
        let key_types = optional_list(KEY_TYPES, fields.key_types)?.map(schemes).transpose()?;
        let authorization =
            Authorization::from_json(wallet.to_string(), fields.signature, fields.authorizer_signatures)?;
        Ok(Self { bytes: bytes.to_vec(), wallet, key_types, authorization })
    }

    /// The bytes that this was parsed from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id of the wallet to be.
    #[must_use]
    pub const fn wallet(&self) -> &WalletId {
        &self.wallet
    }

    /// The keys that the wallet gets, ascending, at least one, none twice.
    #[must_use]
    pub fn schemes(&self) -> Vec<Scheme> {
        let mut schemes = self.key_types.clone().unwrap_or_else(|| Self::DEFAULT_SCHEMES.to_vec());
        schemes.sort_unstable();
        schemes
    }

    /// The signatures, not yet verified.
    #[must_use]
    pub const fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// What the initiator signs. Without `key_types` both forms are the bytes of the wallet id.
    #[must_use]
    pub fn signed_bytes(&self, form: JsonForm) -> Vec<u8> {
        match &self.key_types {
            None => self.wallet.as_str().as_bytes().to_vec(),
            Some(key_types) => ObjectWriter::new(form)
                .text("wallet_id", self.wallet.as_str())
                .raw(KEY_TYPES, &plain_texts(key_types.iter().map(|scheme| scheme.as_str())))
                .finish(),
        }
    }

    /// Names what is asked for: two requests with the same hash ask for the same wallet with the same keys.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        let transcript = Transcript::new("quorate/keygen-request/v1").field(self.wallet.as_str().as_bytes());
        self.schemes().iter().fold(transcript, |all, scheme| all.field(scheme.as_str().as_bytes())).finish()
    }

    /// Writes the request as JSON. Used by the builder, which parses what comes out.
    pub(super) fn write(wallet: &WalletId, key_types: Option<&[Scheme]>, authorization: &Authorization) -> Vec<u8> {
        let object = ObjectWriter::new(JsonForm::Go).text("wallet_id", wallet.as_str());
        let object = match key_types {
            None => object,
            Some(schemes) => object.raw(KEY_TYPES, &plain_texts(schemes.iter().map(|scheme| scheme.as_str()))),
        };
        authorization.write(object).finish()
    }
}

#[derive(Deserialize)]
struct Fields {
    wallet_id: Option<Value>,
    key_types: Option<Value>,
    signature: Option<Value>,
    authorizer_signatures: Option<Value>,
}

pub(super) fn schemes(items: Vec<Value>) -> Result<Vec<Scheme>, RequestError> {
    if items.is_empty() {
        return Err(RequestError::field(KEY_TYPES, "it is empty"));
    }
    if items.len() > Scheme::ALL.len() {
        return Err(RequestError::field(KEY_TYPES, "it lists more key types than there are"));
    }
    let schemes = items
        .into_iter()
        .map(|item| required_text(KEY_TYPES, Some(item))?.parse().map_err(in_field(KEY_TYPES)))
        .collect::<Result<Vec<Scheme>, _>>()?;
    if schemes.iter().collect::<BTreeSet<_>>().len() != schemes.len() {
        return Err(RequestError::field(KEY_TYPES, "it lists a key type twice"));
    }
    Ok(schemes)
}

const KEY_TYPES: &str = "key_types";
