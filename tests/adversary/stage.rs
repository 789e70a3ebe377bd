//! Two honest nodes and two members that the test plays, with wallets that any two of the four can sign with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quorate::error::Failure;
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::{NodeId, Scheme, SheetHash, Threshold, WalletId};
use quorate::keys::Signature;
use quorate::local_cluster::LocalCluster;
use quorate::node::{NodeHandle, Settings};
use quorate::protocol::verify::verify;
use quorate::session::{SessionMsg, SessionSnapshot};
use quorate::signing::{Signed, SigningMsg, SigningSnapshot};
use quorate::testing::{PATIENCE, PlantedWallet, Puppet};
use quorate::wire::message::{Service, SessionBody};
use quorate::wire::request::{AuthorizerId, SignRequest};
use quorate::wire::sheet::Sheet;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Initialises the log of a test binary, by `RUST_LOG`.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

pub fn auditor() -> AuthorizerId {
    AuthorizerId::try_from("auditor".to_owned()).unwrap()
}

pub fn wallet_id(name: &str) -> WalletId {
    name.parse().unwrap()
}

/// The members by ascending id: a liar, two honest nodes, another liar.
pub struct Stage {
    pub cluster: LocalCluster,
    /// The liar of the lowest id: its proposals win over those of all others.
    pub liar: Puppet,
    /// A member that takes no part in what the liar does, unless it is said so.
    pub bystander: Puppet,
    pub wallet: PlantedWallet,
    pub other_wallet: PlantedWallet,
    pub auditor: RequestKey,
    numbers: [usize; 4],
    serial: AtomicU32,
    _folder: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// A stage whose cluster is changed before anything runs.
    pub async fn with(change: impl FnOnce(&mut LocalCluster)) -> Self {
        log();
        let folder = tempfile::tempdir().unwrap();
        let threshold = Threshold::new(2, 4).unwrap();
        let auditor_key = RequestKey::generate(Algorithm::Ed25519).unwrap();
        let settings = Settings::new("stage".parse().unwrap(), threshold);
        let mut cluster = LocalCluster::prepare(folder.path(), &settings, |policy| {
            let authorizers = BTreeMap::from([(auditor(), auditor_key.public())]);
            let policy = policy.with_authorizers(authorizers, BTreeSet::from([auditor()])).unwrap();
            policy.allow_minority_threshold(true)
        })
        .unwrap();
        change(&mut cluster);
        let wallet = PlantedWallet::in_cluster(&cluster, &wallet_id("w"), threshold, &[Scheme::Ed25519]).await;
        let other_wallet =
            PlantedWallet::in_cluster(&cluster, &wallet_id("other"), threshold, &[Scheme::Ed25519]).await;
        let mut numbers = [0, 1, 2, 3];
        numbers.sort_by_key(|&number| cluster.args(number).unwrap().identity.id());
        let liar = Puppet::start(cluster.args(numbers[0]).unwrap()).await;
        let bystander = Puppet::start(cluster.args(numbers[3]).unwrap()).await;
        cluster.start(numbers[1]).await.unwrap();
        cluster.start(numbers[2]).await.unwrap();
        let mut stage = Self {
            cluster,
            liar,
            bystander,
            wallet,
            other_wallet,
            auditor: auditor_key,
            numbers,
            serial: AtomicU32::new(0),
            _folder: folder,
        };
        let honest = [stage.honest(0).id(), stage.honest(1).id()];
        stage.liar.until_linked(honest).await;
        stage.bystander.until_linked(honest).await;
        let ready = stage.cluster.until(|view| honest.iter().all(|node| view.ready().contains(node)));
        timeout(PATIENCE, ready).await.unwrap().unwrap();
        stage
    }

    /// An honest node: 0 is the victim of what the liar does, 1 the other.
    pub fn honest(&self, which: usize) -> &NodeHandle {
        self.cluster.node(self.numbers[1 + which]).unwrap()
    }

    pub fn victim(&self) -> NodeId {
        self.honest(0).id()
    }

    /// A fresh request that all policies take.
    pub fn request(&self, wallet: &str) -> SignRequest {
        let id = format!("r{}", self.serial.fetch_add(1, Ordering::Relaxed));
        self.request_of(wallet, &id, id.as_bytes())
    }

    pub fn request_of(&self, wallet: &str, id: &str, message: &[u8]) -> SignRequest {
        SignRequest::builder(Scheme::Ed25519, wallet_id(wallet), id.parse().unwrap(), message)
            .approved_by(auditor(), &self.auditor)
            .sign_with(self.cluster.initiator())
            .unwrap()
    }

    /// The sheet that an honest coordinator would write for `request`, with the liar as coordinator and the victim.
    pub fn sheet(&self, request: &SignRequest) -> Sheet {
        self.sheet_of(request, self.liar.id(), &[self.liar.id(), self.victim()])
    }

    pub fn sheet_of(&self, request: &SignRequest, coordinator: NodeId, nodes: &[NodeId]) -> Sheet {
        self.wallet.sheet(request, coordinator, nodes, self.liar.args().clock.now_ms() + 20_000)
    }

    /// The liar proposes a session to the victim.
    pub fn propose(&self, sheet: &Sheet) -> SheetHash {
        let (session, proposal) = self.liar.proposal(sheet);
        self.liar.say(self.victim(), Service::Signing, session, proposal);
        session
    }

    /// The liar says something in a signing session to the victim.
    pub fn tell_victim(&self, session: SheetHash, body: SessionBody) {
        self.liar.say(self.victim(), Service::Signing, session, body);
    }

    /// Has the honest nodes take the liar for one that takes part in sessions, or not.
    pub async fn liar_serves(&self, serving: bool) {
        self.liar.serve(serving);
        let liar = self.liar.id();
        let seen = self.cluster.until(|view| view.ready().contains(&liar) == serving);
        timeout(PATIENCE, seen).await.unwrap().unwrap();
    }

    /// A client of an honest node asks for a signature.
    pub fn ask(&self, which: usize, request: &SignRequest) -> JoinHandle<Result<Signed, Failure>> {
        let (signing, request) = (self.honest(which).addresses().signing.clone(), request.clone());
        tokio::spawn(async move {
            signing.call(PATIENCE, |reply| SigningMsg::Sign { request, reply }).await.expect("an answer")
        })
    }

    /// Clients ask the victim until it chooses the liar to sign with.
    pub async fn ask_until_liar_is_chosen(&mut self) -> Asked {
        self.liar_serves(true).await;
        loop {
            let request = self.request("w");
            let mut answer = self.ask(0, &request);
            tokio::select! {
                (_, sheet, session) = self.liar.proposed(Service::Signing) => {
                    return Asked { request, answer, sheet, session };
                }
                signed = &mut answer => drop(check(&signed.unwrap(), &request)),
            }
        }
    }

    pub async fn snapshot(&self, which: usize) -> SigningSnapshot {
        self.honest(which).addresses().signing.call(PATIENCE, SigningMsg::Snapshot).await.unwrap()
    }

    /// Waits until an honest node's signing satisfies `condition`.
    pub async fn until(&self, which: usize, condition: impl Fn(&SigningSnapshot) -> bool) -> SigningSnapshot {
        eventually(|| async { Some(self.snapshot(which).await).filter(|snapshot| condition(snapshot)) }).await
    }

    /// What can be observed of a session on the victim, while it runs.
    pub async fn session(&self, session: SheetHash) -> Option<SessionSnapshot> {
        let signing = &self.honest(0).addresses().signing;
        let actor = signing.call(PATIENCE, |reply| SigningMsg::Session(session, reply)).await.unwrap()?;
        ractor::call!(actor, SessionMsg::Snapshot).ok()
    }

    /// Waits until a session on the victim satisfies `condition`.
    pub async fn until_session(
        &self,
        session: SheetHash,
        condition: impl Fn(&SessionSnapshot) -> bool,
    ) -> SessionSnapshot {
        eventually(|| async { self.session(session).await.filter(|snapshot| condition(snapshot)) }).await
    }

    /// The honest nodes sign something that has nothing to do with the liars, each as the coordinator.
    pub async fn honest_signing_works(&self) {
        for which in 0..2 {
            let request = self.request("w");
            let signed = self.honest(which).sign(request.clone()).await;
            check(&signed, &request);
        }
    }

    /// Nothing of what the liar did is left on the honest nodes.
    pub async fn nothing_is_left(&self) {
        for which in 0..2 {
            self.until(which, |snapshot| snapshot.requests == 0 && snapshot.sessions.is_empty()).await;
        }
    }
}

/// A request that the liar is to sign with the victim.
pub struct Asked {
    pub request: SignRequest,
    pub answer: JoinHandle<Result<Signed, Failure>>,
    pub sheet: Sheet,
    pub session: SheetHash,
}

/// Repeats a question until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(question: impl Fn() -> F) -> T {
    let ask = async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ask).await.expect("what was waited for did not happen")
}

/// The signature is there, and right.
pub fn check(signed: &Result<Signed, Failure>, request: &SignRequest) -> Signature {
    let signed = signed.as_ref().unwrap_or_else(|failure| panic!("{}: {failure}", request.request_id()));
    verify(&signed.public_key, request.message(), request.tweak(), &signed.signature).unwrap();
    signed.signature
}
