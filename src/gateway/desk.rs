//! What the gateway knows of its node: whom to ask, and who it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::checkup::{CheckedUp, CheckupMsg};
use crate::destruction::DestructionMsg;
use crate::error::{Code, Failure};
use crate::identity::PeerBook;
use crate::ids::{ClusterId, NodeId, Scheme, Threshold, WalletId};
use crate::keygen::{Generated, KeygenMsg};
use crate::keys::DerivationPath;
use crate::metrics::{Kind, Recorder};
use crate::node::{RESHARE_ATTEMPTS, ask};
use crate::registry::View;
use crate::reshare::{ReshareMsg, Reshared};
use crate::session::CryptoPool;
use crate::signing::{Signed, SigningMsg};
use crate::supervision::Address;
use crate::transport::broker::Connection;
use crate::wallet::{DestructionCertificate, WalletCertificate};
use crate::wire::request::{DestroyRequest, KeygenRequest, ReshareRequest, SignRequest};

/// What a request may take beyond its own deadline before its caller stops waiting.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How often the deadline of a signing passes at most in a check-up, whose sessions run one after the other.
pub(super) const CHECKUP_SESSIONS: u32 = 3;

/// The node, as its clients' requests see it. Clones see the same node.
#[derive(Clone)]
pub struct Desk {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub me: NodeId,
    /// Everyone's names.
    pub peers: Arc<PeerBook>,
    /// The threshold of new wallets.
    pub threshold: Threshold,
    /// Key generation.
    pub keygen: Address<KeygenMsg>,
    /// Signing.
    pub signing: Address<SigningMsg>,
    /// Resharing.
    pub reshare: Address<ReshareMsg>,
    /// Check-ups.
    pub checkup: Address<CheckupMsg>,
    /// Destructions of wallets.
    pub destruction: Address<DestructionMsg>,
    /// The membership as this node sees it.
    pub views: watch::Receiver<Arc<View>>,
    /// The broker as the links reach it.
    pub links: watch::Receiver<Connection>,
    /// Where keys are derived.
    pub pool: CryptoPool,
    /// How long a key generation may take.
    pub keygen_deadline: Duration,
    /// How long a reshare may take.
    pub reshare_deadline: Duration,
    /// How long a signing may take.
    pub signing_deadline: Duration,
    /// When the node was started.
    pub started: Instant,
    /// Counts what clients are answered.
    pub recorder: Recorder,
}

impl Desk {
    /// Makes a wallet.
    pub(super) async fn generate(&self, request: KeygenRequest) -> Result<Generated, Failure> {
        let limit = self.keygen_deadline + GRACE;
        let work = ask(&self.keygen, limit, |reply| KeygenMsg::Generate { request, reply });
        self.recorder.measured(Kind::Keygen, work).await
    }

    /// Signs. Whoever asks has it measured.
    pub(super) async fn sign(&self, request: SignRequest) -> Result<Signed, Failure> {
        ask(&self.signing, self.signing_deadline + GRACE, |reply| SigningMsg::Sign { request, reply }).await
    }

    /// Deals keys of a wallet anew. Whoever asks has it measured.
    pub(super) async fn reshare(&self, request: ReshareRequest) -> Result<Reshared, Failure> {
        let limit = self.reshare_deadline * RESHARE_ATTEMPTS + GRACE;
        ask(&self.reshare, limit, |reply| ReshareMsg::Reshare { request, reply }).await
    }

    /// Checks that the shares of all members of a wallet work.
    pub(super) async fn check_up(&self, wallet: WalletId) -> Result<CheckedUp, Failure> {
        ask(&self.checkup, self.signing_deadline * CHECKUP_SESSIONS + GRACE, |reply| CheckupMsg::Check {
            wallet,
            reply,
        })
        .await
    }

    /// Destroys a wallet.
    pub(super) async fn destroy(&self, request: DestroyRequest) -> Result<Arc<DestructionCertificate>, Failure> {
        let limit = self.reshare_deadline + GRACE;
        let destroyed = ask(&self.destruction, limit, |reply| DestructionMsg::Destroy { request, reply }).await?;
        Ok(destroyed.certificate)
    }

    /// The certificate of a wallet's destruction.
    pub(super) async fn certificate(&self, wallet: WalletId) -> Result<Arc<DestructionCertificate>, Failure> {
        let name = wallet.clone();
        let found = ask(&self.destruction, GRACE, |reply| DestructionMsg::Certificate { wallet, reply }).await?;
        found.ok_or_else(|| Failure::new(Code::KeyNotFound, format!("wallet {name} was not destroyed on this node")))
    }

    /// A request for which no work is done.
    pub(super) fn refused(&self, kind: Kind, failure: Failure) -> Failure {
        self.recorder.refused(kind, failure.code);
        failure
    }

    /// What a wallet is.
    pub(super) async fn wallet(&self, wallet: WalletId) -> Result<Arc<WalletCertificate>, Failure> {
        let name = wallet.clone();
        let found = ask(&self.keygen, GRACE, |reply| KeygenMsg::Wallet { wallet, reply }).await?;
        found.ok_or_else(|| Failure::new(Code::KeyNotFound, format!("there is no wallet {name} on this node")))
    }
}

/// Where a key receives, by chain. A key that has no address on a chain has no entry for it.
pub(super) fn addresses(key: &crate::keys::PublicKey) -> BTreeMap<String, String> {
    use crate::chain::{Network, bitcoin_p2tr, bitcoin_p2wpkh, ethereum_address, solana_address};
    use crate::keys::TapTweak;
    let main = Network::Mainnet;
    let found = match key.scheme() {
        Scheme::Ecdsa => vec![("bitcoin", bitcoin_p2wpkh(key, main)), ("ethereum", ethereum_address(key))],
        Scheme::Ed25519 => vec![("solana", solana_address(key))],
        Scheme::Bip340 => vec![("bitcoin", bitcoin_p2tr(key, Some(TapTweak::KeyPathOnly), main))],
    };
    found.into_iter().filter_map(|(chain, address)| Some((chain.to_owned(), address.ok()?))).collect()
}

/// Checks a path that came as numbers.
pub(super) fn path_of(indices: Vec<u32>) -> Result<DerivationPath, Failure> {
    DerivationPath::try_from(indices).map_err(|error| Failure::new(Code::MsgValidation, error.to_string()))
}
