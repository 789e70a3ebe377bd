//! The storage actor: one writer, many readers, nothing slow on the actor's own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

use super::gate::Pass;
use super::queue::WriteQueue;
use super::resealing::{Resealing, Stepped};
use super::writer::{Group, GroupReport, Write};
use super::{
    Access, Export, ExportJob, Exporting, Family, Faults, Gate, KeySlot, KeySource, QueueLimits, Reply, StorageError,
    StorageMsg, StorageSnapshot, Store, StoreOptions,
};

/// The most reads on the blocking pool at once.
const MAX_READS: u32 = 64;
/// How long a life waits for the former one to have let go of the store.
const PASS_LIMIT: Duration = Duration::from_secs(10);

/// Owns the store. Its state is rebuilt from the disk by every life.
pub struct StorageActor;

/// What every life of the storage actor starts with. Clones share what lives are to share.
#[derive(Clone)]
pub struct StorageArguments {
    /// Where the store is and whose.
    pub options: StoreOptions,
    /// What unlocks it. Kept for the next life, which must unlock it again.
    pub key: KeySlot,
    /// Lets one life after the other at the store: a new gate for every store, the same for all its lives.
    pub gate: Gate,
    /// Limits of waiting writes.
    pub limits: QueueLimits,
    /// Faults that a test plans; none otherwise.
    pub faults: Faults,
}

impl StorageArguments {
    /// The arguments of a store with a gate of its own, default limits, and no faults.
    #[must_use]
    pub fn new(options: StoreOptions, key: KeySource) -> Self {
        let arguments = Self::sealed(options);
        arguments.key.put(key);
        arguments
    }

    /// The same, and what unlocks the store is not known yet.
    #[must_use]
    pub fn sealed(options: StoreOptions) -> Self {
        Self {
            options,
            key: KeySlot::default(),
            gate: Gate::new(),
            limits: QueueLimits::default(),
            faults: Faults::default(),
        }
    }
}

/// The open store and the pass of its life. In this order: the store is closed before the pass is given back.
pub(super) struct OpenStore {
    pub store: Store,
    _pass: Pass,
}

/// What the storage actor knows between messages.
pub struct StorageState {
    /// Gone only in `post_stop`.
    open: Option<Arc<OpenStore>>,
    queue: WriteQueue<Write>,
    writing: Option<JoinHandle<GroupReport>>,
    reads: Arc<Semaphore>,
    faults: Faults,
    seen: StorageSnapshot,
    closers: Vec<RpcReplyPort<Result<(), StorageError>>>,
    key: KeySlot,
    /// Its one permit is for whoever changes the lock, or the key below it.
    rewrapping: Arc<Semaphore>,
    /// Its one permit is for whoever purges the files: many that wait for one export take nobody's place.
    purging: Arc<Semaphore>,
    /// A rotation whose next step is to come.
    resealing: Option<Resealing>,
    /// Its step that is on its way.
    stepping: Option<JoinHandle<Stepped>>,
    /// Tells exports that the store is to be let go.
    ending: Arc<AtomicBool>,
}

impl Drop for StorageState {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

impl Actor for StorageActor {
    type Msg = StorageMsg;
    type State = StorageState;
    type Arguments = StorageArguments;

    /// Waits for the former life's end, and opens the store.
    async fn pre_start(
        &self,
        _: ActorRef<StorageMsg>,
        arguments: StorageArguments,
    ) -> Result<StorageState, ActorProcessingErr> {
        let StorageArguments { options, key, gate, limits, faults } = arguments;
        let pass = gate.pass(PASS_LIMIT).await?;
        let secret = key.get()?;
        let opening =
            spawn_blocking(move || Store::open(options, &secret).map(|store| OpenStore { store, _pass: pass }));
        Ok(StorageState {
            open: Some(Arc::new(opening.await??)),
            queue: WriteQueue::new(limits),
            writing: None,
            reads: Arc::new(Semaphore::new(MAX_READS as usize)),
            faults,
            seen: StorageSnapshot::default(),
            closers: Vec::new(),
            key,
            rewrapping: Arc::new(Semaphore::new(1)),
            purging: Arc::new(Semaphore::new(1)),
            resealing: None,
            stepping: None,
            ending: Arc::default(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<StorageMsg>,
        message: StorageMsg,
        state: &mut StorageState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StorageMsg::Get { keys, reply } => state
                .read(&myself, reply, move |store| keys.iter().map(|(family, key)| store.get(*family, key)).collect()),
            StorageMsg::List { listing, reply } => {
                state.read(&myself, reply, move |store| {
                    store.list(listing.family, &listing.prefix, listing.after.as_deref(), listing.limit)
                });
            }
            StorageMsg::Write { batch, durability, reply } => {
                state.accept(Write { batch, durability, reply });
                state.write_next(&myself);
            }
            StorageMsg::Export(job) => state.export(job),
            StorageMsg::Rewrap { current, new, reply } => state.rewrap(current, new, reply),
            StorageMsg::Rotate { source, reply } => {
                state.rotate(source, reply);
                state.write_next(&myself);
            }
            StorageMsg::Purge { family, prefix, exporting, reply } => state.purge(family, prefix, exporting, reply),
            StorageMsg::Snapshot { reply } => answer(reply, state.snapshot()),
            StorageMsg::Close { reply } => {
                state.closers.push(reply);
                myself.stop(None);
            }
            StorageMsg::Written => {
                state.group_done().await?;
                state.write_next(&myself);
            }
            StorageMsg::ReadFailed(error) => state.seen.last_error = Some(error),
        }
        Ok(())
    }

    /// Finishes what was accepted, makes it durable, and closes the store.
    async fn post_stop(
        &self,
        myself: ActorRef<StorageMsg>,
        state: &mut StorageState,
    ) -> Result<(), ActorProcessingErr> {
        let closed = state.close(&myself).await;
        for closer in state.closers.drain(..) {
            answer(closer, closed.clone());
        }
        closed.map_err(Into::into)
    }
}

impl StorageState {
    /// Reads on the blocking pool, and answers from there.
    fn read<T: Send + 'static>(
        &mut self,
        myself: &ActorRef<StorageMsg>,
        reply: RpcReplyPort<Result<T, StorageError>>,
        read: impl FnOnce(&Store) -> Result<T, StorageError> + Send + 'static,
    ) {
        let Some(open) = self.open.clone() else { return };
        let Ok(permit) = Arc::clone(&self.reads).try_acquire_owned() else {
            self.seen.refused = self.seen.refused.saturating_add(1);
            return answer(reply, Err(StorageError::Busy { access: Access::Read }));
        };
        self.seen.reads = self.seen.reads.saturating_add(1);
        let myself = myself.clone();
        drop(spawn_blocking(move || {
            let outcome = read(&open.store);
            // In this order: who holds all permits, relies on no reader holding the store.
            drop(open);
            drop(permit);
            if let Err(error) = &outcome {
                // A stopping actor no longer keeps account.
                let _ = myself.cast(StorageMsg::ReadFailed(error.clone()));
            }
            answer(reply, outcome);
        }));
    }

    /// Runs a job on the whole store. One that finds no room is dropped: its caller sees that.
    fn export(&mut self, job: ExportJob) {
        let (Some(open), Ok(permit)) = (self.open.clone(), Arc::clone(&self.reads).try_acquire_owned()) else {
            self.seen.refused = self.seen.refused.saturating_add(1);
            return;
        };
        let ending = Arc::clone(&self.ending);
        drop(spawn_blocking(move || {
            // In this order: who holds all permits, relies on no reader holding the store.
            let (_permit, open) = (permit, open);
            job(&Export::new(&open.store, ending));
        }));
    }

    /// Locks the store anew on the blocking pool, once at a time: of two, nobody would know whose secret holds. The next
    /// life gets the new secret once it is the one.
    fn rewrap(&mut self, current: KeySource, new: KeySource, reply: Reply<()>) {
        let (Some(open), Ok(permit)) = (self.open.clone(), Arc::clone(&self.reads).try_acquire_owned()) else {
            return answer(reply, Err(StorageError::Busy { access: Access::Write }));
        };
        let Ok(turn) = Arc::clone(&self.rewrapping).try_acquire_owned() else {
            return answer(reply, Err(StorageError::Busy { access: Access::Write }));
        };
        let slot = self.key.clone();
        drop(spawn_blocking(move || {
            let (_permit, open) = (permit, open);
            let outcome = open.store.rewrap(&current, &new);
            if matches!(outcome, Ok(()) | Err(StorageError::LockRemains { .. })) {
                slot.replace(new);
            }
            drop(turn);
            answer(reply, outcome);
        }));
    }

    /// Purges files on the blocking pool, once at a time.
    fn purge(&mut self, family: Family, prefix: Vec<u8>, exporting: Exporting, reply: Reply<()>) {
        let (Some(open), Ok(permit)) = (self.open.clone(), Arc::clone(&self.purging).try_acquire_owned()) else {
            self.seen.refused = self.seen.refused.saturating_add(1);
            return answer(reply, Err(StorageError::Busy { access: Access::Write }));
        };
        drop(spawn_blocking(move || {
            let outcome = open.store.purge(family, &prefix, exporting);
            // In this order: who holds the permit, relies on nobody purging the store.
            drop(open);
            drop(permit);
            answer(reply, outcome);
        }));
    }

    /// Takes a rotation in. Its steps come between groups.
    fn rotate(&mut self, source: KeySource, reply: Reply<u64>) {
        let permits = (Arc::clone(&self.rewrapping).try_acquire_owned(), Arc::clone(&self.reads).try_acquire_owned());
        let (Ok(turn), Ok(read)) = permits else {
            return answer(reply, Err(StorageError::Busy { access: Access::Write }));
        };
        self.resealing = Some(Resealing::new(source, reply, [turn, read]));
    }

    fn accept(&mut self, write: Write) {
        // What is out of its limits is refused before it takes room in the queue.
        if let Err(error) = write.batch.check_limits() {
            return answer(write.reply, Err(error));
        }
        let bytes = write.batch.bytes();
        if let Err(write) = self.queue.push(write, bytes) {
            self.seen.refused = self.seen.refused.saturating_add(1);
            answer(write.reply, Err(StorageError::Busy { access: Access::Write }));
        }
    }

    /// Sends the next group to the disk, or takes the next step of a rotation, if there is one and nothing is on its way.
    fn write_next(&mut self, myself: &ActorRef<StorageMsg>) {
        if self.writing.is_some() || self.stepping.is_some() {
            return;
        }
        let nothing_waits = self.queue.waiting() == 0;
        if let Some(open) = self.open.clone()
            && let Some(resealing) = self.resealing.take_if(|resealing| resealing.is_next || nothing_waits)
        {
            let myself = myself.clone();
            self.stepping = Some(self.faults.write(move |faults| resealing.step(open, faults, myself)));
            return;
        }
        if let Some(resealing) = &mut self.resealing {
            resealing.is_next = true;
        }
        let group = self.queue.next_group();
        if let Some(open) = self.open.clone().filter(|_| !group.is_empty()) {
            let group = Group::new(group, myself.clone());
            self.writing = Some(self.faults.write(move |faults| group.write(open, faults)));
        }
    }

    fn snapshot(&self) -> StorageSnapshot {
        let free = self.reads.available_permits();
        StorageSnapshot {
            waiting: self.queue.waiting(),
            waiting_bytes: self.queue.waiting_bytes(),
            writing: self.queue.writing(),
            reading: (MAX_READS as usize).saturating_sub(free),
            ..self.seen.clone()
        }
    }

    /// Takes the group that is on its way back, if one is.
    ///
    /// # Errors
    /// When it failed, or the writer panicked. What the disk holds is open then, and the actor must end: its next life
    /// opens the store anew and finds out.
    async fn group_done(&mut self) -> Result<(), StorageError> {
        if let Some(stepping) = self.stepping.take() {
            let Stepped { rest, failure } =
                stepping.await.map_err(|_| StorageError::Write { problem: "the writer panicked".into() })?;
            // Once it was answered, the next one may be there already.
            self.resealing = rest.or(self.resealing.take());
            return failure.map_or(Ok(()), Err);
        }
        let Some(writing) = self.writing.take() else { return Ok(()) };
        // The writer has all but returned: its notice is the last thing it gives.
        let report = writing.await.map_err(|_| StorageError::Write { problem: "the writer panicked".into() })?;
        self.queue.group_done();
        self.seen.take_group(report).map_or(Ok(()), Err)
    }

    async fn close(&mut self, myself: &ActorRef<StorageMsg>) -> Result<(), StorageError> {
        self.ending.store(true, Ordering::Relaxed);
        let finished = self.finish_writes(myself).await;
        // All permits are free when no read is left. It fails only on a closed semaphore, and this one never is.
        let _all = self.reads.acquire_many(MAX_READS).await;
        let _none_purges = self.purging.acquire().await;
        let Some(open) = self.open.take() else { return finished };
        let closing = spawn_blocking(move || open.store.sync());
        let synced = closing.await.map_err(|_| StorageError::Unavailable { access: Access::Write })?;
        finished.and(synced)
    }

    async fn finish_writes(&mut self, myself: &ActorRef<StorageMsg>) -> Result<(), StorageError> {
        loop {
            self.group_done().await?;
            // The next life can be asked to go on with it.
            self.resealing = None;
            self.write_next(myself);
            if self.writing.is_none() {
                return Ok(());
            }
        }
    }
}

/// Answers a caller, who may have given up waiting.
pub(super) fn answer<T>(reply: RpcReplyPort<T>, outcome: T) {
    let _ = reply.send(outcome);
}
