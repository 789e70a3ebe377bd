//! The fourth step: a node is killed while a session with it runs. What the client is told, how soon, and what is left.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use tokio::task::JoinHandle;

use super::Demo;
use super::report::{Failure, Survivor, milliseconds};
use super::text::Text;
use crate::error::{self, Code};
use crate::ids::{Scheme, SheetHash};
use crate::keys::DerivationPath;
use crate::local_cluster::setup_limit;
use crate::signing::{Signed, SigningMsg};
use crate::wallet::WalletRecord;

/// The node that leads the session.
const COORDINATOR: usize = 0;
/// How many signatures may be made before a kill comes in time, until the step fails.
const MAX_TRIES: u32 = 20;
/// How long the client waits for its answer. With no answer by then, nobody noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// The client's answer and when it came.
type Answer = (anyhow::Result<Result<Signed, error::Failure>>, Instant);

/// A session as it runs on all its participants.
struct Running {
    session: SheetHash,
    /// The participants besides the coordinator: at least one.
    others: Vec<usize>,
}

/// What a kill in mid-session led to.
struct Loss {
    killed: usize,
    running: Running,
    failure: error::Failure,
    noticed: Duration,
}

impl Demo {
    /// Gives the number of the node that is gone.
    pub(super) async fn lose_a_node(&mut self, wallet: &WalletRecord) -> anyhow::Result<usize> {
        let mut tries = 1;
        let loss = loop {
            if let Some(loss) = self.kill_in_mid_session().await? {
                break loss;
            }
            tries += 1;
            ensure!(tries <= MAX_TRIES, "no kill came in mid-session");
        };
        let Loss { killed, running, failure, noticed } = loss;
        let lost = self.cluster.args(killed).map(|args| args.identity.id()).ok_or_else(|| anyhow!("no such node"))?;
        let told = self.described(&failure);
        ensure!(failure.code == Code::PeerUnavailable, "the client was told of something else: {told}");
        ensure!(failure.culprits == [lost].into(), "the client was told of other culprits: {told}");
        self.record("noticing a lost node", &[noticed]);

        let survivors: Vec<usize> = (0..self.cluster.len()).filter(|&number| number != killed).collect();
        let took_part = |number| number == COORDINATOR || running.others.contains(&number);
        let mut left = Vec::new();
        for &number in &survivors {
            let snapshot = self.until_idle(number).await?;
            left.push(Survivor {
                name: self.name(number)?,
                sessions: snapshot.sessions.len(),
                requests: snapshot.requests,
                ended_as: snapshot.last_abort.filter(|_| took_part(number)).map(|abort| abort.code),
            });
        }
        let round = self.snapshot(COORDINATOR).await?.last_abort.map(|abort| abort.round);
        let round = round.ok_or_else(|| anyhow!("the session was not aborted"))?;

        let gone = self.cluster.until(|view| !view.ready().contains(&lost));
        self.progress.during(LIMIT, gone, || "waiting until all know of the loss".to_owned()).await??;
        let still_signing = survivors.len() >= self.signers;
        let signed = if still_signing {
            let started = Instant::now();
            let signed = self.sign_with_each(wallet, &survivors).await?;
            self.record("signing without the lost node (all three)", &[started.elapsed()]);
            signed
        } else {
            self.refuse_alone().await?;
            Vec::new()
        };
        self.report.failure = Some(Failure {
            killed: self.name(killed)?,
            coordinator: self.name(COORDINATOR)?,
            session: running.session.to_string(),
            round,
            code: failure.code,
            culprits: failure.culprits.iter().map(|&id| self.name_of(id)).collect::<anyhow::Result<_>>()?,
            reason: failure.reason,
            noticed_ms: milliseconds(noticed),
            tries,
            survivors: left,
            still_signing,
            signed,
        });
        self.show(Text::failure)?;
        Ok(killed)
    }

    /// Has a signature made, and kills a participant as soon as all of them run the session. `None` if the signature was
    /// made all the same; everybody is there then.
    async fn kill_in_mid_session(&mut self) -> anyhow::Result<Option<Loss>> {
        // Otherwise a session that is about to end could be taken for the new one.
        self.until_idle(COORDINATOR).await?;
        let request = self.request(Scheme::Ecdsa, DerivationPath::default(), &[0x61; 32])?;
        let signing = self.node(COORDINATOR)?.addresses().signing.clone();
        let mut answer: JoinHandle<Answer> = tokio::spawn(async move {
            let answer = signing.call(LIMIT, |reply| SigningMsg::Sign { request, reply }).await;
            (answer.map_err(anyhow::Error::from), Instant::now())
        });
        let Some(running) = self.until_all_run(&answer).await? else {
            let (answer, _) = answer.await?;
            answer?.map_err(|failure| self.described(&failure))?;
            return Ok(None);
        };
        let killed = *running.others.first().ok_or_else(|| anyhow!("the coordinator signs alone"))?;
        let at = Instant::now();
        self.cluster.kill(killed).await;
        let name = self.name(killed)?;
        let waiting = || format!("{name} is killed; waiting for the client's answer");
        let (answer, answered) = self.progress.during(LIMIT, &mut answer, waiting).await??;
        match answer? {
            Err(failure) => {
                let noticed = answered.saturating_duration_since(at);
                Ok(Some(Loss { killed, running, failure, noticed }))
            }
            Ok(_) => {
                self.cluster.start(killed).await?;
                self.until_complete_again().await?;
                Ok(None)
            }
        }
    }

    /// The coordinator's session, once all its participants run it; `None` if its answer is there before that was seen.
    async fn until_all_run(&self, answer: &JoinHandle<Answer>) -> anyhow::Result<Option<Running>> {
        while !answer.is_finished() {
            if let Some(&session) = self.snapshot(COORDINATOR).await?.sessions.first() {
                let mut others = Vec::new();
                for number in (0..self.cluster.len()).filter(|&number| number != COORDINATOR) {
                    if self.snapshot(number).await?.sessions.contains(&session) {
                        others.push(number);
                    }
                }
                if others.len() + 1 == self.signers {
                    return Ok(Some(Running { session, others }));
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(None)
    }

    /// Too few are left to sign: a request must be refused at once.
    async fn refuse_alone(&mut self) -> anyhow::Result<()> {
        let request = self.request(Scheme::Ed25519, DerivationPath::default(), &[0x62; 32])?;
        match self.node(COORDINATOR)?.sign(request).await {
            Err(failure) if failure.code == Code::NotMajority => Ok(()),
            Err(failure) => Err(self.described(&failure)),
            Ok(_) => bail!("too few nodes signed"),
        }
    }

    pub(super) async fn until_complete_again(&self) -> anyhow::Result<()> {
        let limit = setup_limit(u8::try_from(self.cluster.len()).unwrap_or(u8::MAX));
        self.progress.during(limit, self.cluster.until_complete(), || self.pairs_text()).await??;
        Ok(())
    }
}
