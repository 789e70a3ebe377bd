//! Making signing requests, as a client does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{ObjectWriter, numbers};
use super::sign::{MERKLE_ROOT, PATH};
use super::{Authorization, AuthorizerId, Coverage, JsonForm, RequestError, RequestSigner, SignRequest};
use crate::ids::{RequestId, Scheme, WalletId};
use crate::keys::{DerivationPath, TapTweak};

/// Fills in, signs and writes a [`SignRequest`]. What is not said is absent: no path, no network code, the usual
/// taproot tweak, complete coverage, Go's form.
pub struct SignRequestBuilder<'a> {
    scheme: Scheme,
    wallet: WalletId,
    request_id: RequestId,
    tx: Vec<u8>,
    network_code: String,
    path: Option<DerivationPath>,
    /// The text of `taproot_merkle_root`.
    merkle_root: Option<String>,
    coverage: Coverage,
    form: JsonForm,
    approvers: Vec<(AuthorizerId, &'a dyn RequestSigner)>,
}

impl<'a> SignRequestBuilder<'a> {
    pub(super) fn new(scheme: Scheme, wallet: WalletId, request_id: RequestId, tx: &[u8]) -> Self {
        Self {
            scheme,
            wallet,
            request_id,
            tx: tx.to_vec(),
            network_code: String::new(),
            path: None,
            merkle_root: None,
            coverage: Coverage::Complete,
            form: JsonForm::Go,
            approvers: Vec::new(),
        }
    }

    /// The client's name of the chain.
    #[must_use]
    pub fn network_code(mut self, code: &str) -> Self {
        code.clone_into(&mut self.network_code);
        self
    }

    /// The child key that is to sign.
    #[must_use]
    pub fn path(mut self, path: DerivationPath) -> Self {
        self.path = Some(path);
        self
    }

    /// BIP-340 only: what is added to the key; `None` for nothing at all.
    #[must_use]
    pub fn tweak(mut self, tweak: Option<TapTweak>) -> Self {
        self.merkle_root = match tweak {
            None => Some("none".to_owned()),
            Some(TapTweak::KeyPathOnly) => None,
            Some(TapTweak::MerkleRoot(root)) => Some(hex::encode(root)),
        };
        self
    }

    /// How much the initiator signs.
    #[must_use]
    pub const fn coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = coverage;
        self
    }

    /// Whose JSON the initiator signs.
    #[must_use]
    pub const fn form(mut self, form: JsonForm) -> Self {
        self.form = form;
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
    pub fn sign_with(self, initiator: &dyn RequestSigner) -> Result<SignRequest, RequestError> {
        let mut authorization =
            Authorization { subject: self.request_id.to_string(), signature: Vec::new(), approvals: Vec::new() };
        let raw = SignRequest::parse(&self.write(&authorization))?.signed_bytes(self.coverage, self.form);
        authorization.sign(&raw, initiator, &self.approvers)?;
        SignRequest::parse(&self.write(&authorization))
    }

    fn write(&self, authorization: &Authorization) -> Vec<u8> {
        let object = ObjectWriter::new(self.form)
            .text("key_type", self.scheme.as_str())
            .text("wallet_id", self.wallet.as_str())
            .text("network_internal_code", &self.network_code)
            .text("tx_id", self.request_id.as_str())
            .text("tx", &STANDARD.encode(&self.tx));
        let object = match &self.path {
            None => object,
            Some(path) => object.raw(PATH, &numbers(path.indices())),
        };
        let object = match &self.merkle_root {
            None => object,
            Some(text) => object.text(MERKLE_ROOT, text),
        };
        authorization.write(object).finish()
    }
}
