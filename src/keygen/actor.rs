//! The key generation actor: see the module's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::pending::Pending;
use super::prepare::{Admitted, KeygenArgs, NotActivated, Prepared};
use super::{Commit, Generated, Resolution, Verdict};
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SessionId, SheetHash, WalletId};
use crate::protocol::keygen::{Keygen, KeygenOutput};
use crate::protocol::{RunContext, rng};
use crate::registry::View;
use crate::secret::SecretBytes;
use crate::session::{Aborted, Arrival, Outcome, SessionArgs, SessionEnd, SessionMsg, Sessions, SheetContext};
use crate::storage::{Family, Listing};
use crate::transport::{Inbound, PeerEvent, TransportMsg};
use crate::wallet::{PENDING_PREFIX, WalletCertificate, WalletRecord, members};
use crate::wire::message::{KeygenOutcome, MAX_LISTED_NODES, PeerMessage, Service, SessionBody};
use crate::wire::request::KeygenRequest;
use crate::wire::sheet::{SHEET_VERSION, Sheet, Task};

/// Where the answer to a client goes.
type Waiter = RpcReplyPort<Result<Generated, Failure>>;

/// What key generation takes.
pub enum KeygenMsg {
    /// A client asks for a wallet.
    Generate {
        /// The request as parsed.
        request: KeygenRequest,
        /// Where the answer goes: exactly one comes.
        reply: Waiter,
    },
    /// A client asks what a wallet is.
    Wallet {
        /// Its name.
        wallet: WalletId,
        /// Its certificate, if it is active on this node.
        reply: RpcReplyPort<Result<Option<Arc<WalletCertificate>>, Failure>>,
    },
    /// A peer's message.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// The membership changed.
    View(Arc<View>),
    /// A session ended.
    Ended(SessionEnd<KeygenOutput>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Takes no more requests; answers when none is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<KeygenSnapshot>),
    /// Asks for the actor of a running session: the harness injects faults there.
    #[cfg(any(test, feature = "testing"))]
    Session(SheetHash, RpcReplyPort<Option<ActorRef<SessionMsg<KeygenOutput>>>>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

impl From<Inbound> for KeygenMsg {
    fn from(inbound: Inbound) -> Self {
        Self::Peer(inbound)
    }
}

impl From<PeerEvent> for KeygenMsg {
    fn from(event: PeerEvent) -> Self {
        Self::Link(event)
    }
}

impl From<Arc<View>> for KeygenMsg {
    fn from(view: Arc<View>) -> Self {
        Self::View(view)
    }
}

impl From<SessionEnd<KeygenOutput>> for KeygenMsg {
    fn from(end: SessionEnd<KeygenOutput>) -> Self {
        Self::Ended(end)
    }
}

/// What a task that the actor started reports.
pub struct TaskDone(Work);

enum Work {
    Prepared {
        reply: Waiter,
        result: Result<Admitted, Failure>,
    },
    Checked {
        from: NodeId,
        session: SheetHash,
        result: Result<Box<(SheetContext, Prepared)>, Code>,
    },
    /// The new shares are durable, and the record is signed.
    Pended {
        session: SheetHash,
        result: Result<Signature, Code>,
    },
    /// The shares are active, or not.
    Activated {
        wallet: WalletId,
        session: SheetHash,
        result: Result<Arc<WalletCertificate>, NotActivated>,
    },
    /// The time for gathering signatures is over.
    CommitDeadline(SheetHash),
    /// Time to ask the members about pending shares again.
    Resolve,
    /// Pending shares are set aside, or not.
    SetAside {
        wallet: WalletId,
        session: SheetHash,
        result: Result<(), Code>,
    },
    /// The answer to a member's query is read from the store.
    Answer {
        to: NodeId,
        wallet: WalletId,
        session: SheetHash,
        outcome: KeygenOutcome,
    },
}

/// This node's signature of a pending record, with the record.
struct Signature {
    record: Arc<[u8]>,
    signature: [u8; 64],
}

impl Signature {
    fn of(pending: &Pending) -> Self {
        Self { record: pending.record.as_slice().into(), signature: pending.signature }
    }
}

/// What can be observed of key generation. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeygenSnapshot {
    /// The wallets being made.
    pub running: BTreeSet<WalletId>,
    /// The wallets with pending shares that are not settled.
    pub unsettled: BTreeSet<WalletId>,
    /// Wallets that became active on this node since it started.
    pub activated: u64,
    /// Runs that ended without one.
    pub aborted: u64,
    /// The last abort.
    pub last_abort: Option<Aborted>,
}

/// How far a wallet's making is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The threshold protocol runs.
    Session,
    /// The shares are being made durable.
    Storing,
    /// The run has failed while the shares were being made durable: what becomes of them is known when that is over.
    /// Until then this node must not say that it holds none.
    FailedStoring,
    /// The members' signatures are gathered.
    Committing,
    /// All have signed; the shares become active.
    Activating,
}

/// A wallet in the making.
struct Run {
    content: [u8; 32],
    waiters: Vec<Waiter>,
    /// Those who asked when shares were pending: to them, the wallet is one that was there.
    late: Vec<Waiter>,
    sheet: Arc<SheetContext>,
    phase: Phase,
    /// The members' signatures; those of faster members come before this node has stored its shares.
    commit: Commit,
    /// This node's signature, once its shares are durable.
    own: Option<Signature>,
}

/// Pending shares that their own run did not settle.
struct Unsettled {
    session: SheetHash,
    own: Signature,
    resolution: Resolution,
    /// A verdict is being carried out.
    settling: bool,
}

/// What key generation owns.
pub struct KeygenState {
    args: KeygenArgs,
    view: Arc<View>,
    runs: BTreeMap<WalletId, Run>,
    sessions: Sessions<KeygenOutput>,
    unsettled: BTreeMap<WalletId, Unsettled>,
    resolving: bool,
    preparing: usize,
    draining: Option<RpcReplyPort<()>>,
    activated: u64,
    aborted: u64,
    last_abort: Option<Aborted>,
}

/// Makes wallets, and settles what interrupted runs left behind.
pub struct KeygenActor;

impl Actor for KeygenActor {
    type Msg = KeygenMsg;
    type State = KeygenState;
    type Arguments = KeygenArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<KeygenMsg>,
        args: KeygenArgs,
    ) -> Result<KeygenState, ActorProcessingErr> {
        let view = Arc::new(View::empty(args.identity.id(), args.peers.ids()));
        let mut state = KeygenState {
            args,
            view,
            runs: BTreeMap::new(),
            sessions: Sessions::default(),
            unsettled: BTreeMap::new(),
            resolving: false,
            preparing: 0,
            draining: None,
            activated: 0,
            aborted: 0,
            last_abort: None,
        };
        // Tasks of a former life may still write what this life is about to read.
        state.args.former_writes().await;
        state.load_pending().await?;
        state.ask_later(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<KeygenMsg>,
        message: KeygenMsg,
        state: &mut KeygenState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KeygenMsg::Generate { request, reply } => state.generate(&myself, request, reply),
            KeygenMsg::Wallet { wallet, reply } => {
                let args = state.args.clone();
                tokio::spawn(async move {
                    // Whoever asked may have gone.
                    let _ = reply.send(args.certificate(&wallet).await);
                });
            }
            KeygenMsg::Peer(inbound) => state.peer(&myself, inbound),
            KeygenMsg::Link(event) => state.link(&myself, &event),
            KeygenMsg::View(view) => state.view = view,
            KeygenMsg::Ended(end) => state.ended(&myself, end),
            KeygenMsg::Task(TaskDone(work)) => state.work(&myself, work).await,
            KeygenMsg::Drain(reply) => state.draining = Some(reply),
            KeygenMsg::Snapshot(reply) => {
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            KeygenMsg::Session(session, reply) => {
                let _ = reply.send(state.sessions.actor(session));
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            KeygenMsg::InjectPanic => panic!("injected"),
        }
        if state.runs.is_empty()
            && state.preparing == 0
            && let Some(reply) = state.draining.take()
        {
            let _ = reply.send(());
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<KeygenMsg>,
        event: SupervisionEvent,
        state: &mut KeygenState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(sheet) = state.sessions.gone(event).await {
            tracing::error!(session = %sheet.hash, "a key generation session failed without a report");
            state.fail(&myself, sheet.hash, Code::Internal, [state.args.identity.id()].into());
        }
        Ok(())
    }
}

impl KeygenState {
    fn snapshot(&self) -> KeygenSnapshot {
        KeygenSnapshot {
            running: self.runs.keys().cloned().collect(),
            unsettled: self.unsettled.keys().cloned().collect(),
            activated: self.activated,
            aborted: self.aborted,
            last_abort: self.last_abort.clone(),
        }
    }

    /// Runs `work` beside the actor; its result comes as a message.
    fn spawn(myself: &ActorRef<KeygenMsg>, work: impl Future<Output = Work> + Send + 'static) {
        let myself = myself.clone();
        tokio::spawn(async move {
            // Key generation that is gone has told its clients so by dropping their reply ports.
            let _ = myself.cast(KeygenMsg::Task(TaskDone(work.await)));
        });
    }

    /// Reads what earlier lives left pending.
    async fn load_pending(&mut self) -> Result<(), ActorProcessingErr> {
        let mut after = None;
        loop {
            let prefix = PENDING_PREFIX.to_vec();
            let listing = Listing { family: Family::Shares, prefix, after: after.take(), limit: PENDING_PAGE };
            let page = self.args.storage.list(listing).await?;
            for record in &page.records {
                let name = record.key.strip_prefix(PENDING_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
                match (name.and_then(|name| name.parse::<WalletId>().ok()), Pending::decode(record.value.expose())) {
                    (Some(wallet), Ok(pending)) => {
                        self.hold_unsettled(wallet, pending.session, Signature::of(&pending));
                    }
                    _ => tracing::error!(key = %hex::encode(&record.key), "a pending record does not decode"),
                }
            }
            if !page.more {
                return Ok(());
            }
            after = page.records.last().map(|record| record.key.clone());
        }
    }

    /// A client asks for a wallet.
    fn generate(&mut self, myself: &ActorRef<KeygenMsg>, request: KeygenRequest, reply: Waiter) {
        let refused = if self.draining.is_some() {
            Some(Failure::new(Code::Cancelled, "the node is stopping"))
        } else if self.runs.len() + self.preparing >= self.args.max_concurrent {
            Some(Failure::new(Code::ConcurrencyLimit, "too many key generations are at work"))
        } else {
            None
        };
        if let Some(failure) = refused {
            let _ = reply.send(Err(failure));
            return;
        }
        self.preparing += 1;
        let args = self.args.clone();
        Self::spawn(myself, async move { Work::Prepared { reply, result: args.prepare(request).await } });
    }

    /// A peer's message.
    fn peer(&mut self, myself: &ActorRef<KeygenMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        match message {
            PeerMessage::KeygenQuery { wallet, session } => self.query(myself, from, wallet, session),
            PeerMessage::KeygenReply { wallet, session, outcome } => {
                self.reply(myself, from, &wallet, session, outcome);
            }
            PeerMessage::Session { session, body: SessionBody::Propose { sheet, signature }, .. } => {
                if self.sessions.knows(session) {
                    return;
                }
                if self.draining.is_some() || self.runs.len() + self.preparing >= self.args.max_concurrent * 2 {
                    self.send(from, session, refusal(Code::ConcurrencyLimit));
                    return;
                }
                self.preparing += 1;
                self.sessions.expect(session);
                let args = self.args.clone();
                Self::spawn(myself, async move {
                    let result = args.check(from, session, sheet, signature).await.map(Box::new);
                    // The link's budget is given back once the proposal is dealt with.
                    drop(credit);
                    Work::Checked { from, session, result }
                });
            }
            PeerMessage::Session { session, body: SessionBody::RecordSigned { signature }, .. } => {
                self.record_signed(myself, from, session, signature);
            }
            PeerMessage::Session { session, body, .. } => {
                if let SessionBody::Abort { code, culprits, .. } = &body
                    && self.run_of(session).is_some_and(|(_, run)| run.phase != Phase::Session && run.concerns(from))
                {
                    let culprits = culprits.iter().copied().take(MAX_LISTED_NODES).collect();
                    self.fail(myself, session, *code, culprits);
                    return;
                }
                if self.sessions.route(session, from, body, credit) == Arrival::Dropped {
                    tracing::debug!(peer = %from, %session, "message for no session");
                }
            }
        }
    }

    /// A link is lost: its sessions abort, and so does the gathering of signatures.
    fn link(&mut self, myself: &ActorRef<KeygenMsg>, event: &PeerEvent) {
        match event {
            PeerEvent::Down { peer, .. } => {
                self.sessions.peer_down(*peer);
                let waiting: Vec<SheetHash> = self
                    .runs
                    .values()
                    .filter(|run| run.is_gathering() && run.commit.missing().contains(peer))
                    .map(|run| run.sheet.hash)
                    .collect();
                for session in waiting {
                    self.fail(myself, session, Code::PeerUnavailable, [*peer].into());
                }
            }
            PeerEvent::Up { .. } => self.settle(myself),
            PeerEvent::Readiness { .. } => {}
        }
    }

    /// What a task reports.
    async fn work(&mut self, myself: &ActorRef<KeygenMsg>, work: Work) {
        match work {
            Work::Prepared { reply, result } => {
                self.preparing -= 1;
                match result {
                    Ok(Admitted::New(prepared)) => self.coordinate(myself, prepared, reply).await,
                    Ok(Admitted::Pending(prepared)) => self.await_pending(myself, prepared, reply),
                    Ok(Admitted::Exists(certificate)) => {
                        let _ = reply.send(Ok(Generated { certificate, fresh: false }));
                    }
                    Err(failure) => {
                        let _ = reply.send(Err(failure));
                    }
                }
            }
            Work::Checked { from, session, result } => {
                self.preparing -= 1;
                self.sessions.checked(session);
                let joined = match result {
                    Ok(checked) => {
                        let (sheet, prepared) = *checked;
                        let joined = self.join(myself, from, sheet, &prepared).await;
                        if joined.is_err() {
                            // It will have to do without this node.
                            self.sessions.ended(session);
                        }
                        joined
                    }
                    Err(code) => Err(code),
                };
                if let Err(code) = joined {
                    tracing::info!(peer = %from, %session, %code, "key generation refused");
                    self.send(from, session, refusal(code));
                }
            }
            Work::Pended { session, result } => self.pended(myself, session, result),
            Work::Activated { wallet, session, result } => self.active(myself, wallet, session, result),
            Work::CommitDeadline(session) => {
                if let Some((_, run)) = self.run_of(session)
                    && run.is_gathering()
                {
                    let missing = run.commit.missing();
                    self.fail(myself, session, Code::SessionTimeout, missing);
                }
            }
            Work::Resolve => {
                self.resolving = false;
                self.settle(myself);
                self.ask_later(myself);
            }
            Work::SetAside { wallet, session, result } => match result {
                Ok(()) => {
                    tracing::info!(%wallet, %session, "a pending share that nobody can certify is set aside");
                    self.unsettled.remove(&wallet);
                }
                Err(code) => self.not_settled(&wallet, code),
            },
            Work::Answer { to, wallet, session, outcome } => {
                self.transmit(to, PeerMessage::KeygenReply { wallet, session, outcome });
            }
        }
    }

    /// The run that a session belongs to.
    fn run_of(&mut self, session: SheetHash) -> Option<(WalletId, &mut Run)> {
        let (wallet, run) = self.runs.iter_mut().find(|(_, run)| run.sheet.hash == session)?;
        Some((wallet.clone(), run))
    }

    /// Starts a session for a client's request.
    async fn coordinate(&mut self, myself: &ActorRef<KeygenMsg>, prepared: Prepared, reply: Waiter) {
        let wallet = prepared.request.wallet();
        if let Some(run) = self.runs.get_mut(wallet) {
            if run.content == prepared.content {
                run.waiters.push(reply);
            } else {
                let reason = "another key generation for this wallet is at work";
                let _ = reply.send(Err(Failure::new(Code::SessionDuplicate, reason)));
            }
            return;
        }
        match self.propose(&prepared) {
            Ok(sheet) => {
                let sheet = Arc::new(sheet);
                self.tell_others(&sheet, || sheet.proposal());
                if let Err(code) = self.start(myself, Arc::clone(&sheet), prepared.content, vec![reply]).await {
                    self.tell_others(&sheet, || SessionBody::Abort { code, culprits: Vec::new(), round: 0 });
                }
            }
            Err(failure) => {
                let _ = reply.send(Err(failure));
            }
        }
    }

    /// A client asks for a wallet whose shares are pending here: the request that makes it may be answered already, by
    /// a node that was faster.
    fn await_pending(&mut self, myself: &ActorRef<KeygenMsg>, prepared: Prepared, reply: Waiter) {
        let wallet = prepared.request.wallet();
        let is_under_way = |run: &&mut Run| run.content == prepared.content && run.phase != Phase::FailedStoring;
        if let Some(run) = self.runs.get_mut(wallet).filter(is_under_way) {
            run.late.push(reply);
        } else if self.runs.contains_key(wallet) || self.unsettled.contains_key(wallet) {
            let reason = "an earlier key generation for this wallet is not settled yet";
            let _ = reply.send(Err(Failure::new(Code::SessionDuplicate, reason)));
        } else {
            // It was settled since the store was read.
            self.generate(myself, prepared.request, reply);
        }
    }

    /// Writes the sheet of a new wallet, if all nodes are ready.
    fn propose(&self, prepared: &Prepared) -> Result<SheetContext, Failure> {
        let ready = self.view.ready();
        let committee = self.args.peers.committee();
        let absent: BTreeSet<NodeId> =
            committee.iter().map(|member| member.node).filter(|node| !ready.contains(node)).collect();
        if !absent.is_empty() {
            let enough = ready.len() >= usize::from(self.args.threshold.signers());
            let code = if enough { Code::ClusterNotReady } else { Code::NotMajority };
            let reason = format!("{} of {} nodes are ready; a new wallet needs all", ready.len(), committee.len());
            return Err(Failure { code, reason, culprits: absent });
        }
        let internal = || Failure::new(Code::Internal, "failed to draw a session id");
        let session = SecretBytes::random(32).map_err(|_| internal())?;
        let request = &prepared.request;
        let sheet = Sheet {
            version: SHEET_VERSION,
            cluster: self.args.cluster.clone(),
            session: SessionId(session.expose().try_into().map_err(|_| internal())?),
            task: Task::Keygen {
                wallet: request.wallet().clone(),
                schemes: request.schemes(),
                threshold: self.args.threshold,
                request: request.bytes().to_vec(),
            },
            participants: committee,
            coordinator: self.args.identity.id(),
            attempt: 1,
            deadline_ms: self.args.clock.now_ms().saturating_add(millis(self.args.deadline)),
        };
        SheetContext::propose(sheet, &self.args.identity)
            .map_err(|error| Failure::new(Code::MsgValidation, error.to_string()))
    }

    /// Takes part in a session that a peer coordinates. Of two for the same wallet, the lower coordinator's goes on, so
    /// that all nodes decide alike; once shares are being stored, nothing takes their place.
    async fn join(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: NodeId,
        sheet: SheetContext,
        prepared: &Prepared,
    ) -> Result<(), Code> {
        if self.sessions.knows(sheet.hash) {
            // The same proposal, once more.
            return Ok(());
        }
        let wallet = prepared.request.wallet();
        let mut waiters = Vec::new();
        if let Some(run) = self.runs.get_mut(wallet) {
            let (running, proposed) = (&run.sheet.sheet, &sheet.sheet);
            // Proposals of one coordinator are checked side by side: the later one counts, whichever is through first.
            let takes_over = from < running.coordinator
                || (from == running.coordinator && proposed.deadline_ms > running.deadline_ms);
            let gives_way = run.phase == Phase::Session && takes_over;
            if run.content != prepared.content || !gives_way {
                return Err(Code::SessionDuplicate);
            }
            waiters.append(&mut run.waiters);
            self.sessions.tell(run.sheet.hash, SessionMsg::Cancel(Code::Superseded));
            self.runs.remove(wallet);
        }
        self.start(myself, Arc::new(sheet), prepared.content, waiters).await
    }

    /// Starts this node's side of a session.
    async fn start(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        sheet: Arc<SheetContext>,
        content: [u8; 32],
        waiters: Vec<Waiter>,
    ) -> Result<(), Code> {
        let started = match self.session_args(Arc::clone(&sheet)) {
            Ok(args) => self.sessions.start(args, myself.get_cell()).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let Task::Keygen { wallet, .. } = &sheet.sheet.task else { return Err(Code::Internal) };
        match started {
            Ok(()) => {
                let commit = Commit::new(sheet.sheet.participants.iter().map(|member| member.node).collect());
                let wallet = wallet.clone();
                self.runs.insert(
                    wallet,
                    Run { content, waiters, late: Vec::new(), sheet, phase: Phase::Session, commit, own: None },
                );
                Ok(())
            }
            Err(error) => {
                tracing::error!(%wallet, %error, "failed to start a key generation");
                let failure = Failure::new(Code::Internal, "the key generation did not start");
                answer(waiters, &Err(failure));
                Err(Code::Internal)
            }
        }
    }

    fn session_args(&self, sheet: Arc<SheetContext>) -> Result<SessionArgs<KeygenOutput>, ActorProcessingErr> {
        let Task::Keygen { schemes, threshold, .. } = &sheet.sheet.task else {
            return Err("not a key generation".into());
        };
        let me = sheet.sheet.index_of(self.args.identity.id()).ok_or("this node takes no part")?;
        let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
        let schemes = schemes.iter().copied().collect();
        Ok(SessionArgs {
            service: Service::Keygen,
            party: Box::new(Keygen::new(context, *threshold, &schemes, rng::os())?),
            sheet,
            hold: None,
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            transport: self.args.transport.clone(),
            bans: Arc::clone(&self.args.bans),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            owner: Arc::new(self.args.myself.clone()),
        })
    }

    /// The threshold protocol is over.
    fn ended(&mut self, myself: &ActorRef<KeygenMsg>, end: SessionEnd<KeygenOutput>) {
        self.sessions.ended(end.session);
        let session = end.session;
        match end.outcome {
            Outcome::Done(output) => {
                let args = self.args.clone();
                let Some((_, run)) = self.run_of(session) else { return };
                run.phase = Phase::Storing;
                let (sheet, content) = (Arc::clone(&run.sheet), run.content);
                let deadline = args.clock.instant_of(sheet.sheet.deadline_ms);
                Self::spawn(myself, async move {
                    tokio::time::sleep_until(deadline).await;
                    Work::CommitDeadline(session)
                });
                let writing = args.writing();
                Self::spawn(myself, async move {
                    let result = args.pend(&sheet, content, output).await.map(|pending| Signature::of(&pending));
                    drop(writing);
                    Work::Pended { session, result }
                });
            }
            Outcome::Aborted(aborted) => {
                let (code, culprits) = (aborted.code, aborted.culprits.clone());
                self.last_abort = Some(aborted);
                self.fail(myself, session, code, culprits);
            }
        }
    }

    /// The shares are durable: tell the others that this node has signed.
    fn pended(&mut self, myself: &ActorRef<KeygenMsg>, session: SheetHash, result: Result<Signature, Code>) {
        let me = self.args.identity.id();
        let Some((wallet, run)) = self.run_of(session) else { return };
        match result {
            Ok(own) if run.phase == Phase::FailedStoring => {
                self.runs.remove(&wallet);
                self.unsettle(myself, wallet, session, own);
            }
            Ok(own) => {
                let (sheet, signature) = (Arc::clone(&run.sheet), own.signature);
                run.phase = Phase::Committing;
                run.commit.signed(me, signature);
                run.own = Some(own);
                self.tell_others(&sheet, || SessionBody::RecordSigned { signature });
                self.certify(myself, session);
            }
            Err(code) => {
                let sheet = Arc::clone(&run.sheet);
                // Nothing was written, so nothing is left to settle.
                run.phase = Phase::Session;
                self.tell_others(&sheet, || SessionBody::Abort { code, culprits: Vec::new(), round: 0 });
                self.fail(myself, session, code, [me].into());
            }
        }
    }

    /// A member says that its shares are durable.
    fn record_signed(&mut self, myself: &ActorRef<KeygenMsg>, from: NodeId, session: SheetHash, signature: [u8; 64]) {
        if let Some((_, run)) = self.run_of(session) {
            run.commit.signed(from, signature);
            self.certify(myself, session);
        } else if let Some((wallet, _)) = self.unsettled.iter().find(|(_, unsettled)| unsettled.session == session) {
            let wallet = wallet.clone();
            self.reply(myself, from, &wallet, session, KeygenOutcome::Pending(signature));
        }
    }

    /// Makes the shares active once all have signed.
    fn certify(&mut self, myself: &ActorRef<KeygenMsg>, session: SheetHash) {
        let Some((wallet, run)) = self.run_of(session) else { return };
        if run.phase != Phase::Committing {
            return;
        }
        let Some(signatures) = run.commit.complete().cloned() else { return };
        run.phase = Phase::Activating;
        self.activate(myself, wallet, session, signatures);
    }

    fn activate(
        &self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        session: SheetHash,
        signatures: BTreeMap<NodeId, [u8; 64]>,
    ) {
        let (args, writing) = (self.args.clone(), self.args.writing());
        Self::spawn(myself, async move {
            let result = args.activate(&wallet, signatures).await;
            drop(writing);
            Work::Activated { wallet, session, result }
        });
    }

    /// The shares are active, or could not be made so.
    fn active(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        session: SheetHash,
        result: Result<Arc<WalletCertificate>, NotActivated>,
    ) {
        match result {
            Ok(certificate) => {
                tracing::info!(%wallet, %session, "wallet active");
                self.activated += 1;
                self.unsettled.remove(&wallet);
                if let Some(run) = self.runs.remove(&wallet) {
                    answer(run.late, &Ok(Generated { certificate: Arc::clone(&certificate), fresh: false }));
                    answer(run.waiters, &Ok(Generated { certificate, fresh: true }));
                }
            }
            Err(NotActivated { code, culprit }) => {
                if let Some((_, run)) = self.run_of(session) {
                    run.phase = Phase::Committing;
                    self.fail(myself, session, code, culprit.into_iter().collect());
                } else {
                    self.not_settled(&wallet, code);
                }
            }
        }
    }

    /// A run ends without a wallet. Its clients are told; shares that are durable already stay, to be settled.
    fn fail(&mut self, myself: &ActorRef<KeygenMsg>, session: SheetHash, code: Code, culprits: BTreeSet<NodeId>) {
        let Some((wallet, run)) = self.run_of(session) else { return };
        let reason = format!("the key generation failed while it was {}", run.phase.name());
        let (waiters, late) = (std::mem::take(&mut run.waiters), std::mem::take(&mut run.late));
        match run.phase {
            Phase::Activating | Phase::FailedStoring => {
                (run.waiters, run.late) = (waiters, late);
                return;
            }
            Phase::Storing => run.phase = Phase::FailedStoring,
            Phase::Session => {
                self.sessions.tell(session, SessionMsg::Cancel(code));
                self.runs.remove(&wallet);
            }
            Phase::Committing => {
                if let Some(Run { own: Some(own), .. }) = self.runs.remove(&wallet) {
                    self.unsettle(myself, wallet.clone(), session, own);
                }
            }
        }
        self.aborted += 1;
        tracing::warn!(%wallet, %session, %code, ?culprits, "key generation failed");
        let failure = Failure { code, reason, culprits };
        answer(late, &Err(failure.clone()));
        answer(waiters, &Err(failure));
    }

    /// From now on, the members are asked what became of these pending shares.
    fn unsettle(&mut self, myself: &ActorRef<KeygenMsg>, wallet: WalletId, session: SheetHash, own: Signature) {
        self.hold_unsettled(wallet, session, own);
        self.settle(myself);
        self.ask_later(myself);
    }

    fn hold_unsettled(&mut self, wallet: WalletId, session: SheetHash, own: Signature) {
        let me = self.args.identity.id();
        let everyone = match WalletRecord::decode(&own.record) {
            Ok(record) => members(&record),
            Err(error) => {
                tracing::error!(%wallet, %error, "a pending wallet record does not decode");
                return;
            }
        };
        let resolution = Resolution::new(everyone.into_iter().filter(|&node| node != me).collect());
        self.unsettled.entry(wallet).or_insert(Unsettled { session, own, resolution, settling: false });
    }

    /// Asks the members again after a while, as long as something is not settled.
    fn ask_later(&mut self, myself: &ActorRef<KeygenMsg>) {
        if self.resolving || self.unsettled.is_empty() {
            return;
        }
        self.resolving = true;
        let pause = self.args.resolve_every;
        Self::spawn(myself, async move {
            tokio::time::sleep(pause).await;
            Work::Resolve
        });
    }

    /// Does for every pending share what its members' answers call for.
    fn settle(&mut self, myself: &ActorRef<KeygenMsg>) {
        let wallets: Vec<WalletId> = self.unsettled.keys().cloned().collect();
        for wallet in wallets {
            self.settle_one(myself, &wallet);
        }
    }

    fn settle_one(&mut self, myself: &ActorRef<KeygenMsg>, wallet: &WalletId) {
        let Some(unsettled) = self.unsettled.get_mut(wallet).filter(|unsettled| !unsettled.settling) else { return };
        let session = unsettled.session;
        match unsettled.resolution.verdict() {
            Verdict::Ask(members) => {
                for member in members.into_iter().filter(|member| self.view.peers.get(member).is_some_and(|p| p.linked))
                {
                    self.transmit(member, PeerMessage::KeygenQuery { wallet: wallet.clone(), session });
                }
            }
            Verdict::Certify(mut signatures) => {
                unsettled.settling = true;
                signatures.insert(self.args.identity.id(), unsettled.own.signature);
                self.activate(myself, wallet.clone(), session, signatures);
            }
            Verdict::SetAside => {
                unsettled.settling = true;
                let (args, writing, wallet) = (self.args.clone(), self.args.writing(), wallet.clone());
                Self::spawn(myself, async move {
                    let result = args.set_aside(&wallet).await;
                    drop(writing);
                    Work::SetAside { wallet, session, result }
                });
            }
        }
    }

    /// A pending share could not be settled this time.
    /// What its members said stands, and is acted on when the time comes to look again.
    fn not_settled(&mut self, wallet: &WalletId, code: Code) {
        tracing::warn!(%wallet, %code, "a pending share is still not settled");
        if let Some(unsettled) = self.unsettled.get_mut(wallet) {
            unsettled.settling = false;
        }
    }

    /// A member asks what this node knows of a key generation.
    fn query(&mut self, myself: &ActorRef<KeygenMsg>, from: NodeId, wallet: WalletId, session: SheetHash) {
        let known = if self.run_of(session).is_some() {
            Some(KeygenOutcome::Running)
        } else {
            let unsettled = self.unsettled.get(&wallet).filter(|unsettled| unsettled.session == session);
            unsettled.map(|unsettled| KeygenOutcome::Pending(unsettled.own.signature))
        };
        if let Some(outcome) = known {
            self.transmit(from, PeerMessage::KeygenReply { wallet, session, outcome });
            return;
        }
        let args = self.args.clone();
        Self::spawn(myself, async move {
            let outcome = match args.certificate(&wallet).await {
                Ok(Some(certificate)) if certificate.record().session == session => {
                    certificate.encode().map_or(KeygenOutcome::Running, KeygenOutcome::Certified)
                }
                Ok(_) => KeygenOutcome::Absent,
                // Not being able to tell is not the same as holding none.
                Err(_) => KeygenOutcome::Running,
            };
            Work::Answer { to: from, wallet, session, outcome }
        });
    }

    /// A member answers what it knows of a key generation.
    fn reply(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: NodeId,
        wallet: &WalletId,
        session: SheetHash,
        outcome: KeygenOutcome,
    ) {
        let Some(unsettled) = self.unsettled.get_mut(wallet) else { return };
        if unsettled.session != session {
            return;
        }
        match outcome {
            // One at a time; whoever has a certificate has it when it is asked again.
            KeygenOutcome::Certified(_) if unsettled.settling => return,
            KeygenOutcome::Certified(certificate) => {
                unsettled.settling = true;
                let (args, writing, wallet) = (self.args.clone(), self.args.writing(), wallet.clone());
                Self::spawn(myself, async move {
                    let result = args.adopt(&wallet, certificate).await;
                    drop(writing);
                    Work::Activated { wallet, session, result }
                });
                return;
            }
            KeygenOutcome::Pending(signature) => {
                if !self.args.signs(from, &unsettled.own.record, &signature) {
                    tracing::warn!(peer = %from, %wallet, "a member's signature of a wallet record does not verify");
                    return;
                }
                unsettled.resolution.signed(from, signature);
            }
            KeygenOutcome::Absent => unsettled.resolution.absent(from),
            KeygenOutcome::Running => return,
        }
        if !matches!(unsettled.resolution.verdict(), Verdict::Ask(_)) {
            self.settle_one(myself, wallet);
        }
    }

    /// Sends to all other participants of a session.
    fn tell_others(&self, sheet: &SheetContext, body: impl Fn() -> SessionBody) {
        let me = self.args.identity.id();
        for participant in sheet.sheet.participants.iter().filter(|participant| participant.node != me) {
            self.send(participant.node, sheet.hash, body());
        }
    }

    fn send(&self, to: NodeId, session: SheetHash, body: SessionBody) {
        self.transmit(to, PeerMessage::Session { service: Service::Keygen, session, body });
    }

    fn transmit(&self, to: NodeId, message: PeerMessage) {
        // Without a transport there are no links; their loss ends what waits for an answer.
        let _ = self.args.transport.cast(TransportMsg::Send { to, message });
    }
}

impl Run {
    /// Whether signatures of the other members are still to come.
    fn is_gathering(&self) -> bool {
        matches!(self.phase, Phase::Storing | Phase::Committing)
    }

    /// Whether `node` takes part.
    fn concerns(&self, node: NodeId) -> bool {
        self.sheet.sheet.index_of(node).is_some()
    }
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "running the protocol",
            Self::Storing | Self::FailedStoring => "storing its shares",
            Self::Committing => "gathering the members' signatures",
            Self::Activating => "activating its shares",
        }
    }
}

impl Drop for KeygenState {
    fn drop(&mut self) {
        // The table tells the members of sessions that run. Those of a run whose shares are being stored still wait for
        // this node's signature: they need not wait for the deadline. What is stored is settled by the next life.
        let me = self.args.identity.id();
        for run in self.runs.values().filter(|run| run.phase == Phase::Storing) {
            self.tell_others(&run.sheet, || SessionBody::abandoned(me));
        }
        let failure = Failure::new(Code::Cancelled, "key generation stopped before the request was answered");
        for run in std::mem::take(&mut self.runs).into_values() {
            answer(run.late, &Err(failure.clone()));
            answer(run.waiters, &Err(failure.clone()));
        }
    }
}

/// The most pending records read at a time.
const PENDING_PAGE: usize = 256;

fn refusal(code: Code) -> SessionBody {
    SessionBody::Refuse { code, answer: None }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Answers everyone who waits.
fn answer(waiters: Vec<Waiter>, answer: &Result<Generated, Failure>) {
    for waiter in waiters {
        // A client that no longer waits finds the wallet when it asks again.
        let _ = waiter.send(answer.clone());
    }
}
