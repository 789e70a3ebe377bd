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
use crate::reshare::{ReshareMsg, Reshared};
use crate::signing::{Signed, SigningMsg};
use crate::wallet::{WalletCertificate, members};
use crate::wire::request::{KeygenRequest, ReshareRequest, SignRequest};

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

    /// A signed request to deal keys of a wallet anew, to these nodes by their numbers, under a name that was not used
    /// before.
    ///
    /// # Errors
    /// When a field breaks its rules, or there is no such node.
    pub fn reshare_request(
        &self,
        wallet: &str,
        schemes: &[Scheme],
        signers: u8,
        nodes: &[usize],
    ) -> Result<ReshareRequest, HarnessError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let session: RequestId = format!("reshare-{number}").parse().map_err(invalid)?;
        let nodes = nodes.iter().map(|&node| self.id(node)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.local.reshare_request(&wallet_id(wallet)?, &session, signers, &nodes, schemes)?)
    }

    /// Has a node reshare keys of a wallet, and returns when all running nodes that hold the wallet know.
    ///
    /// # Errors
    /// The failure that the client is told.
    pub async fn reshare(
        &self,
        number: usize,
        wallet: &str,
        schemes: &[Scheme],
        signers: u8,
        nodes: &[usize],
    ) -> Result<Arc<WalletCertificate>, HarnessError> {
        let request = self.reshare_request(wallet, schemes, signers, nodes)?;
        let certificate = self.node(number)?.reshare(request).await?.certificate;
        self.until_known(&certificate).await?;
        Ok(certificate)
    }

    /// Waits until all running nodes that hold a wallet have this certificate of it.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_known(&self, certificate: &WalletCertificate) -> Result<(), HarnessError> {
        let record = certificate.record();
        eventually("the wallet's latest record is known", async || {
            for node in self.local.running() {
                let is_member = members(record).contains(&node.id());
                match node.wallet(record.wallet.clone()).await {
                    Ok(Some(known)) if known.record() == record => {}
                    Ok(None) if !is_member => {}
                    _ => return false,
                }
            }
            true
        })
        .await
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

    /// Asks for a reshare, beside the test.
    #[must_use]
    pub fn start_reshare(&self, request: ReshareRequest) -> JoinHandle<Result<Reshared, Failure>> {
        let address = self.0.reshare.clone();
        tokio::spawn(async move { ask(&address, PATIENCE, |reply| ReshareMsg::Reshare { request, reply }).await })
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
