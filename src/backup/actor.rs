//! The backup actor: makes backups when they are due and when somebody asks, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::create::Begun;
use super::{BackupError, BackupSettings, Made, Wanted, list};
use crate::clock::Clock;
use crate::error::Code;
use crate::storage::StorageHandle;
use crate::supervision::beside;

/// How soon a backup that failed is tried again, unless the next one is due sooner.
const RETRY: Duration = Duration::from_secs(60);

/// A backup was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct NotMade {
    /// The stable code.
    pub code: Code,
    /// What is wrong, for the operator.
    pub problem: String,
}

impl From<BackupError> for NotMade {
    fn from(error: BackupError) -> Self {
        Self { code: error.code(), problem: error.to_string() }
    }
}

/// What a job reports.
pub struct JobDone {
    outcome: Result<Made, NotMade>,
    /// When it began, by the clock: the name may say more, where the clock was ahead before.
    begun_ms: u64,
    took: Duration,
}

/// What the backup actor takes.
pub enum BackupMsg {
    /// Make one now.
    Create {
        /// Which kind.
        wanted: Wanted,
        /// Where the answer goes, when it is made or has failed.
        reply: RpcReplyPort<Result<Made, NotMade>>,
    },
    /// From its own look into the folder, when it starts: when the newest one was made, if there is one.
    Listed(Option<u64>),
    /// From its own timer: one may be due.
    Due,
    /// From its own job.
    Done(JobDone),
    /// Tell the state.
    Snapshot(RpcReplyPort<BackupSnapshot>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

impl From<JobDone> for BackupMsg {
    fn from(done: JobDone) -> Self {
        Self::Done(done)
    }
}

/// The backup actor's account of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupSnapshot {
    /// Whether one is being made.
    pub running: bool,
    /// How many were made since this life started.
    pub made: u64,
    /// How many failed.
    pub failed: u64,
    /// How old the newest backup is; none where there is none, its name is from the future, or the folder could not be read.
    pub age: Option<Duration>,
    /// Whether the last try succeeded, if there was one.
    pub last_succeeded: Option<bool>,
    /// How long the last one took that was made.
    pub last_took: Duration,
    /// How long its file is.
    pub last_bytes: u64,
    /// Why the last try failed, if it did; or what went wrong after the backup was made.
    pub last_problem: Option<String>,
}

/// What the backup actor is started with.
#[derive(Clone)]
pub struct BackupArgs {
    /// What and where.
    pub settings: Arc<BackupSettings>,
    /// How often; only on demand without it.
    pub period: Option<Duration>,
    /// The store.
    pub storage: StorageHandle,
    /// The clock that names backups.
    pub clock: Clock,
}

/// What the backup actor owns.
pub struct BackupState {
    args: BackupArgs,
    newest_ms: Option<u64>,
    seen: BackupSnapshot,
    asked: Option<RpcReplyPort<Result<Made, NotMade>>>,
    /// Ends the job that runs when this life ends.
    stop: Arc<AtomicBool>,
}

/// Makes backups.
pub struct BackupActor;

impl Actor for BackupActor {
    type Msg = BackupMsg;
    type State = BackupState;
    type Arguments = BackupArgs;

    /// Looks when the last one was made, beside the start: a folder that hangs must not keep the node from starting. One that
    /// cannot be read is found out again when the first one is due.
    async fn pre_start(
        &self,
        myself: ActorRef<BackupMsg>,
        args: BackupArgs,
    ) -> Result<BackupState, ActorProcessingErr> {
        let settings = Arc::clone(&args.settings);
        beside(&myself, async move {
            let listed = on_disk(move || list(&settings.folder, &settings.name)).await;
            BackupMsg::Listed(listed.ok().and_then(|listed| listed.iter().map(|found| found.made_ms).max()))
        });
        let (seen, stop) = (BackupSnapshot::default(), Arc::default());
        Ok(BackupState { args, newest_ms: None, seen, asked: None, stop })
    }

    async fn post_stop(&self, _: ActorRef<BackupMsg>, state: &mut BackupState) -> Result<(), ActorProcessingErr> {
        state.stop.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<BackupMsg>,
        message: BackupMsg,
        state: &mut BackupState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            BackupMsg::Create { reply, .. } if state.seen.running => {
                let folder = state.args.settings.folder.clone();
                // Whoever asked may have gone.
                let _ = reply.send(Err(BackupError::Busy { folder }.into()));
            }
            BackupMsg::Create { wanted, reply } => {
                state.asked = Some(reply);
                state.begin(&myself, wanted);
            }
            BackupMsg::Due => {
                if !state.seen.running && state.due_in() == Some(Duration::ZERO) {
                    state.begin(&myself, Wanted::Smaller);
                }
            }
            BackupMsg::Listed(newest_ms) => {
                // One that was made meanwhile is newer.
                state.newest_ms = state.newest_ms.or(newest_ms);
                state.wake(&myself, Duration::ZERO);
            }
            BackupMsg::Done(done) => state.done(&myself, done),
            BackupMsg::Snapshot(reply) => {
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            BackupMsg::InjectPanic => panic!("injected"),
        }
        Ok(())
    }
}

impl BackupState {
    /// How long until the next one is due.
    fn due_in(&self) -> Option<Duration> {
        let period = self.args.period?;
        Some(self.age().map_or(Duration::ZERO, |age| period.saturating_sub(age)))
    }

    /// One that seems to come from the future has no age: the clock was ahead when it was made, or is behind now, and the next
    /// one is due.
    fn age(&self) -> Option<Duration> {
        let now_ms = self.args.clock.now_ms();
        self.newest_ms.and_then(|newest_ms| now_ms.checked_sub(newest_ms)).map(Duration::from_millis)
    }

    /// Comes back when the next one is due, and not before `pause` has passed.
    fn wake(&self, myself: &ActorRef<BackupMsg>, pause: Duration) {
        if let Some(due_in) = self.due_in() {
            // The task ends with the actor.
            myself.send_after(due_in.max(pause), || BackupMsg::Due);
        }
    }

    fn begin(&mut self, myself: &ActorRef<BackupMsg>, wanted: Wanted) {
        self.seen.running = true;
        let (args, stop) = (self.args.clone(), Arc::clone(&self.stop));
        beside(myself, async move {
            let begun = Instant::now();
            let now_ms = args.clock.now_ms();
            let outcome = make(args, wanted, now_ms, stop).await.map_err(NotMade::from);
            JobDone { outcome, begun_ms: now_ms, took: begun.elapsed() }
        });
    }

    fn done(&mut self, myself: &ActorRef<BackupMsg>, JobDone { outcome, begun_ms, took }: JobDone) {
        self.seen.running = false;
        self.seen.last_succeeded = Some(outcome.is_ok());
        self.seen.last_problem = match &outcome {
            Ok(made) => made.warning.clone(),
            Err(problem) => Some(problem.to_string()),
        };
        let pause = match &outcome {
            Ok(made) => {
                let (path, full) = (made.path.display(), made.is_full);
                tracing::info!(%path, full, records = made.records, bytes = made.bytes, ?took, "backup made");
                if let Some(warning) = &made.warning {
                    tracing::warn!(warning, "the backup is good, but not all is as it should be in its folder");
                }
                self.newest_ms = Some(begun_ms);
                self.seen.made = self.seen.made.saturating_add(1);
                (self.seen.last_took, self.seen.last_bytes) = (took, made.bytes);
                Duration::ZERO
            }
            Err(problem) => {
                tracing::error!(code = %problem.code, %problem, "no backup was made");
                self.seen.failed = self.seen.failed.saturating_add(1);
                self.args.period.unwrap_or(RETRY).min(RETRY)
            }
        };
        if let Some(asked) = self.asked.take() {
            let _ = asked.send(outcome);
        }
        self.wake(myself, pause);
    }

    fn snapshot(&self) -> BackupSnapshot {
        BackupSnapshot { age: self.age(), ..self.seen.clone() }
    }
}

/// Makes one. The store is held only for as long as it is read: whatever waits for the hash of a passphrase, or for what is
/// written to be durable, waits without it.
async fn make(
    BackupArgs { settings, storage, .. }: BackupArgs,
    wanted: Wanted,
    now_ms: u64,
    stop: Arc<AtomicBool>,
) -> Result<Made, BackupError> {
    let (of_begun, keep) = (Arc::clone(&settings), settings.keep);
    let begun = on_disk(move || Begun::new(&of_begun, wanted, now_ms)).await?;
    let written = storage.export(move |export| begun.write(export, &settings, &stop)).await??;
    on_disk(move || written.finish(keep)).await
}

/// Does what waits for the disk where it holds nobody up.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    spawn_blocking(work).await.unwrap_or(Err(BackupError::Interrupted))
}

impl Drop for BackupState {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
