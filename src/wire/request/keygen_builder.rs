//! Making key generation requests, as a client does.

use super::{
    Approval, Authorization, AuthorizerId, JsonForm, KeygenRequest, RequestError, RequestSigner, SigningFailed,
};
use crate::ids::{Scheme, WalletId};

/// Fills in, signs and writes a [`KeygenRequest`].
pub struct KeygenRequestBuilder<'a> {
    wallet: WalletId,
    key_types: Option<Vec<Scheme>>,
    approvers: Vec<(AuthorizerId, &'a dyn RequestSigner)>,
}

impl<'a> KeygenRequestBuilder<'a> {
    pub(super) const fn new(wallet: WalletId) -> Self {
        Self { wallet, key_types: None, approvers: Vec::new() }
    }

    /// Asks for these keys instead of [`KeygenRequest::DEFAULT_SCHEMES`], and has them signed.
    #[must_use]
    pub fn key_types(mut self, schemes: &[Scheme]) -> Self {
        self.key_types = Some(schemes.to_vec());
        self
    }

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
    pub fn sign_with(self, initiator: &dyn RequestSigner) -> Result<KeygenRequest, RequestError> {
        let mut authorization =
            Authorization { subject: self.wallet.to_string(), signature: Vec::new(), approvals: Vec::new() };
        let write = |authorization: &Authorization| {
            KeygenRequest::parse(&KeygenRequest::write(&self.wallet, self.key_types.as_deref(), authorization))
        };
        let raw = write(&authorization)?.signed_bytes(JsonForm::Go);
        authorization.sign(&raw, initiator, &self.approvers)?;
        write(&authorization)
    }
}

impl Authorization {
    /// Signs `raw` as the initiator, then as each of the approvers.
    pub(super) fn sign(
        &mut self,
        raw: &[u8],
        initiator: &dyn RequestSigner,
        approvers: &[(AuthorizerId, &dyn RequestSigner)],
    ) -> Result<(), SigningFailed> {
        self.signature = initiator.sign_request(raw)?;
        let statement = self.approval_bytes(raw, JsonForm::Go);
        self.approvals = approvers
            .iter()
            .map(|(authorizer, signer)| {
                let signature = signer.sign_request(&statement)?;
                Ok(Approval { authorizer: authorizer.clone(), signature })
            })
            .collect::<Result<_, SigningFailed>>()?;
        Ok(())
    }
}
