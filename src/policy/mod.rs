//! What a cluster lets its clients do: pure decisions on requests that parsed.
//!
//! ```text
//!  request ──► initiator's signature ──► required approvals present ──► every approval verifies ──► allowed
//! ```
//!
//! Every participant of a session asks its own policy; none trusts the coordinator's answer. A policy holds public keys
//! only and never changes while a node runs.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;

use crate::error::Code;
use crate::identity::RequestPublicKey;
use crate::ids::Threshold;
use crate::wire::request::{
    Authorization, AuthorizerId, Coverage, DestroyRequest, JsonForm, KeygenRequest, ReshareRequest, SignRequest,
};

mod refresh;
#[cfg(test)]
mod tests;

pub use refresh::{InvalidPattern, RefreshSchedule, WalletClass, WalletPattern};

/// The rules of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whose signature every request needs.
    initiator: RequestPublicKey,
    /// Who may approve. With nobody in it there is no approval: approvals on requests are then not looked at.
    authorizers: BTreeMap<AuthorizerId, RequestPublicKey>,
    /// Whose approval every request needs: some of `authorizers`.
    required: BTreeSet<AuthorizerId>,
    legacy_path: bool,
    minority_threshold: bool,
    /// How many must approve the destruction of a wallet; without it, none is destroyed.
    destruction: Option<NonZeroU8>,
}

/// Why a request is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The initiator's signature is missing or does not verify.
    #[error("the initiator's signature does not verify")]
    InitiatorSignature,
    /// The initiator signed in mpcium's form, which leaves the derivation path open, and this is not allowed.
    #[error("the initiator's signature does not cover the derivation path, and policy requires that")]
    PathNotCovered,
    /// An approval that policy requires is missing.
    #[error("the approval of authorizer {0} is missing")]
    ApprovalMissing(AuthorizerId),
    /// An approval does not verify, or comes from nobody who may approve.
    #[error("the approval of authorizer {0} does not verify")]
    ApprovalInvalid(AuthorizerId),
    /// Wallets are not destroyed in this cluster.
    #[error("policy does not allow wallets to be destroyed")]
    DestructionNotAllowed,
    /// Fewer approve than policy requires for this.
    #[error("{given} of {needed} approvals are there that policy requires")]
    TooFewApprovals {
        /// How many there are.
        given: usize,
        /// How many there must be.
        needed: u8,
    },
    /// Two disjoint groups could sign.
    #[error("a threshold of {0} lets two groups sign without a common member: raise it, or allow minority thresholds")]
    MinorityThreshold(Threshold),
}

impl PolicyError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::InitiatorSignature | Self::PathNotCovered => Code::InvalidInitiatorSignature,
            Self::ApprovalMissing(_) | Self::TooFewApprovals { .. } => Code::MissingAuthorizerSignature,
            Self::DestructionNotAllowed => Code::DestructionNotAllowed,
            Self::ApprovalInvalid(_) => Code::InvalidAuthorizerSignature,
            Self::MinorityThreshold(_) => Code::MsgValidation,
        }
    }
}

/// A required authorizer has no key, so no request could ever be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("required authorizer {0} has no public key among the authorizers")]
pub struct UnknownAuthorizer(pub AuthorizerId);

impl Policy {
    /// A policy that takes every request the initiator signed completely, needs no approval, and wants majorities.
    #[must_use]
    pub const fn new(initiator: RequestPublicKey) -> Self {
        Self {
            initiator,
            authorizers: BTreeMap::new(),
            required: BTreeSet::new(),
            legacy_path: false,
            minority_threshold: false,
            destruction: None,
        }
    }

    /// Has approvals checked: all that are present must verify, and `required` must be present.
    ///
    /// # Errors
    /// When a required authorizer is not among `authorizers`.
    pub fn with_authorizers(
        mut self,
        authorizers: BTreeMap<AuthorizerId, RequestPublicKey>,
        required: BTreeSet<AuthorizerId>,
    ) -> Result<Self, UnknownAuthorizer> {
        if let Some(unknown) = required.iter().find(|id| !authorizers.contains_key(id)) {
            return Err(UnknownAuthorizer(unknown.clone()));
        }
        self.authorizers = authorizers;
        self.required = required;
        Ok(self)
    }

    /// Whether signing requests in mpcium's form are taken, which leaves the derivation path open to whoever carries
    /// the request. Taproot requests never are.
    #[must_use]
    pub const fn allow_legacy_path(mut self, allowed: bool) -> Self {
        self.legacy_path = allowed;
        self
    }

    /// Whether thresholds below a majority are taken.
    #[must_use]
    pub const fn allow_minority_threshold(mut self, allowed: bool) -> Self {
        self.minority_threshold = allowed;
        self
    }

    /// Has wallets destroyed for requests that so many authorizers approve, whoever else must approve every request. Without
    /// authorizers none ever is.
    #[must_use]
    pub const fn allow_destruction(mut self, approvals: NonZeroU8) -> Self {
        self.destruction = Some(approvals);
        self
    }

    /// Whether the request to destroy a wallet is authorised. That must have been allowed in so many words.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_destroy(&self, request: &DestroyRequest) -> Result<(), PolicyError> {
        let needed = self.destruction.ok_or(PolicyError::DestructionNotAllowed)?.get();
        let forms = JsonForm::ALL.map(|form| request.signed_bytes(form));
        let authorization = request.authorization();
        if !self.initiator_signed(&forms, authorization) {
            return Err(PolicyError::InitiatorSignature);
        }
        self.check_approvals(&forms, authorization)?;
        // Where there are no authorizers, nobody has looked at what claims to be an approval.
        let given = if self.authorizers.is_empty() { 0 } else { authorization.approvals.len() };
        if given < usize::from(needed) {
            return Err(PolicyError::TooFewApprovals { given, needed });
        }
        Ok(())
    }

    /// Whether the request to make a wallet is authorised.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_keygen(&self, request: &KeygenRequest) -> Result<(), PolicyError> {
        let forms = JsonForm::ALL.map(|form| request.signed_bytes(form));
        if !self.initiator_signed(&forms, request.authorization()) {
            return Err(PolicyError::InitiatorSignature);
        }
        self.check_approvals(&forms, request.authorization())
    }

    /// Whether the request to sign is authorised.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_sign(&self, request: &SignRequest) -> Result<(), PolicyError> {
        let forms_of = |coverage| JsonForm::ALL.map(|form| request.signed_bytes(coverage, form));
        for coverage in request.accepted_coverage(self.legacy_path) {
            let forms = forms_of(*coverage);
            if self.initiator_signed(&forms, request.authorization()) {
                return self.check_approvals(&forms, request.authorization());
            }
        }
        // Not allowed either way; the distinction tells the operator of an old client what to change.
        if self.initiator_signed(&forms_of(Coverage::Legacy), request.authorization()) {
            return Err(PolicyError::PathNotCovered);
        }
        Err(PolicyError::InitiatorSignature)
    }

    /// Whether the request to reshare is authorised, and its threshold allowed.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_reshare(&self, request: &ReshareRequest) -> Result<(), PolicyError> {
        let forms = JsonForm::ALL.map(|form| request.signed_bytes(form));
        if !self.initiator_signed(&forms, request.authorization()) {
            return Err(PolicyError::InitiatorSignature);
        }
        self.check_approvals(&forms, request.authorization())?;
        self.check_threshold(request.threshold())
    }

    /// Whether wallets may have this threshold.
    ///
    /// # Errors
    /// When it is below a majority and that is not allowed.
    pub const fn check_threshold(&self, threshold: Threshold) -> Result<(), PolicyError> {
        if threshold.is_majority() || self.minority_threshold {
            return Ok(());
        }
        Err(PolicyError::MinorityThreshold(threshold))
    }

    fn initiator_signed(&self, forms: &[Vec<u8>], authorization: &Authorization) -> bool {
        any_verifies(&self.initiator, forms, &authorization.signature)
    }

    /// An authorizer's statement quotes what the initiator signed. The authorizer's tool may have written that again in
    /// its own language, so each form is tried within each form.
    fn check_approvals(&self, forms: &[Vec<u8>], authorization: &Authorization) -> Result<(), PolicyError> {
        if self.authorizers.is_empty() {
            return Ok(());
        }
        let approved = |id: &AuthorizerId| authorization.approvals.iter().any(|approval| approval.authorizer == *id);
        if let Some(missing) = self.required.iter().find(|id| !approved(id)) {
            return Err(PolicyError::ApprovalMissing(missing.clone()));
        }
        let statements: Vec<Vec<u8>> = JsonForm::ALL
            .iter()
            .flat_map(|form| forms.iter().map(|raw| authorization.approval_bytes(raw, *form)))
            .collect();
        for approval in &authorization.approvals {
            let verifies = self
                .authorizers
                .get(&approval.authorizer)
                .is_some_and(|key| any_verifies(key, &statements, &approval.signature));
            if !verifies {
                return Err(PolicyError::ApprovalInvalid(approval.authorizer.clone()));
            }
        }
        Ok(())
    }
}

/// Whether `signature` is over any of `forms`. Forms are mostly equal, and then tried once.
fn any_verifies(key: &RequestPublicKey, forms: &[Vec<u8>], signature: &[u8]) -> bool {
    let distinct: BTreeSet<&Vec<u8>> = forms.iter().collect();
    distinct.into_iter().any(|bytes| key.verifies(bytes, signature))
}
