//! Making reshare requests, as a client does.

use super::json::ObjectWriter;
use super::reshare::{Asked, KeyTypes};
use super::{Authorization, AuthorizerId, JsonForm, RequestError, RequestSigner, ReshareRequest};
use crate::ids::{NodeId, RequestId, Scheme, Threshold, WalletId};

/// Fills in, signs and writes a [`ReshareRequest`].
pub struct ReshareRequestBuilder<'a> {
    wallet: WalletId,
    session: RequestId,
    signers: u8,
    nodes: Vec<NodeId>,
    schemes: Vec<Scheme>,
    approvers: Vec<(AuthorizerId, &'a dyn RequestSigner)>,
}

impl<'a> ReshareRequestBuilder<'a> {
    pub(super) fn new(wallet: WalletId, session: RequestId, signers: u8, nodes: &[NodeId]) -> Self {
        let (schemes, approvers) = (Vec::new(), Vec::new());
        Self { wallet, session, signers, nodes: nodes.to_vec(), schemes, approvers }
    }

    /// Adds keys. One is asked for as mpcium does.
    #[must_use]
    pub fn key_types(mut self, schemes: &[Scheme]) -> Self {
        self.schemes.extend(schemes);
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
    pub fn sign_with(self, initiator: &dyn RequestSigner) -> Result<ReshareRequest, RequestError> {
        let parties = u8::try_from(self.nodes.len()).unwrap_or(u8::MAX);
        let threshold = Threshold::new(self.signers, parties)
            .map_err(|invalid| RequestError::field("new_threshold", invalid.problem))?;
        let node_ids: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        let key_types = match self.schemes.as_slice() {
            [one] => KeyTypes::One(*one),
            _ => KeyTypes::Several(self.schemes),
        };
        let (wallet, session) = (&self.wallet, &self.session);
        let asked = Asked { wallet, session, node_ids: &node_ids, key_types: &key_types, threshold };
        let mut authorization =
            Authorization { subject: wallet.to_string(), signature: Vec::new(), approvals: Vec::new() };
        let write = |authorization: &Authorization| {
            let object = asked.write(ObjectWriter::new(JsonForm::Go));
            ReshareRequest::parse(&authorization.write(object).finish())
        };
        let raw = write(&authorization)?.signed_bytes(JsonForm::Go);
        authorization.sign(&raw, initiator, &self.approvers)?;
        write(&authorization)
    }
}
