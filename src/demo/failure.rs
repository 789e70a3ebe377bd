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
/// How often a kill may come too late, when the signature is made already, until the step fails.
const MAX_LATE_KILLS: u32 = 20;
/// How long the client waits for its answer. With no answer by then, nobody noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// The client's answer and when it came.
type Answer = (anyhow::Result<Result<Signed, error::Failure>>, Instant);

/// What a kill in mid-session led to.
struct Loss {
    killed: usize,
    session: SheetHash,
    failure: error::Failure,
    noticed: Duration,
}

impl Demo {
    /// Gives the number of the node that is gone.
    pub(super) async fn lose_a_node(&mut self, wallet: &WalletRecord) -> anyhow::Result<usize> {
        let mut late_kills = 0;
        let loss = loop {
            if let Some(loss) = self.kill_in_mid_session().await? {
                break loss;
            }
            late_kills += 1;
            ensure!(late_kills < MAX_LATE_KILLS, "no kill came in mid-session");
        };
        let Loss { killed, session, failure, noticed } = loss;
        let lost = self.cluster.args(killed).map(|args| args.identity.id()).ok_or_else(|| anyhow!("no such node"))?;
        let told = self.described(&failure);
        ensure!(failure.code == Code::PeerUnavailable, "the client was told of something else: {told}");
        ensure!(failure.culprits == [lost].into(), "the client was told of other culprits: {told}");
        self.record("noticing a lost node", &[noticed]);

        let survivors: Vec<usize> = (0..self.cluster.len()).filter(|&number| number != killed).collect();
        let mut left = Vec::new();
        for &number in &survivors {
            let snapshot = self.until_idle(number).await?;
            left.push(Survivor {
                name: self.name(number)?,
                sessions: snapshot.sessions.len(),
                requests: snapshot.requests,
                last_abort: snapshot.last_abort.map(|abort| abort.code),
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
            session: session.to_string(),
            round,
            code: failure.code,
            culprits: failure.culprits.iter().map(|&id| self.name_of(id)).collect::<anyhow::Result<_>>()?,
            reason: failure.reason,
            noticed_ms: milliseconds(noticed),
            late_kills,
            survivors: left,
            still_signing,
            signed,
        });
        self.show(Text::failure)?;
        Ok(killed)
    }

    /// Has a signature made, and kills a participant as soon as both it and the coordinator run the session. `None` if
    /// the signature was made all the same; the participant is back then.
    async fn kill_in_mid_session(&mut self) -> anyhow::Result<Option<Loss>> {
        // Otherwise a session that is about to end could be taken for the new one.
        self.until_idle(COORDINATOR).await?;
        let request = self.request(Scheme::Ecdsa, DerivationPath::default(), &[0x61; 32])?;
        let signing = self.node(COORDINATOR)?.addresses().signing.clone();
        let answer: JoinHandle<Answer> = tokio::spawn(async move {
            let answer = signing.call(LIMIT, |reply| SigningMsg::Sign { request, reply }).await;
            (answer.map_err(anyhow::Error::from), Instant::now())
        });
        let Some((killed, session)) = self.first_participant(&answer).await? else {
            bail!("the signature was made before a participant was seen");
        };
        let at = Instant::now();
        self.cluster.kill(killed).await;
        let (answer, answered) = self
            .progress
            .during(LIMIT, answer, || format!("{} is killed; waiting for the client's answer", self.killed(killed)))
            .await??;
        match answer? {
            Err(failure) => {
                let noticed = answered.saturating_duration_since(at);
                Ok(Some(Loss { killed, session, failure, noticed }))
            }
            Ok(_) => {
                self.cluster.start(killed).await?;
                self.until_complete_again().await?;
                Ok(None)
            }
        }
    }

    /// The first node besides the coordinator that is seen to run the coordinator's session; `None` if the answer is there
    /// before.
    async fn first_participant(&self, answer: &JoinHandle<Answer>) -> anyhow::Result<Option<(usize, SheetHash)>> {
        while !answer.is_finished() {
            if let Some(&session) = self.snapshot(COORDINATOR).await?.sessions.first() {
                for number in (0..self.cluster.len()).filter(|&number| number != COORDINATOR) {
                    if self.snapshot(number).await?.sessions.contains(&session) {
                        return Ok(Some((number, session)));
                    }
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

    fn killed(&self, number: usize) -> String {
        self.cluster.name(number).map(ToString::to_string).unwrap_or_default()
    }
}
