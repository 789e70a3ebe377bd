//! The signing actor: see the module's documentation.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::Signed;
use super::admission::{Admission, RequestKey};
use super::prepare::{Desk, Prepared, Refusal, SigningArgs};
use super::requests::{Attempt, Contest, Coordination, Next, Request, Requests, Waiter, after_abort, contest};
use super::wallets::Wallets;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme, SessionId, SheetHash};
use crate::keys::Signature;
use crate::pairing::{Banned, Bans};
use crate::protocol::Party;
use crate::registry::{View, choose_quorum};
use crate::secret::SecretBytes;
use crate::session::{
    Aborted, Arrival, Held, Hold, Outcome, SessionArgs, SessionEnd, SessionMsg, Sessions, SheetContext,
};
use crate::storage::Durability;
use crate::transport::{Inbound, PeerEvent, TransportMsg};
use crate::wire::message::{PeerMessage, Service, SessionBody};
use crate::wire::request::SignRequest;
use crate::wire::sheet::{SHEET_VERSION, Sheet, Task};

/// What signing takes.
pub enum SigningMsg {
    /// A client asks for a signature.
    Sign {
        /// The request as parsed.
        request: SignRequest,
        /// Where the answer goes: exactly one comes.
        reply: RpcReplyPort<Result<Signed, Failure>>,
    },
    /// A peer's message.
    Peer(Inbound),
    /// A link changed, or a peer's readiness did.
    Link(PeerEvent),
    /// The membership changed.
    View(Arc<View>),
    /// The pair with a peer must not be used any more.
    Banned(Banned),
    /// A session's share is ready to leave.
    Held(Held),
    /// A session ended.
    Ended(SessionEnd<Signature>),
    /// A task is through with its work.
    Task(TaskDone),
    /// Takes no more requests; answers when none is at work any more.
    Drain(RpcReplyPort<()>),
    /// Asks for what can be observed.
    Snapshot(RpcReplyPort<SigningSnapshot>),
    /// Asks for the actor of a running session: the harness injects faults there.
    #[cfg(any(test, feature = "testing"))]
    Session(SheetHash, RpcReplyPort<Option<ActorRef<SessionMsg<Signature>>>>),
    /// Panics in the handler: the harness proves supervision with it.
    #[cfg(any(test, feature = "testing"))]
    InjectPanic,
}

impl From<Inbound> for SigningMsg {
    fn from(inbound: Inbound) -> Self {
        Self::Peer(inbound)
    }
}

impl From<PeerEvent> for SigningMsg {
    fn from(event: PeerEvent) -> Self {
        Self::Link(event)
    }
}

impl From<Arc<View>> for SigningMsg {
    fn from(view: Arc<View>) -> Self {
        Self::View(view)
    }
}

impl From<Banned> for SigningMsg {
    fn from(banned: Banned) -> Self {
        Self::Banned(banned)
    }
}

impl From<SessionEnd<Signature>> for SigningMsg {
    fn from(end: SessionEnd<Signature>) -> Self {
        Self::Ended(end)
    }
}

impl From<Held> for SigningMsg {
    fn from(held: Held) -> Self {
        Self::Held(held)
    }
}

/// What a task that the actor started reports.
pub struct TaskDone(Work);

enum Work {
    /// A client's request is checked and read in.
    Prepared { reply: Waiter, result: Result<Box<Prepared>, Failure> },
    /// A peer's proposal is checked.
    Checked { from: NodeId, session: SheetHash, result: Result<Box<(SheetContext, Prepared)>, Refusal> },
    /// The pause before a retry is over.
    Relaunch(RequestKey),
    /// An engine is built.
    Built { sheet: Arc<SheetContext>, result: Result<(Box<dyn Party<Output = Signature>>, u8), Code> },
    /// A request's content is durable, or must not run.
    Admitted { key: RequestKey, session: SheetHash, result: Result<Admission, Code> },
    /// A signature is verified and stored, or not.
    Stored {
        key: RequestKey,
        session: Option<SheetHash>,
        signature: Signature,
        durability: Durability,
        result: Result<(), Failure>,
    },
    /// A peer's claim that a request is answered does not hold.
    FalseAnswer { key: RequestKey, from: NodeId },
}

/// What can be observed of signing. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSnapshot {
    /// Requests at work.
    pub requests: usize,
    /// The sessions that run.
    pub sessions: Vec<SheetHash>,
    /// Signatures that this node helped to make.
    pub signed: u64,
    /// Sessions that ended without one.
    pub aborted: u64,
    /// The last abort.
    pub last_abort: Option<Aborted>,
    /// Messages without a session.
    pub dropped: u64,
}

/// What signing owns.
pub struct SigningState {
    args: SigningArgs,
    view: Arc<View>,
    requests: Requests,
    sessions: Sessions<Signature>,
    desk: Desk,
    /// Requests that are being prepared and have no entry yet.
    preparing: usize,
    draining: Option<RpcReplyPort<()>>,
    turn: u64,
    signed: u64,
    aborted: u64,
    last_abort: Option<Aborted>,
}

/// Admits requests, chooses quorums, and supervises the signing sessions.
pub struct SigningActor;

impl Actor for SigningActor {
    type Msg = SigningMsg;
    type State = SigningState;
    type Arguments = SigningArgs;

    async fn pre_start(
        &self,
        _myself: ActorRef<SigningMsg>,
        args: SigningArgs,
    ) -> Result<SigningState, ActorProcessingErr> {
        let view = Arc::new(View::empty(args.identity.id(), args.peers.ids()));
        Ok(SigningState {
            desk: Desk { args: args.clone(), wallets: Wallets::default() },
            args,
            view,
            requests: Requests::default(),
            sessions: Sessions::default(),
            preparing: 0,
            draining: None,
            turn: 0,
            signed: 0,
            aborted: 0,
            last_abort: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SigningMsg>,
        message: SigningMsg,
        state: &mut SigningState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SigningMsg::Sign { request, reply } => state.sign(&myself, request, reply),
            SigningMsg::Peer(inbound) => state.peer(&myself, inbound),
            SigningMsg::Link(PeerEvent::Down { peer, .. }) => state.sessions.peer_down(peer),
            SigningMsg::Link(_) => {}
            SigningMsg::View(view) => state.view = view,
            SigningMsg::Banned(Banned(peer)) => state.sessions.cancel(Code::PairBanned, |sheet| {
                let is_ecdsa = matches!(sheet.task, Task::Sign { scheme: Scheme::Ecdsa, .. });
                is_ecdsa && sheet.index_of(peer).is_some()
            }),
            SigningMsg::Held(Held(session)) => state.share_held(session),
            SigningMsg::Ended(end) => state.ended(&myself, end),
            SigningMsg::Task(TaskDone(work)) => state.work(&myself, work).await,
            SigningMsg::Drain(reply) => state.draining = Some(reply),
            SigningMsg::Snapshot(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(state.snapshot());
            }
            #[cfg(any(test, feature = "testing"))]
            SigningMsg::Session(session, reply) => {
                let _ = reply.send(state.sessions.actor(session));
            }
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "the harness injects it")]
            SigningMsg::InjectPanic => panic!("injected"),
        }
        if state.requests.len() == 0
            && state.preparing == 0
            && let Some(reply) = state.draining.take()
        {
            let _ = reply.send(());
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SigningMsg>,
        event: SupervisionEvent,
        state: &mut SigningState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(sheet) = state.sessions.gone(event).await {
            tracing::error!(session = %sheet.hash, "a signing session failed without a report");
            let me = state.args.identity.id();
            let aborted = Aborted { code: Code::Internal, culprits: [me].into(), round: 0, reported_by: None };
            state.aborted(&myself, sheet.hash, aborted);
        }
        Ok(())
    }
}

impl SigningState {
    fn snapshot(&self) -> SigningSnapshot {
        SigningSnapshot {
            requests: self.requests.len(),
            sessions: self.sessions.running(),
            signed: self.signed,
            aborted: self.aborted,
            last_abort: self.last_abort.clone(),
            dropped: self.sessions.dropped(),
        }
    }

    /// Runs `work` beside the actor; its result comes as a message.
    fn spawn(myself: &ActorRef<SigningMsg>, work: impl Future<Output = Work> + Send + 'static) {
        let myself = myself.clone();
        tokio::spawn(async move {
            // Signing that is gone has told its clients so by dropping their reply ports.
            let _ = myself.cast(SigningMsg::Task(TaskDone(work.await)));
        });
    }

    /// A client asks for a signature.
    fn sign(&mut self, myself: &ActorRef<SigningMsg>, request: SignRequest, reply: Waiter) {
        let refused = if self.draining.is_some() {
            Some(Failure::new(Code::Cancelled, "the node is stopping"))
        } else if self.requests.len() + self.preparing >= self.args.max_concurrent {
            Some(Failure::new(Code::ConcurrencyLimit, "too many requests are at work"))
        } else {
            None
        };
        if let Some(failure) = refused {
            let _ = reply.send(Err(failure));
            return;
        }
        self.preparing += 1;
        let desk = self.desk.clone();
        Self::spawn(myself, async move { Work::Prepared { reply, result: desk.prepare(request).await.map(Box::new) } });
    }

    /// A peer's message.
    fn peer(&mut self, myself: &ActorRef<SigningMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        let PeerMessage::Session { session, body, .. } = message else { return };
        match body {
            SessionBody::Propose { sheet, signature } => {
                if self.sessions.knows(session) {
                    return;
                }
                if self.draining.is_some() || self.sessions.len() + self.preparing >= self.args.max_concurrent * 2 {
                    self.send(from, session, refusal(Code::ConcurrencyLimit));
                    return;
                }
                self.preparing += 1;
                self.sessions.expect(session);
                let desk = self.desk.clone();
                Self::spawn(myself, async move {
                    let result = desk.check(from, session, sheet, signature).await.map(Box::new);
                    // The link's budget is given back once the proposal is dealt with.
                    drop(credit);
                    Work::Checked { from, session, result }
                });
            }
            SessionBody::Refuse { answer: Some(signature), .. } => self.told(myself, from, session, signature),
            body => {
                if self.sessions.route(session, from, body, credit) == Arrival::Dropped {
                    tracing::debug!(peer = %from, %session, "message for no session");
                }
            }
        }
    }

    /// What a task reports.
    async fn work(&mut self, myself: &ActorRef<SigningMsg>, work: Work) {
        match work {
            Work::Prepared { reply, result } => {
                self.preparing -= 1;
                match result {
                    Ok(prepared) => self.prepared(myself, *prepared, reply),
                    Err(failure) => {
                        let _ = reply.send(Err(failure));
                    }
                }
            }
            Work::Checked { from, session, result } => {
                self.preparing -= 1;
                self.sessions.checked(session);
                let joined = result.and_then(|checked| {
                    let (sheet, prepared) = *checked;
                    self.join(myself, from, sheet, prepared)
                });
                if let Err(Refusal { code, answer, genuine }) = joined {
                    tracing::info!(peer = %from, %session, %code, "signing session refused");
                    if genuine && !self.sessions.knows(session) {
                        self.sessions.ended(session);
                    }
                    self.send(from, session, SessionBody::Refuse { code, answer });
                }
            }
            Work::Relaunch(key) => self.launch(myself, &key),
            Work::Built { sheet, result } => self.built(myself, sheet, result).await,
            Work::Admitted { key, session, result } => self.admitted(myself, &key, session, result),
            Work::Stored { key, session, signature, durability, result } => {
                self.stored(myself, key, session, signature, durability, result);
            }
            Work::FalseAnswer { key, from } => {
                let code = Code::ProtocolViolation;
                let aborted = Aborted { code, culprits: [from].into(), round: 0, reported_by: None };
                self.settle(myself, key, &aborted);
            }
        }
    }

    /// A client's request is checked and read in: answer it, attach it, or run it.
    fn prepared(&mut self, myself: &ActorRef<SigningMsg>, prepared: Prepared, reply: Waiter) {
        let conflict = || Failure::new(Code::RequestConflict, "the request id was used with other content");
        match prepared.admission {
            Admission::Answered(signature) => {
                let public_key = prepared.derived.public_key;
                let _ = reply.send(Ok(Signed { signature, public_key, session: None }));
                return;
            }
            Admission::Conflict => {
                let _ = reply.send(Err(conflict()));
                return;
            }
            Admission::New | Admission::Again => {}
        }
        let now_ms = self.args.clock.now_ms();
        let deadline_ms = now_ms.saturating_add(millis(self.args.deadline));
        let coordination = Coordination { attempt: 0, without: Vec::new(), deadline_ms };
        if let Some(running) = self.requests.get_mut(&prepared.key) {
            if running.prepared.content == prepared.content {
                running.waiters.push(reply);
                running.coordination.get_or_insert(coordination);
            } else {
                let _ = reply.send(Err(conflict()));
            }
            return;
        }
        let key = prepared.key.clone();
        let request = Request {
            prepared: Arc::new(prepared),
            waiters: vec![reply],
            session: None,
            coordination: Some(coordination),
            admitted: false,
        };
        self.requests.insert(key.clone(), request);
        self.launch(myself, &key);
    }

    /// Starts a session for a request of this node's clients.
    fn launch(&mut self, myself: &ActorRef<SigningMsg>, key: &RequestKey) {
        self.turn = self.turn.wrapping_add(1);
        let Some(request) = self.requests.get_mut(key) else { return };
        if request.session.is_some() {
            // A session of another node took it on in the meantime.
            return;
        }
        let Some(coordination) = &mut request.coordination else { return };
        coordination.attempt += 1;
        let prepared = Arc::clone(&request.prepared);
        match propose(&self.args, &self.view, &prepared, coordination, self.turn) {
            Ok(sheet) => {
                let sheet = Arc::new(sheet);
                request.session = Some(Attempt::new(Arc::clone(&sheet)));
                self.sessions.begin(sheet.hash);
                for participant in sheet.sheet.participants.iter().filter(|p| p.node != self.args.identity.id()) {
                    send(&self.args, participant.node, sheet.hash, sheet.proposal());
                }
                self.run(myself, key, sheet);
            }
            Err(failure) => {
                if let Some(request) = self.requests.remove(key) {
                    request.answer(&Err(failure));
                }
            }
        }
    }

    /// Builds the engine of a session, and admits the request at the same time: what was read of it before it came into
    /// the table may be out of date.
    fn run(&mut self, myself: &ActorRef<SigningMsg>, key: &RequestKey, sheet: Arc<SheetContext>) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let prepared = Arc::clone(&request.prepared);
        if !request.admitted {
            let (desk, key, session, content) = (self.desk.clone(), key.clone(), sheet.hash, prepared.content);
            Self::spawn(myself, async move {
                let result = desk.admit(&key, content).await;
                Work::Admitted { key, session, result }
            });
        }
        let desk = self.desk.clone();
        Self::spawn(myself, async move {
            let result = desk.build(&sheet, prepared).await;
            Work::Built { sheet, result }
        });
    }

    /// Takes part in a session that a peer coordinates.
    fn join(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        sheet: SheetContext,
        prepared: Prepared,
    ) -> Result<(), Refusal> {
        let (key, sheet) = (prepared.key.clone(), Arc::new(sheet));
        if self.sessions.knows(sheet.hash) {
            // The same proposal, once more.
            return Ok(());
        }
        if let Some(running) = self.requests.get_mut(&key) {
            if running.prepared.content != prepared.content {
                return Err(Code::RequestConflict.into());
            }
            if let Some(attempt) = &running.session {
                let committed = running.committed().is_some();
                if contest(attempt.sheet.sheet.coordinator, committed, from) == Contest::Stay {
                    return Err(Code::SessionDuplicate.into());
                }
                self.sessions.tell(attempt.sheet.hash, SessionMsg::Cancel(Code::Superseded));
            }
            running.session = Some(Attempt::new(Arc::clone(&sheet)));
        } else {
            let request = Request {
                prepared: Arc::new(prepared),
                waiters: Vec::new(),
                session: Some(Attempt::new(Arc::clone(&sheet))),
                coordination: None,
                admitted: false,
            };
            self.requests.insert(key.clone(), request);
        }
        self.sessions.begin(sheet.hash);
        self.run(myself, &key, sheet);
        Ok(())
    }

    /// An engine is built: start its session.
    async fn built(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        sheet: Arc<SheetContext>,
        result: Result<(Box<dyn Party<Output = Signature>>, u8), Code>,
    ) {
        let hash = sheet.hash;
        if self.requests.of_session(hash).is_none() {
            // Another session took its place, or the answer came, while the engine was built.
            self.call_off(&sheet, Code::Superseded);
            return;
        }
        let started = match result {
            Ok((party, hold_from_round)) => {
                let args = SessionArgs {
                    service: Service::Signing,
                    sheet: Arc::clone(&sheet),
                    party,
                    hold: Some(Hold { from_round: hold_from_round, told: Arc::new(self.args.myself.clone()) }),
                    identity: Arc::clone(&self.args.identity),
                    peers: Arc::clone(&self.args.peers),
                    transport: self.args.transport.clone(),
                    bans: Arc::new(self.args.pairing.clone()) as Arc<dyn Bans>,
                    pool: self.args.pool.clone(),
                    clock: self.args.clock,
                    owner: Arc::new(self.args.myself.clone()),
                };
                self.sessions.start(args, myself.get_cell()).await.map_err(|error| {
                    tracing::error!(session = %hash, %error, "failed to start a session");
                    Code::Internal
                })
            }
            Err(code) => Err(code),
        };
        if let Err(code) = started {
            self.call_off(&sheet, code);
            let me = self.args.identity.id();
            let aborted = Aborted { code, culprits: [me].into(), round: 0, reported_by: None };
            self.aborted(myself, hash, aborted);
        }
    }

    /// Tells the others that a session which this node agreed to does not start here.
    fn call_off(&mut self, sheet: &SheetContext, code: Code) {
        let (me, coordinator) = (self.args.identity.id(), sheet.sheet.coordinator);
        self.sessions.ended(sheet.hash);
        if coordinator != me {
            self.send(coordinator, sheet.hash, refusal(code));
            return;
        }
        for participant in sheet.sheet.participants.iter().filter(|p| p.node != me) {
            self.send(participant.node, sheet.hash, SessionBody::Abort { code, culprits: Vec::new(), round: 0 });
        }
    }

    /// A session's share is ready to leave.
    fn share_held(&mut self, session: SheetHash) {
        let Some(request) = self.requests.of_session(session) else { return };
        if let Some(attempt) = &mut request.session {
            attempt.share_held = true;
        }
        if request.committed().is_some() {
            self.sessions.tell(session, SessionMsg::Release);
        }
    }

    /// A request's content is durable: let the last round go. Or it must not run.
    fn admitted(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        key: &RequestKey,
        session: SheetHash,
        result: Result<Admission, Code>,
    ) {
        // What was found out for an earlier session may be out of date.
        let Some(request) = self.requests.of_session(session) else { return };
        match result {
            Ok(Admission::New | Admission::Again) => {
                request.admitted = true;
                if let Some(attempt) = request.committed() {
                    self.sessions.tell(attempt.sheet.hash, SessionMsg::Release);
                }
            }
            Ok(Admission::Answered(signature)) => {
                self.sessions.tell(session, SessionMsg::Cancel(Code::Superseded));
                if let Some(request) = self.requests.remove(key) {
                    let public_key = request.prepared.derived.public_key;
                    request.answer(&Ok(Signed { signature, public_key, session: None }));
                }
            }
            Ok(Admission::Conflict) => self.give_up(myself, key, session, Code::RequestConflict),
            Err(code) => self.give_up(myself, key, session, code),
        }
    }

    /// Ends a session, built or not, and with it the request.
    fn give_up(&mut self, myself: &ActorRef<SigningMsg>, key: &RequestKey, session: SheetHash, code: Code) {
        if self.sessions.actor(session).is_some() {
            self.sessions.tell(session, SessionMsg::Cancel(code));
            return;
        }
        let me = self.args.identity.id();
        let aborted = Aborted { code, culprits: [me].into(), round: 0, reported_by: None };
        if self.requests.of_session(session).is_some_and(|request| request.prepared.key == *key) {
            self.aborted(myself, session, aborted);
        }
    }

    /// A participant says that the request has its answer: take it, if it is one.
    fn told(&mut self, myself: &ActorRef<SigningMsg>, from: NodeId, session: SheetHash, signature: Signature) {
        let Some(request) = self.requests.of_session(session) else { return };
        if request.session.as_ref().is_none_or(|attempt| attempt.sheet.sheet.index_of(from).is_none()) {
            tracing::debug!(peer = %from, %session, "an answer from a node that takes no part");
            return;
        }
        let (desk, prepared) = (self.desk.clone(), Arc::clone(&request.prepared));
        self.sessions.tell(session, SessionMsg::Cancel(Code::Superseded));
        request.session = None;
        Self::spawn(myself, async move {
            let (key, durability) = (prepared.key.clone(), Durability::Synced);
            if desk.verify(&prepared, signature).await.is_err() {
                return Work::FalseAnswer { key, from };
            }
            let result = desk.store(&prepared, signature, durability).await;
            Work::Stored { key, session: None, signature, durability, result }
        });
    }

    /// A session ended.
    fn ended(&mut self, myself: &ActorRef<SigningMsg>, end: SessionEnd<Signature>) {
        self.sessions.ended(end.session);
        match end.outcome {
            Outcome::Done(signature) => {
                self.signed += 1;
                let Some(request) = self.requests.of_session(end.session) else { return };
                // Whoever answers a client must find the answer again after a power cut.
                let durability = if request.waiters.is_empty() { Durability::Buffered } else { Durability::Synced };
                let prepared = Arc::clone(&request.prepared);
                self.store(myself, prepared, Some(end.session), signature, durability);
            }
            Outcome::Aborted(aborted) => self.aborted(myself, end.session, aborted),
        }
    }

    fn store(
        &self,
        myself: &ActorRef<SigningMsg>,
        prepared: Arc<Prepared>,
        session: Option<SheetHash>,
        signature: Signature,
        durability: Durability,
    ) {
        let desk = self.desk.clone();
        Self::spawn(myself, async move {
            let result = desk.store(&prepared, signature, durability).await;
            Work::Stored { key: prepared.key.clone(), session, signature, durability, result }
        });
    }

    /// A signature is verified and stored, or not: the request is over.
    fn stored(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        key: RequestKey,
        session: Option<SheetHash>,
        signature: Signature,
        durability: Durability,
        result: Result<(), Failure>,
    ) {
        let Some(request) = self.requests.remove(&key) else { return };
        if result.is_ok() && durability == Durability::Buffered && !request.waiters.is_empty() {
            // A client has come since, and must find the answer again.
            self.store(myself, Arc::clone(&request.prepared), session, signature, Durability::Synced);
            self.requests.insert(key, request);
            return;
        }
        if let Some(attempt) = request.session.as_ref().filter(|attempt| Some(attempt.sheet.hash) != session) {
            self.sessions.tell(attempt.sheet.hash, SessionMsg::Cancel(Code::Superseded));
        }
        let public_key = request.prepared.derived.public_key;
        request.answer(&result.map(|()| Signed { signature, public_key, session }));
    }

    /// A session failed.
    fn aborted(&mut self, myself: &ActorRef<SigningMsg>, session: SheetHash, aborted: Aborted) {
        self.aborted += 1;
        self.last_abort = Some(aborted.clone());
        let Some(request) = self.requests.of_session(session) else { return };
        request.session = None;
        let key = request.prepared.key.clone();
        self.settle(myself, key, &aborted);
    }

    /// A request has lost its session: try again, or tell the clients.
    fn settle(&mut self, myself: &ActorRef<SigningMsg>, key: RequestKey, aborted: &Aborted) {
        let Some(request) = self.requests.get_mut(&key) else { return };
        let next = match &mut request.coordination {
            Some(coordination) => {
                let now_ms = self.args.clock.now_ms();
                let next = after_abort(aborted, coordination, self.args.on_peer_failure, now_ms);
                if let Next::Retry { without, .. } = &next {
                    coordination.without.clone_from(without);
                }
                next
            }
            None => Next::Fail,
        };
        match next {
            Next::Retry { pause_ms, .. } => Self::spawn(myself, async move {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                Work::Relaunch(key)
            }),
            Next::Fail => {
                if let Some(request) = self.requests.remove(&key) {
                    request.answer(&Err(failure_of(aborted)));
                }
            }
        }
    }

    fn send(&self, to: NodeId, session: SheetHash, body: SessionBody) {
        send(&self.args, to, session, body);
    }
}

impl Drop for SigningState {
    fn drop(&mut self) {
        // Dropping a reply port tells its client that nobody answers; an explicit failure is kinder.
        let failure = Failure::new(Code::Cancelled, "signing stopped before the request was answered");
        self.requests.take_all().for_each(|request| request.answer(&Err(failure.clone())));
    }
}

fn send(args: &SigningArgs, to: NodeId, session: SheetHash, body: SessionBody) {
    let message = PeerMessage::Session { service: Service::Signing, session, body };
    // Without a transport there are no links; their loss ends the session.
    let _ = args.transport.cast(TransportMsg::Send { to, message });
}

fn refusal(code: Code) -> SessionBody {
    SessionBody::Refuse { code, answer: None }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Chooses the signers and writes the sheet.
fn propose(
    args: &SigningArgs,
    view: &View,
    prepared: &Prepared,
    coordination: &Coordination,
    turn: u64,
) -> Result<SheetContext, Failure> {
    let request = &prepared.request;
    let scheme = request.scheme();
    let not_here = || Failure::new(Code::KeyNotFound, "the wallet has no such key on this node");
    let key = prepared.certificate.record().key(scheme).ok_or_else(not_here)?;
    let threshold = key.group.threshold();
    let participants = choose_quorum(view, scheme, &key.committee, threshold.signers(), &coordination.without, turn)
        .map_err(|error| Failure::new(Code::NotMajority, error.to_string()))?;
    let internal = || Failure::new(Code::Internal, "failed to draw a session id");
    let session = SecretBytes::random(32).map_err(|_| internal())?;
    let sheet = Sheet {
        version: SHEET_VERSION,
        cluster: args.cluster.clone(),
        session: SessionId(session.expose().try_into().map_err(|_| internal())?),
        task: Task::Sign {
            wallet: prepared.key.wallet.clone(),
            scheme,
            generation: key.generation,
            threshold,
            request_id: prepared.key.request.clone(),
            path: request.path(),
            tweak: request.tweak(),
            message: request.message().to_vec(),
            request: request.bytes().to_vec(),
        },
        participants,
        coordinator: args.identity.id(),
        attempt: coordination.attempt,
        deadline_ms: coordination.deadline_ms,
    };
    SheetContext::propose(sheet, &args.identity).map_err(|error| Failure::new(Code::MsgValidation, error.to_string()))
}

/// How a client is told of a failed session.
fn failure_of(aborted: &Aborted) -> Failure {
    let said = aborted.reported_by.map_or_else(String::new, |peer| format!(", as node {peer} says"));
    let who = match aborted.culprits.len() {
        0 => String::new(),
        _ => format!(" (node {})", aborted.culprits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let what = match aborted.code {
        Code::PeerUnavailable => "a peer disappeared",
        Code::SessionTimeout => "a peer did not answer in time",
        Code::ProtocolViolation => "a peer broke the protocol",
        Code::Equivocation => "peers disagree on what was broadcast",
        Code::PairMismatch => "a pair of nodes must renew its setup",
        Code::PairBanned => "a pair of nodes is banned",
        _ => "the session failed",
    };
    let reason = format!("{what} in round {}{who}{said}", aborted.round);
    Failure { code: aborted.code, reason, culprits: aborted.culprits.clone() }
}
