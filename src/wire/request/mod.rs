//! Client requests: what a client of the mpcium protocol sends to have a key made or a transaction signed.
//!
//! ```text
//!  JSON bytes ──parse──► KeygenRequest ──► policy (is it signed and approved?) ──► session
//!               (limits)  SignRequest  ──► content hash (is it the same request again?)
//!                         ReshareRequest, DestroyRequest
//! ```
//!
//! A value of [`KeygenRequest`], [`SignRequest`], [`ReshareRequest`] or [`DestroyRequest`] is within all limits and rules of its fields. It is *not* yet
//! authorised: whether its signatures hold is the policy's question. The request remembers the bytes it was parsed
//! from, because a session carries them to every participant, and each parses and judges them for itself.
//!
//! # What is signed
//!
//! The initiator signs compact JSON, once as Go's `encoding/json` writes it and once as JavaScript's `JSON.stringify`
//! does ([`JsonForm`]); a signature over either is good. What that JSON covers is the [`Coverage`]:
//!
//! | request | legacy (mpcium) | complete (ours) |
//! |---|---|---|
//! | keygen | the bytes of `wallet_id`, if there is no `key_types` | `{wallet_id, key_types}`, if there is |
//! | signing | `{key_type, wallet_id, network_internal_code, tx_id, tx}` | the same, then `derivation_path`; for `taproot` then `taproot_merkle_root` |
//! | reshare | `{session_id, node_ids, new_threshold, key_type, wallet_id}` | `key_types`, a list, in the place of `key_type` |
//! | destruction | none | `{destroy_wallet_id, public_keys}` |
//!
//! `new_threshold` is mpcium's: t means that t + 1 nodes must sign.
//!
//! `derivation_path` is `null` when the request gives none. `taproot_merkle_root` stands as the request's own text:
//!
//! | value | the key that signs |
//! |---|---|
//! | absent, `null`, `""` | tweaked to commit to no script (BIP-86): what a single-key taproot address needs |
//! | 32 bytes as 64 hex digits, or as 44 characters of base64 | tweaked by that merkle root (BIP-341) |
//! | `"none"` | the wallet's key as it is, with no tweak at all |
//!
//! A wallet id is any visible ASCII, so the text of a signing request could be passed to an initiator as a wallet id.
//! Whoever signs key generations must refuse ids that begin with `{`; the builder here does, and so does parsing.

mod approval;
mod destroy;
mod json;
mod keygen;
mod keygen_builder;
mod reshare;
mod reshare_builder;
mod sign;
mod sign_builder;
#[cfg(test)]
mod tests;

pub use approval::{Approval, Authorization, AuthorizerId, RequestSigner, SigningFailed};
pub use destroy::{DestroyRequest, DestroyRequestBuilder, MAX_DESTROY_REQUEST_BYTES};
pub use json::JsonForm;
pub(in crate::wire) use json::escape_as_go;
pub use keygen::KeygenRequest;
pub use keygen_builder::KeygenRequestBuilder;
pub use reshare::ReshareRequest;
pub use reshare_builder::ReshareRequestBuilder;
pub use sign::{Coverage, SignRequest};
pub use sign_builder::SignRequestBuilder;

use crate::error::Code;

/// The longest request, in bytes of JSON: a message of 64 KiB in base64, approvals, and room.
pub const MAX_REQUEST_BYTES: usize = 128 * 1024;
/// The longest signature on a request, in bytes. Ed25519 takes 64, P-256 in DER at most 72.
pub const MAX_SIGNATURE_BYTES: usize = 128;
/// The longest `network_internal_code`, in bytes.
pub const MAX_NETWORK_CODE_BYTES: usize = 128;
/// The most approvals on one request.
pub const MAX_APPROVALS: usize = 32;

/// Why bytes are no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_BYTES`].
    #[error("request of {len} bytes is longer than its limit of {MAX_REQUEST_BYTES}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not a JSON object, or one that gives a field twice.
    #[error("failed to parse the request as a JSON object (line {line}, column {column})")]
    Malformed {
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault.
        column: usize,
    },
    /// A field breaks its rules.
    #[error("invalid field `{field}`: {problem}")]
    Field {
        /// The field's name in JSON.
        field: &'static str,
        /// What is wrong. Never repeats the value.
        problem: &'static str,
    },
    /// The builder's signer gave no signature.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
}

impl RequestError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed { .. } => Code::UnmarshalFailure,
            Self::TooLong { .. } | Self::Field { .. } => Code::MsgValidation,
            Self::Signing(_) => Code::Internal,
        }
    }

    const fn field(field: &'static str, problem: &'static str) -> Self {
        Self::Field { field, problem }
    }
}
