//! The demonstration: a whole cluster in one process, from its first key generation to the return of a lost node.
//!
//! ```text
//!   start ─▶ links, pair setups ─▶ keygen ─▶ signatures ─▶ a node is killed in mid-signing
//!                                                             │ the client's typed failure, nothing left running
//!   timings ◀─ it is started again, and signs ◀─ the others sign ◀┘
//! ```
//!
//! It promises that what it reports was checked: every signature by libraries that no engine uses, every transaction as
//! its chain would check it. It ends well only if every check did. Nodes, links, stores and sessions are those of a real
//! node; only the broker and the discovery backend are in memory. Report on standard output, all else on standard error.

mod failure;
mod progress;
mod recovery;
mod report;
mod signatures;
mod start;
mod text;
mod transactions;
mod wallet;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use tempfile::TempDir;

use crate::error::Failure;
use crate::ids::{NodeId, NodeName, RequestId, Scheme, WalletId};
use crate::keys::DerivationPath;
use crate::local_cluster::LocalCluster;
use crate::node::{NodeHandle, Settings};
use crate::protocol::derivation::derive;
use crate::protocol::verify::verify;
use crate::signing::{OnPeerFailure, Signed, SigningMsg, SigningSnapshot};
use crate::wallet::WalletRecord;
use crate::wire::request::SignRequest;
use progress::Progress;
use report::{Report, Timing};
use text::Text;

pub use transactions::Transactions;

/// The wallet's name.
const WALLET: &str = "demo-wallet";
/// How long an actor may take to say how it is.
const ASK: Duration = Duration::from_secs(10);

/// What to demonstrate.
pub struct Plan {
    /// The nodes' settings; their threshold says how many nodes there are. Failures of peers are always reported to the
    /// client, whatever is set: that is what the demonstration shows.
    pub settings: Settings,
    /// What to sign.
    pub transactions: Transactions,
    /// Where the stores go and stay; `None` for a temporary folder. Their keys are never written: the demonstration over,
    /// nobody can open them.
    pub folder: Option<PathBuf>,
}

/// What the report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people, section by section as the demonstration goes on.
    Text,
    /// One JSON document at the end, also of a demonstration that failed.
    Json,
}

/// Runs the demonstration. `logs` says that a log goes to standard error.
///
/// # Errors
/// When anything does not go as it must, a check fails, or standard output is closed.
pub async fn run(plan: Plan, output: Output, logs: bool) -> anyhow::Result<()> {
    let Plan { mut settings, transactions, folder } = plan;
    settings.on_peer_failure = OnPeerFailure::Abort;
    let folder = Folder::make(folder)?;
    let allow_minority = !settings.threshold.is_majority();
    let cluster =
        LocalCluster::prepare(folder.path(), &settings, |policy| policy.allow_minority_threshold(allow_minority))?;
    let mut report = Report::new(settings.threshold);
    report.folder = folder.kept();
    let text = (output == Output::Text).then(Text::new);
    let mut demo = Demo {
        cluster,
        wallet: WalletId::try_from(WALLET.to_owned())?,
        signers: usize::from(settings.threshold.signers()),
        progress: Progress::new(logs),
        report,
        text,
        requests: 0,
    };
    let played = demo.play(transactions).await;
    demo.cluster.shutdown_all().await;
    demo.report.ok = played.is_ok();
    demo.report.error = played.as_ref().err().map(|error| format!("{error:#}"));
    match &demo.text {
        Some(text) if demo.report.ok => text.timings(&demo.report)?,
        Some(_) => {}
        None => text::json(&demo.report)?,
    }
    played
}

/// Where the stores are. A temporary folder goes with this value.
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn make(kept: Option<PathBuf>) -> anyhow::Result<Self> {
        Ok(match kept {
            Some(path) => Self::Kept(path),
            None => Self::Temporary(
                tempfile::Builder::new().prefix("quorate-demo-").tempdir().context("failed to make a folder")?,
            ),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    fn kept(&self) -> Option<String> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(path) => Some(path.display().to_string()),
        }
    }
}

/// The demonstration as it runs. Its steps are in the modules named after them.
struct Demo {
    cluster: LocalCluster,
    wallet: WalletId,
    /// How many nodes must sign.
    signers: usize,
    progress: Progress,
    report: Report,
    /// `None` where the report is a document.
    text: Option<Text>,
    /// Requests sent so far: each gets an id of its own.
    requests: u64,
}

impl Demo {
    async fn play(&mut self, transactions: Transactions) -> anyhow::Result<()> {
        self.start().await.context("failed to start the cluster")?;
        let wallet = self.make_wallet().await.context("failed to make a wallet")?;
        self.sign_transactions(&wallet, transactions).await.context("failed to sign")?;
        let killed = self.lose_a_node(&wallet).await.context("the loss of a node did not go as it must")?;
        self.recover(&wallet, killed).await.context("the return of the node did not go as it must")
    }

    /// Writes a section of the report, if it is text.
    fn show(&self, section: impl FnOnce(&Text, &Report) -> std::io::Result<()>) -> anyhow::Result<()> {
        self.text.as_ref().map_or(Ok(()), |text| section(text, &self.report)).context("failed to write the report")
    }

    fn record(&mut self, step: impl Into<String>, samples: &[Duration]) {
        self.report.timings.extend(Timing::of(step, samples));
    }

    fn node(&self, number: usize) -> anyhow::Result<&NodeHandle> {
        self.cluster.node(number).ok_or_else(|| anyhow!("node {number} does not run"))
    }

    fn name(&self, number: usize) -> anyhow::Result<NodeName> {
        self.cluster.name(number).cloned().ok_or_else(|| anyhow!("there is no node {number}"))
    }

    fn name_of(&self, id: NodeId) -> anyhow::Result<NodeName> {
        self.cluster.names().remove(&id).ok_or_else(|| anyhow!("there is no node {id}"))
    }

    fn request(&mut self, scheme: Scheme, path: DerivationPath, message: &[u8]) -> anyhow::Result<SignRequest> {
        self.requests += 1;
        let id = RequestId::try_from(format!("demo-{}", self.requests))?;
        Ok(self.cluster.sign_request(scheme, &self.wallet, &id, path, message)?)
    }

    /// Has node `coordinator` answer a request, and checks the signature: it must be one of the key that the wallet's
    /// record and the path lead to. The time is that from the request to the answer.
    async fn sign(
        &self,
        wallet: &WalletRecord,
        coordinator: usize,
        request: SignRequest,
    ) -> anyhow::Result<(Signed, Duration)> {
        let started = Instant::now();
        let answer = self.node(coordinator)?.sign(request.clone()).await;
        let took = started.elapsed();
        let signed = answer.map_err(|failure| self.described(&failure))?;
        let key = wallet.key(request.scheme()).ok_or_else(|| anyhow!("the wallet has no such key"))?;
        let derived = derive(&key.public_key(), &wallet.chain_code, &request.path())?;
        ensure!(signed.public_key == derived.public_key, "another key signed");
        verify(&derived.public_key, request.message(), request.tweak(), &signed.signature)?;
        Ok((signed, took))
    }

    /// Has the nodes in `coordinators`, in turn, sign once with each scheme, and says with which ones.
    async fn sign_with_each(&mut self, wallet: &WalletRecord, coordinators: &[usize]) -> anyhow::Result<Vec<String>> {
        let mut signed = Vec::new();
        for (scheme, &coordinator) in Scheme::ALL.into_iter().zip(coordinators.iter().cycle()) {
            let request = self.request(scheme, DerivationPath::default(), &[0x51; 32])?;
            self.sign(wallet, coordinator, request).await.with_context(|| format!("failed to sign with {scheme}"))?;
            signed.push(scheme.to_string());
        }
        Ok(signed)
    }

    /// A failure with the names of those to blame.
    fn described(&self, failure: &Failure) -> anyhow::Error {
        let names: Vec<String> =
            failure.culprits.iter().filter_map(|&id| self.name_of(id).ok()).map(String::from).collect();
        let blamed = if names.is_empty() { String::new() } else { format!(" [{}]", names.join(", ")) };
        anyhow!("{failure}{blamed}")
    }

    async fn snapshot(&self, number: usize) -> anyhow::Result<SigningSnapshot> {
        Ok(self.node(number)?.addresses().signing.call(ASK, SigningMsg::Snapshot).await?)
    }

    /// Waits until node `number` works on no signature, and gives what can be observed then.
    async fn until_idle(&self, number: usize) -> anyhow::Result<SigningSnapshot> {
        let idle = async {
            loop {
                let snapshot = self.snapshot(number).await?;
                if snapshot.sessions.is_empty() && snapshot.requests == 0 {
                    return Ok(snapshot);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(ASK, idle).await.map_err(|_| anyhow!("a session does not end"))?
    }
}
