//! One real session with an engine that the test makes, its supervisor and its peers played.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorRef};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::early::EARLY_FOR;
use super::{
    Aborted, Built, CryptoPool, Hold, Intake, Outcome, PAYLOAD_DOMAIN, Post, SessionActor, SessionArgs, SessionEnd,
    SessionKit, SessionMsg, Sessions, SheetContext,
};
use crate::error::Code;
use crate::ids::{NodeId, PartyIndex, Scheme, SessionId, SheetHash, Threshold};
use crate::pairing::{BanError, Bans};
use crate::protocol::{Abort, Outgoing, Party, Progress, Recipient};
use crate::session::{Engine, Held};
use crate::supervision::{Address, Deliver, Unavailable};
use crate::testing::{Bench, PATIENCE, Probe, ProbeInbox, Silence, eventually};
use crate::transport::{Credit, TransportMsg};
use crate::wire::message::{SecretPayload, Service, SessionBody};
use crate::wire::sheet::{SHEET_VERSION, Sheet, Task};

const DEADLINE: Duration = Duration::from_secs(2);

/// Says hello to its peer in round 1, and is through when it has heard from it.
struct Greeter {
    peer: PartyIndex,
    heard: bool,
    /// Lives as long as the engine.
    _alive: Arc<()>,
}

impl Party for Greeter {
    type Output = ();

    fn start(&mut self) -> Result<Progress<()>, Abort> {
        let hello = Outgoing { to: Recipient::All, round: 1, payload: b"hello".to_vec().into() };
        Ok(Progress { send: vec![hello], ..Progress::default() })
    }

    fn receive(&mut self, _: PartyIndex, _: u8, _: &[u8]) -> Result<Progress<()>, Abort> {
        self.heard = true;
        Ok(Progress { output: Some(()), ..Progress::default() })
    }

    fn round(&self) -> u8 {
        1
    }

    fn awaited(&self) -> BTreeSet<PartyIndex> {
        if self.heard { BTreeSet::new() } else { [self.peer].into() }
    }

    fn max_payload_bytes(&self) -> usize {
        16
    }
}

struct NoBans;

impl Bans for NoBans {
    fn ban(&self, _: NodeId, _: SheetHash) -> BoxFuture<'_, Result<(), BanError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Takes what a session tells its supervisor.
struct Owner(mpsc::UnboundedSender<Outcome<()>>);

impl Deliver<SessionEnd<()>> for Owner {
    fn deliver(&self, end: SessionEnd<()>) -> Result<(), Unavailable> {
        self.0.send(end.outcome).map_err(|_| Unavailable)
    }
}

impl Deliver<Held> for Owner {
    fn deliver(&self, _: Held) -> Result<(), Unavailable> {
        Ok(())
    }
}

/// The sheet of a session of all members that this one coordinates.
fn bench_sheet(bench: &Bench, coordinator: usize) -> Sheet {
    Sheet {
        version: SHEET_VERSION,
        cluster: bench.settings.cluster.clone(),
        session: SessionId([1; 32]),
        task: Task::Keygen {
            wallet: "w".parse().unwrap(),
            schemes: vec![Scheme::Ed25519],
            threshold: bench.settings.threshold,
            request: Vec::new(),
        },
        participants: bench.peers.committee(),
        coordinator: bench.id(coordinator),
        attempt: 1,
        deadline_ms: bench.clock.now_ms() + u64::try_from(DEADLINE.as_millis()).unwrap(),
    }
}

/// What sessions of member 0 have in common.
fn kit(bench: &Bench, post: Post, owner: Arc<Owner>) -> SessionKit<()> {
    SessionKit {
        post,
        identity: Arc::clone(bench.identity(0)),
        peers: Arc::clone(&bench.peers),
        bans: Arc::new(NoBans),
        pool: bench.pool.clone(),
        clock: bench.clock,
        owner,
    }
}

/// A session of member 0 with the others.
struct Rig {
    bench: Bench,
    session: SheetHash,
    actor: ActorRef<SessionMsg<()>>,
    ends: mpsc::UnboundedReceiver<Outcome<()>>,
    engine: Arc<()>,
    post: Post,
    transport: ProbeInbox<TransportMsg>,
}

impl Rig {
    /// Starts a session that member 0 coordinates.
    async fn start(bench: Bench, hold: bool) -> Self {
        Self::start_for(bench, hold, 0).await
    }

    /// Starts a session that this member coordinates, on the pool of the bench; its messages are held, or not.
    async fn start_for(bench: Bench, hold: bool, coordinator: usize) -> Self {
        Self::start_with(bench, hold, coordinator, |party, _, _| party.into()).await
    }

    /// As [`Rig::start_for`], with what is made of the engine before the session starts.
    async fn start_with(
        bench: Bench,
        hold: bool,
        coordinator: usize,
        engine_of: impl FnOnce(Box<dyn Party<Output = ()>>, &Arc<SheetContext>, &Bench) -> Engine<()>,
    ) -> Self {
        let sheet = bench_sheet(&bench, coordinator);
        let peer = sheet.participants[1].index;
        let sheet = Arc::new(SheetContext::propose(sheet, bench.identity(coordinator)).unwrap());
        let (to_transport, transport) = Probe::start().await;
        let (owner, ends) = mpsc::unbounded_channel();
        let owner = Arc::new(Owner(owner));
        let engine = Arc::new(());
        let post = Post::new(bench.id(0), Service::Pairing, to_transport);
        let session = sheet.hash;
        let greeter = Greeter { peer, heard: false, _alive: Arc::clone(&engine) };
        let args = SessionArgs {
            engine: engine_of(Box::new(greeter), &sheet, &bench),
            sheet,
            hold: hold.then(|| Hold {
                from_round: 1,
                until_finished: false,
                told: Arc::clone(&owner) as Arc<dyn Deliver<Held>>,
            }),
            kit: kit(&bench, post.clone(), owner),
        };
        let (actor, _) = Actor::spawn(None, SessionActor::default(), args).await.unwrap();
        Self { bench, session, actor, ends, engine, post, transport }
    }

    /// The peer says hello.
    fn greet(&self) {
        let signature = self.bench.identity(1).sign(PAYLOAD_DOMAIN, &[&self.session.0, &[1, 2, 0], b"hello"]);
        let payload = SecretPayload(b"hello".to_vec().into());
        let body = SessionBody::Round { round: 1, to: None, payload, signature };
        self.actor.cast(SessionMsg::Peer { from: self.bench.id(1), body, credit: Credit::none() }).unwrap();
    }

    async fn aborted(&mut self) -> Aborted {
        match timeout(PATIENCE, self.ends.recv()).await.unwrap().unwrap() {
            Outcome::Aborted(aborted) => aborted,
            Outcome::Done(()) => panic!("the session succeeded"),
        }
    }
}

/// An engine that has taken its first step.
fn started(party: Box<dyn Party<Output = ()>>, sheet: &Arc<SheetContext>, bench: &Bench) -> Engine<()> {
    Engine::started(party, sheet, bench.identity(0), &bench.peers).unwrap()
}

fn bench() -> Bench {
    let mut bench = Bench::new(Threshold::new(2, 2).unwrap());
    bench.pool = CryptoPool::new(1);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline__should_name_the_peer_that_said_nothing() {
    let mut rig = Rig::start(bench(), false).await;
    let aborted = rig.aborted().await;
    assert_eq!((aborted.code, aborted.culprits), (Code::SessionTimeout, [rig.bench.id(1)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn abort__should_be_passed_on_by_the_coordinator_alone() {
    for coordinator in [0, 1] {
        let bench = Bench::new(Threshold::new(2, 3).unwrap());
        let mut rig = Rig::start_for(bench, false, coordinator).await;
        // Member 1 has no link to member 2, which does not hear of it.
        let culprits = vec![rig.bench.id(2)];
        let body = SessionBody::Abort { code: Code::PeerUnavailable, culprits: culprits.clone(), round: 1 };
        rig.actor.cast(SessionMsg::Peer { from: rig.bench.id(1), body, credit: Credit::none() }).unwrap();
        let aborted = rig.aborted().await;
        assert_eq!((aborted.code, aborted.reported_by), (Code::PeerUnavailable, Some(rig.bench.id(1))));
        let (me, mut told) = (rig.bench.id(0), BTreeSet::new());
        // What it has sent is before this.
        rig.post.refuse(me, rig.session, Code::Cancelled);
        loop {
            match rig.transport.sent(rig.session).await {
                (to, _) if to == me => break,
                (to, SessionBody::Abort { code, culprits: named, .. }) => {
                    assert_eq!((code, &named), (Code::PeerUnavailable, &culprits));
                    told.insert(to);
                }
                _ => {}
            }
        }
        assert_eq!(told.contains(&rig.bench.id(2)), coordinator == 0, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline__should_name_this_node_when_only_its_own_computing_is_awaited() {
    for starts in [false, true] {
        let bench = bench();
        let pool = bench.pool.clone();
        let silent_from_the_start = if starts { None } else { Some(Silence::of(&pool, 1).await) };
        let mut rig = Rig::start(bench, false).await;
        // Whichever step of the engine waits then.
        let silent_after_the_start = if starts { Some(Silence::of(&pool, 1).await) } else { None };
        rig.greet();
        let aborted = rig.aborted().await;
        assert_eq!((aborted.code, aborted.culprits), (Code::SessionTimeout, [rig.bench.id(0)].into()), "{starts}");
        drop((silent_from_the_start, silent_after_the_start));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline__should_name_this_node_when_its_own_messages_are_held() {
    let mut rig = Rig::start(bench(), true).await;
    rig.greet();
    let aborted = rig.aborted().await;
    assert_eq!((aborted.code, aborted.culprits), (Code::SessionTimeout, [rig.bench.id(0)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn engine__should_be_gone_with_its_session_when_it_waits_for_the_pool() {
    let bench = bench();
    let silence = Silence::of(&bench.pool, 1).await;
    let mut rig = Rig::start(bench, false).await;
    rig.actor.cast(SessionMsg::cancel(Code::Cancelled)).unwrap();
    assert_eq!(rig.aborted().await.code, Code::Cancelled);
    eventually("the engine is gone", async || Arc::strong_count(&rig.engine) == 1).await.unwrap();
    drop(silence);
}

#[tokio::test(flavor = "multi_thread")]
async fn pool__should_not_take_more_than_its_width_when_callers_go() {
    let pool = CryptoPool::new(1);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (running, is_running) = tokio::sync::oneshot::channel();
    let first = pool.clone();
    let caller = tokio::spawn(async move {
        let work = move || {
            let _ = running.send(());
            let _ = released.recv();
        };
        let _ = first.run(work).await;
    });
    is_running.await.unwrap();
    caller.abort();
    let _ = caller.await;
    // Its caller is gone, and it still computes.
    assert!(timeout(Duration::from_millis(100), pool.run(|| ())).await.is_err());
    drop(release);
    timeout(PATIENCE, pool.run(|| ())).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_go_on_from_the_step_that_its_engine_has_taken() {
    for hold in [false, true] {
        let mut rig = Rig::start_with(bench(), hold, 0, started).await;
        rig.greet();
        if hold {
            rig.actor.cast(SessionMsg::Release).unwrap();
        }
        let outcome = timeout(PATIENCE, rig.ends.recv()).await.unwrap().unwrap();
        assert!(matches!(outcome, Outcome::Done(())), "{outcome:?}");
        // It has said hello, once.
        rig.post.refuse(rig.bench.id(0), rig.session, Code::Cancelled);
        let (to, body) = rig.transport.sent(rig.session).await;
        assert!(to == rig.bench.id(1) && matches!(body, SessionBody::Round { round: 1, .. }), "{body:?}");
        let (_, body) = rig.transport.sent(rig.session).await;
        assert!(matches!(body, SessionBody::Refuse { .. }), "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn early_messages__should_wait_for_as_long_as_their_proposal_is_checked() {
    let bench = bench();
    let (owner, _ends) = mpsc::unbounded_channel();
    let post = Post::new(bench.id(0), Service::Pairing, Address::default());
    let mut sessions = Sessions::new(kit(&bench, post, Arc::new(Owner(owner))));
    let (mut intake, [proposed, never]) = (Intake::new(4), [SheetHash([1; 32]), SheetHash([2; 32])]);
    let hello = || SessionBody::Abort { code: Code::Cancelled, culprits: Vec::new(), round: 1 };
    assert!(sessions.proposed(&mut intake, bench.id(1), proposed, 0));
    for session in [proposed, never] {
        sessions.route(session, bench.id(1), hello(), Credit::none());
    }
    tokio::time::advance(2 * EARLY_FOR).await;
    // Whatever comes lets go of what has waited too long.
    sessions.route(proposed, bench.id(1), hello(), Credit::none());
    assert_eq!(sessions.dropped(), 1, "what nobody announced");
    assert!(sessions.checked(&mut intake, bench.id(1), proposed));
    sessions.ended(proposed);
    assert_eq!(sessions.dropped(), 3, "both were there to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_not_start_without_a_peer_that_was_lost_and_should_name_it() {
    for coordinator in [0, 1] {
        let mut rig = Rig::start(Bench::new(Threshold::new(2, 3).unwrap()), true).await;
        let (owner, _ends) = mpsc::unbounded_channel();
        let mut sessions = Sessions::new(kit(&rig.bench, rig.post.clone(), Arc::new(Owner(owner))));
        let mut sheet = bench_sheet(&rig.bench, coordinator);
        sheet.session = SessionId([2; 32]);
        let sheet = Arc::new(SheetContext::propose(sheet, rig.bench.identity(coordinator)).unwrap());
        let (session, [first, lost]) = (sheet.hash, [1, 2].map(|index| rig.bench.id(index)));
        let mut intake = Intake::new(4);
        let taken = match coordinator {
            0 => sessions.begin(&sheet),
            _ => sessions.proposed(&mut intake, first, session, 0),
        };
        assert!(taken);
        let lost = if coordinator == 0 { lost } else { first };
        sessions.peer_down(lost);
        let greeter = Greeter { peer: sheet.sheet.participants[1].index, heard: false, _alive: Arc::new(()) };
        let party: Box<dyn Party<Output = ()>> = Box::new(greeter);
        let built = Ok(Box::new(Built { sheet, engine: party.into() }));
        let (from, cell) = (rig.bench.id(coordinator), rig.actor.get_cell());
        let started = sessions.start_built(&mut intake, from, session, built, cell).await;
        let expected = (Code::PeerUnavailable, [lost].into());
        assert_eq!(started, if coordinator == 0 { Err(expected) } else { Ok(()) });
        for _ in 0..2 {
            let (_, body) = rig.transport.sent(session).await;
            assert!(matches!(&body, SessionBody::Abort { culprits, .. } if *culprits == [lost]), "{body:?}");
        }
        assert!(sessions.is_empty() && sessions.knows(session));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn name_of_a_session__should_stay_free_when_a_peer_proposes_nonsense_under_it() {
    let mut rig = Rig::start(Bench::new(Threshold::new(2, 3).unwrap()), true).await;
    let (owner, _ends) = mpsc::unbounded_channel();
    let mut sessions = Sessions::new(kit(&rig.bench, rig.post.clone(), Arc::new(Owner(owner))));
    let (mut intake, session, forger) = (Intake::new(4), SheetHash([2; 32]), rig.bench.id(2));
    assert!(sessions.proposed(&mut intake, forger, session, 0));
    let nonsense = Err(Code::MsgValidation);
    let started = sessions.start_built(&mut intake, forger, session, nonsense, rig.actor.get_cell()).await;
    assert_eq!(started, Ok(()), "it is the forger's to learn of");
    let (to, body) = rig.transport.sent(session).await;
    assert!(to == forger && matches!(body, SessionBody::Refuse { code: Code::MsgValidation, .. }), "{body:?}");
    assert!(sessions.proposed(&mut intake, rig.bench.id(1), session, 0), "the one that it belongs to comes later");
}

#[test]
fn engine__should_not_start_for_a_session_without_this_node() {
    let bench = Bench::new(Threshold::new(2, 3).unwrap());
    let mut sheet = bench_sheet(&bench, 1);
    sheet.participants[0].node = NodeId(uuid::Uuid::from_u128(7));
    let sheet = Arc::new(SheetContext::propose(sheet, bench.identity(1)).unwrap());
    let greeter = Greeter { peer: sheet.sheet.participants[0].index, heard: false, _alive: Arc::new(()) };
    assert!(Engine::started(Box::new(greeter), &sheet, bench.identity(0), &bench.peers).is_none());
}
