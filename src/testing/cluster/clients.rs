//! Clients: who asks the nodes for wallets and signatures.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;

use super::{Cluster, HarnessError, PATIENCE, eventually};
use crate::error::{Code, Failure};
use crate::ids::{RequestId, Scheme, WalletId};
use crate::keygen::{Generated, KeygenMsg};
use crate::keys::DerivationPath;
use crate::node::{Addresses, ask};
use crate::protocol::verify::verify;
use crate::signing::{Signed, SigningMsg};
use crate::wallet::WalletCertificate;
use crate::wire::request::{KeygenRequest, SignRequest};

impl Cluster {
    /// Has a node make a wallet, and returns when it is active on all running nodes: success tells that it is certified,
    /// which the other members may learn a moment later.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn make_wallet(
        &self,
        number: usize,
        wallet: &str,
        schemes: &[Scheme],
    ) -> Result<Arc<WalletCertificate>, HarnessError> {
        let request = self.keygen_request(wallet, schemes)?;
        let certificate = self.node(number)?.keygen(request).await?.certificate;
        let id = wallet_id(wallet)?;
        eventually("the wallet is active everywhere", async || {
            for node in self.local.running() {
                if !matches!(node.wallet(id.clone()).await, Ok(Some(_))) {
                    return false;
                }
            }
            true
        })
        .await?;
        Ok(certificate)
    }

    /// A signed request for a wallet.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn keygen_request(&self, wallet: &str, schemes: &[Scheme]) -> Result<KeygenRequest, HarnessError> {
        Ok(self.local.keygen_request(&wallet_id(wallet)?, schemes)?)
    }

    /// A signed request for a signature of 32 fixed bytes, under a request id that was not used before.
    ///
    /// # Errors
    /// When a field breaks its rules.
    pub fn sign_request(&self, scheme: Scheme, wallet: &str) -> Result<SignRequest, HarnessError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request: RequestId = format!("request-{number}").parse().map_err(invalid)?;
        Ok(self.local.sign_request(scheme, &wallet_id(wallet)?, &request, DerivationPath::default(), &[7; 32])?)
    }

    /// Has a node sign, and checks the signature with independent code.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn sign(&self, number: usize, scheme: Scheme, wallet: &str) -> Result<Signed, HarnessError> {
        let request = self.sign_request(scheme, wallet)?;
        Ok(self.client(number)?.sign(request).await?)
    }

    /// A client of a node, which outlives the node.
    ///
    /// # Errors
    /// When the node does not run.
    pub fn client(&self, number: usize) -> Result<Client, HarnessError> {
        Ok(Client(self.addresses(number)?.clone()))
    }
}

/// A client of one node: its requests can wait beside the test.
#[derive(Clone)]
pub struct Client(Addresses);

impl Client {
    /// Asks for a signature, and checks it with independent code.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn sign(&self, request: SignRequest) -> Result<Signed, Failure> {
        let asked = request.clone();
        let signed = ask(&self.0.signing, PATIENCE, |reply| SigningMsg::Sign { request: asked, reply }).await?;
        match verify(&signed.public_key, request.message(), request.tweak(), &signed.signature) {
            Ok(()) => Ok(signed),
            Err(error) => Err(Failure::new(Code::SignatureVerification, error.to_string())),
        }
    }

    /// As [`Client::sign`], beside the test.
    #[must_use]
    pub fn start_signing(&self, request: SignRequest) -> JoinHandle<Result<Signed, Failure>> {
        let client = self.clone();
        tokio::spawn(async move { client.sign(request).await })
    }

    /// Asks for a wallet, beside the test.
    #[must_use]
    pub fn start_keygen(&self, request: KeygenRequest) -> JoinHandle<Result<Generated, Failure>> {
        let address = self.0.keygen.clone();
        tokio::spawn(async move { ask(&address, PATIENCE, |reply| KeygenMsg::Generate { request, reply }).await })
    }
}

fn wallet_id(name: &str) -> Result<WalletId, HarnessError> {
    name.parse().map_err(invalid)
}

fn invalid(error: impl std::fmt::Display) -> HarnessError {
    HarnessError::Request(error.to_string())
}
