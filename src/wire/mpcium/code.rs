//! Error codes as mpcium's clients know them.

use crate::error::Code;

/// An error code of the contract: `ERROR_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// What stands in `error_code`.
    pub text: &'static str,
    /// What stands in `is_timeout`.
    pub is_timeout: bool,
}

/// A request that no node brought to an end, however often it was delivered.
pub const MAX_DELIVERY_ATTEMPTS: ErrorCode = ErrorCode { text: "ERROR_MAX_DELIVERY_ATTEMPTS", is_timeout: true };

impl From<Code> for ErrorCode {
    /// The contract's code for one of ours. Where several of ours have one of theirs, clients that branch on it want the
    /// same reaction.
    fn from(code: Code) -> Self {
        let text = match code {
            Code::PeerUnavailable => "ERROR_PEER_UNAVAILABLE",
            Code::NotMajority => "ERROR_NOT_MAJORITY",
            Code::ClusterNotReady => "ERROR_CLUSTER_NOT_READY",
            Code::KeyNotFound | Code::WalletDestroyed => "ERROR_KEY_NOT_FOUND",
            Code::KeyAlreadyExists => "ERROR_KEY_ALREADY_EXISTS",
            // Both say that the id is taken: wait for the result that it has, or use another id.
            Code::SessionDuplicate | Code::RequestConflict | Code::ReshareInProgress => "ERROR_SESSION_DUPLICATE",
            Code::InvalidInitiatorSignature => "ERROR_INVALID_INITIATOR_SIGNATURE",
            Code::MissingAuthorizerSignature => "ERROR_MISSING_AUTHORIZER_SIGNATURE",
            Code::InvalidAuthorizerSignature => "ERROR_INVALID_AUTHORIZER_SIGNATURE",
            Code::UnmarshalFailure => "ERROR_UNMARSHAL_FAILURE",
            Code::MsgValidation => "ERROR_MSG_VALIDATION",
            Code::SessionTimeout => "ERROR_SESSION_TIMEOUT",
            Code::SessionStale => "ERROR_SESSION_STALE",
            Code::ProtocolViolation | Code::Equivocation => "ERROR_MESSAGE_VERIFICATION",
            Code::PairMismatch | Code::PairBanned | Code::WalletQuarantined => "ERROR_PEER_NOT_READY",
            Code::KeygenFailure => "ERROR_KEYGEN_FAILURE",
            Code::ReshareFailure => "ERROR_RESHARE_FAILURE",
            Code::SigningFailure => "ERROR_SIGNING_FAILURE",
            Code::SignatureVerification => "ERROR_SIGNATURE_VERIFICATION",
            Code::StorageRead => "ERROR_STORAGE_READ",
            Code::StorageWrite => "ERROR_STORAGE_WRITE",
            Code::DataCorruption => "ERROR_DATA_CORRUPTION",
            Code::ConcurrencyLimit => "ERROR_CONCURRENCY_LIMIT",
            Code::Cancelled => "ERROR_CONTEXT_CANCELLED",
            // Clients of this protocol can ask for neither.
            Code::RefreshNotDue | Code::DestructionNotAllowed | Code::Superseded => "ERROR_OPERATION_ABORTED",
            Code::Internal => "ERROR_UNKNOWN",
        };
        Self { text, is_timeout: code == Code::SessionTimeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes__should_be_the_contracts_where_clients_branch_on_them() {
        let expected = [
            (Code::PeerUnavailable, "ERROR_PEER_UNAVAILABLE"),
            (Code::NotMajority, "ERROR_NOT_MAJORITY"),
            (Code::KeyNotFound, "ERROR_KEY_NOT_FOUND"),
            (Code::KeyAlreadyExists, "ERROR_KEY_ALREADY_EXISTS"),
            (Code::SessionDuplicate, "ERROR_SESSION_DUPLICATE"),
            (Code::InvalidInitiatorSignature, "ERROR_INVALID_INITIATOR_SIGNATURE"),
            (Code::MissingAuthorizerSignature, "ERROR_MISSING_AUTHORIZER_SIGNATURE"),
            (Code::InvalidAuthorizerSignature, "ERROR_INVALID_AUTHORIZER_SIGNATURE"),
            (Code::UnmarshalFailure, "ERROR_UNMARSHAL_FAILURE"),
            (Code::MsgValidation, "ERROR_MSG_VALIDATION"),
            (Code::SessionTimeout, "ERROR_SESSION_TIMEOUT"),
        ];
        for (code, text) in expected {
            assert_eq!(ErrorCode::from(code), ErrorCode { text, is_timeout: code == Code::SessionTimeout });
        }
        assert!(Code::ALL.iter().all(|&code| ErrorCode::from(code).text.starts_with("ERROR_")));
    }
}
