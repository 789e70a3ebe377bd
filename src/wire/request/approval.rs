//! Who stands behind a request: the initiator's signature and the authorizers' approvals.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::json::{JsonForm, ObjectWriter, base64_bytes, optional_list, optional_text, required_text};
use super::{MAX_APPROVALS, MAX_SIGNATURE_BYTES, RequestError};
use crate::ids::InvalidId;

/// Names an authorizer in policy and requests: 1 to 128 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorizerId(String);

impl AuthorizerId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AuthorizerId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX_BYTES {
            "it is longer than 128 bytes"
        } else if text.chars().any(char::is_control) {
            "it holds a control character"
        } else {
            return Ok(Self(text));
        };
        Err(InvalidId { what: "authorizer id", problem })
    }
}

impl fmt::Display for AuthorizerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One authorizer's consent to one request. Not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who claims to approve.
    pub authorizer: AuthorizerId,
    /// The signature, in its algorithm's encoding.
    pub signature: Vec<u8>,
}

/// The signatures on a request. Not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// What an authorizer's statement calls the request: the request id for signing, the wallet id for keygen.
    pub subject: String,
    /// The initiator's signature in its algorithm's encoding; empty if the request has none.
    pub signature: Vec<u8>,
    /// The approvals, no two of one authorizer.
    pub approvals: Vec<Approval>,
}

impl Authorization {
    /// Reads `signature` and `authorizer_signatures`.
    pub(super) fn from_json(
        subject: String,
        signature: Option<Value>,
        approvals: Option<Value>,
    ) -> Result<Self, RequestError> {
        let signature = match optional_text("signature", signature)? {
            Some(text) => signature_bytes("signature", &text)?,
            None => Vec::new(),
        };
        let approvals = optional_list(APPROVALS, approvals)?.unwrap_or_default();
        if approvals.len() > MAX_APPROVALS {
            return Err(RequestError::field(APPROVALS, "there are more than 32"));
        }
        let approvals = approvals.into_iter().map(Approval::from_json).collect::<Result<Vec<_>, _>>()?;
        let authorizers: BTreeSet<&AuthorizerId> = approvals.iter().map(|approval| &approval.authorizer).collect();
        if authorizers.len() != approvals.len() {
            return Err(RequestError::field(APPROVALS, "an authorizer is in it twice"));
        }
        Ok(Self { subject, signature, approvals })
    }

    /// What an authorizer signs to approve, when the initiator signed `initiator_raw`:
    /// `{"initiator_id", "initiator_raw", "initiator_sig"}`.
    #[must_use]
    pub fn approval_bytes(&self, initiator_raw: &[u8], form: JsonForm) -> Vec<u8> {
        ObjectWriter::new(form)
            .text("initiator_id", &self.subject)
            .text("initiator_raw", &STANDARD.encode(initiator_raw))
            .text("initiator_sig", &STANDARD.encode(&self.signature))
            .finish()
    }

    /// The members `signature` and, if there are any, `authorizer_signatures`.
    pub(super) fn write(&self, object: ObjectWriter) -> ObjectWriter {
        let object = object.text("signature", &STANDARD.encode(&self.signature));
        if self.approvals.is_empty() {
            return object;
        }
        let approvals: Vec<String> = self
            .approvals
            .iter()
            .map(|approval| {
                let id = JsonForm::Go.quote(approval.authorizer.as_str());
                let signature = STANDARD.encode(&approval.signature);
                format!(r#"{{"authorizer_id":{id},"signature":"{signature}"}}"#)
            })
            .collect();
        object.raw(APPROVALS, &format!("[{}]", approvals.join(",")))
    }
}

impl Approval {
    fn from_json(value: Value) -> Result<Self, RequestError> {
        let fields: ApprovalFields = match value {
            Value::Object(_) => serde_json::from_value(value).ok(),
            _ => None,
        }
        .ok_or(RequestError::field(APPROVALS, "an entry is not an object"))?;
        let authorizer = required_text("authorizer_signatures.authorizer_id", fields.authorizer_id)?;
        let authorizer = AuthorizerId::try_from(authorizer)
            .map_err(|invalid| RequestError::field("authorizer_signatures.authorizer_id", invalid.problem))?;
        let signature = required_text("authorizer_signatures.signature", fields.signature)?;
        let signature = signature_bytes("authorizer_signatures.signature", &signature)?;
        Ok(Self { authorizer, signature })
    }
}

/// Signs requests for an initiator or an authorizer.
pub trait RequestSigner {
    /// The signature of `bytes` in its algorithm's encoding: 64 bytes for Ed25519, ASN.1 DER for P-256.
    ///
    /// # Errors
    /// When the key cannot be used.
    fn sign_request(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningFailed>;
}

/// A key that should sign a request gave no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to sign a request")]
pub struct SigningFailed;

#[derive(Deserialize)]
struct ApprovalFields {
    authorizer_id: Option<Value>,
    signature: Option<Value>,
}

fn signature_bytes(field: &'static str, text: &str) -> Result<Vec<u8>, RequestError> {
    let signature = base64_bytes(field, text)?;
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(RequestError::field(field, "it is longer than 128 bytes"));
    }
    Ok(signature)
}

const APPROVALS: &str = "authorizer_signatures";
