//! Two links, or one and a peer that the test plays, on a wire and a clock that the test holds.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use uuid::Uuid;

use super::message::{Beat, Control};
use super::state::{Command, Dropped, Link, Step};
use super::*;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::secret::SecretBytes;
use crate::transport::noise::{Content, Hello, Initiation, LinkKeys, Plaintext, Session};
use crate::transport::{DownReason, LinkConfig};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{PeerMessage, Service, SessionBody};

const SECOND: Duration = Duration::from_secs(1);

fn node(id: u8) -> NodeId {
    NodeId(Uuid::from_u128(id.into()))
}

fn keys(me: u8, peer: u8) -> Arc<LinkKeys> {
    let identity = |id: u8| SigningKey::from_bytes(&[id; 32]);
    let secret = Arc::new(SecretBytes::copy_from(&identity(me).to_scalar_bytes()));
    let cluster = "c".parse().unwrap();
    Arc::new(LinkKeys::new(&secret, &cluster, node(me), node(peer), &identity(peer).verifying_key()).unwrap())
}

fn link(me: u8, peer: u8) -> Link {
    Link::new(node(me), keys(me, peer), LinkConfig::default(), Readiness { serving: true, pairs: vec![] })
}

fn message(tag: u8) -> PeerMessage {
    PeerMessage::Session {
        service: Service::Signing,
        session: SheetHash([tag; 32]),
        body: SessionBody::Refuse { code: Code::Internal, answer: None },
    }
}

fn tag(message: &PeerMessage) -> u8 {
    match message {
        PeerMessage::Session { session, .. } => session.0[0],
        _ => panic!("not made by these tests"),
    }
}

/// What one side of the wire has said to its node.
#[derive(Default)]
struct Side {
    ups: usize,
    delivered: Vec<u8>,
    serving: bool,
    dropped: Vec<Dropped>,
    down: Option<DownReason>,
}

/// Whether the frame arrives that is sent to the node at this position.
type Carries = Box<dyn Fn(usize, &Frame) -> bool>;

/// Node 1, the initiator, and node 2.
struct Wire {
    links: [Link; 2],
    sides: [Side; 2],
    now: Duration,
    /// All frames that were ever sent: to whom, and what.
    sent: Vec<(usize, Frame)>,
    /// Which frames arrive.
    carries: Carries,
}

impl Wire {
    fn new() -> Self {
        let mut wire = Self {
            links: [link(1, 2), link(2, 1)],
            sides: Default::default(),
            now: Duration::ZERO,
            sent: vec![],
            carries: Box::new(|_, _| true),
        };
        wire.wake();
        wire
    }

    fn up() -> Self {
        let wire = Self::new();
        assert!(wire.links.iter().all(Link::is_up));
        wire
    }

    fn wake(&mut self) {
        for side in 0..2 {
            let now = self.now;
            self.step(side, |link| link.wake(now));
        }
    }

    /// Lets a link act, and carries what follows until nothing does. A link that is down stays as it is.
    fn step(&mut self, side: usize, act: impl FnOnce(&mut Link) -> Step) {
        if self.sides[side].down.is_some() {
            return;
        }
        let commands = match act(&mut self.links[side]) {
            Ok(commands) => commands,
            Err(reason) => {
                self.sides[side].down = Some(reason);
                self.links[side].goodbye().into_iter().map(Command::Publish).collect()
            }
        };
        for command in commands {
            match command {
                Command::Publish(bytes) => self.carry(1 - side, Frame::decode(&bytes).unwrap()),
                Command::Deliver(message) => self.sides[side].delivered.push(tag(&message)),
                Command::Up { .. } => self.sides[side].ups += 1,
                Command::Readiness { readiness, .. } => self.sides[side].serving = readiness.serving,
                Command::Drop(why) => self.sides[side].dropped.push(why),
            }
        }
    }

    fn carry(&mut self, to: usize, frame: Frame) {
        self.sent.push((to, frame.clone()));
        if (self.carries)(to, &frame) {
            self.inject(to, &frame);
        }
    }

    fn inject(&mut self, to: usize, frame: &Frame) {
        let now = self.now;
        self.step(to, |link| link.receive(frame, false, now));
    }

    fn send(&mut self, from: usize, tag: u8) {
        self.step(from, |link| link.send(&message(tag)));
    }

    /// Lets time pass, waking the links when they ask for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = |side: usize| self.links[side].next_wake(self.now).filter(|_| self.sides[side].down.is_none());
            match [due(0), due(1)].into_iter().flatten().min() {
                Some(next) if next <= end => {
                    assert!(self.now < next || next.is_zero(), "a link that was woken has nothing left to do");
                    self.now = next.max(self.now);
                    self.wake();
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Starts one side anew, as after a failure.
    fn restart(&mut self, side: usize) {
        self.links[side] = if side == 0 { link(1, 2) } else { link(2, 1) };
        self.sides[side] = Side::default();
    }

    fn frames(&self, kind: FrameKind) -> Vec<(usize, Frame)> {
        self.sent.iter().filter(|(_, frame)| frame.kind == kind).cloned().collect()
    }
}

#[test]
fn link__should_come_up_on_both_sides_once_and_carry_messages() {
    let mut wire = Wire::up();
    wire.send(0, 1);
    wire.send(1, 2);
    wire.pass(60 * SECOND);
    for (side, got) in [(0, 2), (1, 1)] {
        assert_eq!(wire.sides[side].ups, 1);
        assert_eq!(wire.sides[side].delivered, [got]);
        assert!(wire.sides[side].serving);
        assert!(wire.sides[side].dropped.is_empty());
        assert_eq!(wire.sides[side].down, None);
    }
}

#[test]
fn link__should_not_be_up_before_both_directions_are_proven() {
    let mut wire = Wire::new();
    wire.restart(0);
    wire.restart(1);
    wire.sent.clear();
    wire.carries = Box::new(|_, frame| frame.kind != FrameKind::Data);
    wire.pass(30 * SECOND);
    assert!(!wire.links.iter().any(Link::is_up));
    let written_by_responder = wire.sent.iter().filter(|(to, frame)| *to == 0 && frame.kind == FrameKind::Data);
    assert_eq!(written_by_responder.count(), 0, "the peer has not proved itself");
    wire.carries = Box::new(|_, _| true);
    wire.pass(2 * SECOND);
    assert!(wire.links.iter().all(Link::is_up));
}

#[test]
fn silence__should_be_noticed_at_the_heartbeat_limit() {
    let mut wire = Wire::up();
    wire.pass(10 * SECOND);
    wire.carries = Box::new(|_, _| false);
    wire.pass(4 * SECOND);
    assert_eq!(wire.sides.map(|side| side.down), [Some(DownReason::Silent); 2]);
}

#[test]
fn half_open__should_be_noticed_by_both_sides() {
    for deaf in 0..2 {
        let mut wire = Wire::up();
        wire.carries = Box::new(move |to, _| to != deaf);
        wire.pass(4 * SECOND);
        assert!(wire.sides.iter().all(|side| side.down.is_some()), "deaf side {deaf}");
    }
}

#[test]
fn loss_of_a_heartbeat__should_not_end_a_link() {
    let mut wire = Wire::up();
    for _ in 0..10 {
        wire.carries = Box::new(|_, _| false);
        wire.pass(2 * SECOND);
        wire.carries = Box::new(|_, _| true);
        wire.pass(SECOND);
    }
    assert_eq!(wire.sides.map(|side| side.down), [None, None]);
}

#[test]
fn rekey__should_happen_beside_a_working_link() {
    let mut wire = Wire::up();
    let first = wire.frames(FrameKind::Init)[0].1.link;
    wire.pass(599 * SECOND);
    // Held back on the way, and delivered when the new keys are in use.
    let before = wire.sent.len();
    wire.carries = Box::new(|_, _| false);
    wire.send(0, 7);
    let late = wire.sent[before].1.clone();
    wire.carries = Box::new(|_, _| true);
    wire.pass(2 * SECOND);
    let inits = wire.frames(FrameKind::Init);
    assert_eq!(inits.len(), 2);
    assert_eq!(late.link, first);
    wire.inject(1, &late);
    wire.send(0, 8);
    assert_ne!(wire.sent.last().unwrap().1.link, first);
    assert_eq!(wire.sides[1].delivered, [7, 8]);
    assert_eq!(wire.sides.each_ref().map(|side| (side.ups, side.down)), [(1, None); 2]);
    wire.pass(10 * SECOND);
    wire.inject(1, &late);
    assert_eq!(wire.sides[1].dropped, [Dropped::Stale], "old keys are gone after a while");
}

#[test]
fn rekey__should_follow_the_number_of_records() {
    let mut wire = Wire::up();
    let config = LinkConfig { rekey_after_records: 50, ..LinkConfig::default() };
    wire.links = [(1, 2), (2, 1)].map(|(me, peer)| Link::new(node(me), keys(me, peer), config, Readiness::default()));
    wire.sides = Default::default();
    wire.sent.clear();
    wire.wake();
    for count in 0..200 {
        wire.send(1, count);
        wire.pass(SECOND / 10);
    }
    assert!(wire.frames(FrameKind::Init).len() >= 4);
    assert_eq!(wire.sides[0].delivered.len(), 200);
    assert_eq!(wire.sides.map(|side| (side.ups, side.down)), [(1, None); 2]);
}

#[test]
fn rekey__should_be_enforced_where_somebody_suppresses_it() {
    let mut wire = Wire::up();
    wire.carries = Box::new(|_, frame| frame.kind == FrameKind::Data);
    wire.pass(1799 * SECOND);
    assert_eq!(wire.sides.each_ref().map(|side| side.down), [None, None]);
    wire.pass(2 * SECOND);
    assert!(wire.sides.iter().any(|side| side.down == Some(DownReason::KeysExpired)));
}

#[test]
fn replayed_handshakes__should_not_touch_a_live_link() {
    let mut wire = Wire::up();
    // Recorded from three lives of the initiator.
    for _ in 0..2 {
        wire.restart(0);
        wire.restart(1);
        wire.wake();
    }
    let recorded = [wire.frames(FrameKind::Init), wire.frames(FrameKind::Response)].concat();
    for _ in 0..700 {
        for (to, frame) in &recorded {
            wire.inject(*to, frame);
        }
        wire.pass(SECOND);
    }
    wire.send(0, 5);
    assert_eq!(wire.sides[1].delivered, [5]);
    assert_eq!(wire.sides.each_ref().map(|side| (side.ups, side.down)), [(1, None); 2]);
    assert_eq!(wire.frames(FrameKind::Init).len(), 4, "and the keys were replaced all the same");
}

#[test]
fn first_messages__should_be_computed_on_a_few_times_a_second() {
    let mut peer = Peer::new();
    for attempt in 0..100 {
        peer.start(Hello { life: 5, attempt });
    }
    let limit = LinkConfig::default().handshakes_per_second as usize;
    assert_eq!((peer.answers, peer.dropped.len()), (limit, 100 - limit));
    assert!(peer.dropped.iter().all(|why| *why == Dropped::OverLimit));
}

#[test]
fn repeated_first_message__should_get_the_same_answer() {
    let (mut responder, now) = (link(2, 1), Duration::ZERO);
    let (_, init) = Initiation::start(&keys(1, 2), 4, Hello { life: 5, attempt: 1 }).unwrap();
    let init = Frame::handshake(node(1), FrameKind::Init, 4, init);
    let mut answer = || match responder.receive(&init, false, now).unwrap().pop() {
        Some(Command::Publish(frame)) => frame,
        _ => panic!("no answer"),
    };
    assert_eq!(answer(), answer());
}

#[test]
fn restart__should_be_noticed_by_the_other_side_at_once_whoever_restarted() {
    for side in 0..2 {
        let mut wire = Wire::up();
        wire.pass(10 * SECOND);
        wire.restart(side);
        wire.wake();
        assert_eq!(wire.sides[1 - side].down, Some(DownReason::PeerRestarted), "side {side}");
        wire.restart(1 - side);
        wire.wake();
        wire.pass(4 * SECOND);
        assert!(wire.links.iter().all(Link::is_up), "side {side}");
    }
}

#[test]
fn responder__should_ask_for_a_handshake_again_until_it_has_keys() {
    let mut wire = Wire::up();
    wire.restart(1);
    wire.carries = Box::new(|_, frame| frame.kind != FrameKind::Request);
    wire.sent.clear();
    wire.wake();
    wire.pass(SECOND);
    assert_eq!(wire.sides[0].down, None, "it has heard nothing yet");
    assert_eq!(wire.frames(FrameKind::Request).len(), 3);
    wire.carries = Box::new(|_, _| true);
    wire.pass(SECOND);
    assert_eq!(wire.sides[0].down, Some(DownReason::PeerRestarted));
    wire.restart(0);
    wire.wake();
    wire.sent.clear();
    wire.pass(60 * SECOND);
    assert!(wire.frames(FrameKind::Request).is_empty(), "it has keys");
}

#[test]
fn first_message__should_be_repeated_for_a_responder_that_has_just_come() {
    let mut wire = Wire::new();
    wire.restart(0);
    wire.restart(1);
    wire.sent.clear();
    // Nobody is there to hear the first messages; the pauses between them have grown.
    wire.carries = Box::new(|to, _| to == 0);
    wire.pass(9 * SECOND);
    wire.carries = Box::new(|_, _| true);
    wire.restart(1);
    wire.wake();
    assert!(wire.links.iter().all(Link::is_up));
}

#[test]
fn requests__should_cost_a_live_link_a_few_handshakes_and_nothing_else() {
    let mut wire = Wire::up();
    let first = wire.frames(FrameKind::Init)[0].1.link;
    let asked = Frame::request(node(2));
    wire.sent.clear();
    for count in 0..100 {
        for _ in 0..50 {
            wire.inject(0, &asked);
            // The responder begins no handshakes.
            wire.inject(1, &Frame::request(node(1)));
        }
        wire.send(0, count);
        wire.pass(SECOND / 10);
    }
    let most = (10 * SECOND).div_duration_f64(LinkConfig::default().requested_handshake_interval) as usize + 1;
    let begun = wire.frames(FrameKind::Init).len();
    assert!((2..=most).contains(&begun), "{begun} of at most {most}");
    assert_eq!(wire.sides[1].delivered.len(), 100);
    assert!(wire.frames(FrameKind::Data).iter().all(|(_, frame)| frame.link == first), "the keys stay");
    assert_eq!(wire.sides.each_ref().map(|side| (side.ups, side.down)), [(1, None); 2]);
    assert!(wire.sides[0].dropped.iter().all(|why| *why == Dropped::OverLimit));
    assert!(wire.sides[1].dropped.iter().all(|why| *why == Dropped::Stale));
}

#[test]
fn requests__should_not_keep_keys_from_being_replaced_nor_links_from_coming_up() {
    let mut wire = Wire::new();
    wire.restart(0);
    wire.restart(1);
    wire.sent.clear();
    wire.wake();
    let asked = Frame::request(node(2));
    for _ in 0..7000 {
        wire.inject(0, &asked);
        wire.pass(SECOND / 10);
    }
    let links: std::collections::BTreeSet<u64> =
        wire.frames(FrameKind::Data).into_iter().map(|(_, frame)| frame.link).collect();
    assert_eq!(links.len(), 2, "replaced once, after ten minutes");
    assert_eq!(wire.sides.each_ref().map(|side| (side.ups, side.down)), [(1, None); 2]);
}

#[test]
fn request__should_find_a_restart_also_when_others_have_used_up_the_limit() {
    let mut wire = Wire::up();
    wire.pass(10 * SECOND);
    for _ in 0..3 {
        wire.inject(0, &Frame::request(node(2)));
    }
    wire.restart(1);
    wire.wake();
    wire.pass(LinkConfig::default().requested_handshake_interval);
    assert_eq!(wire.sides[0].down, Some(DownReason::PeerRestarted));
}

#[test]
fn responder_restart__should_be_noticed_in_a_rekey() {
    let mut wire = Wire::up();
    wire.pass(599 * SECOND + SECOND / 2);
    wire.carries = Box::new(|_, frame| frame.kind != FrameKind::Request);
    wire.restart(1);
    wire.pass(SECOND);
    assert_eq!(wire.sides[0].down, Some(DownReason::PeerRestarted));
}

#[test]
fn goodbye__should_end_the_link_at_once() {
    let mut wire = Wire::up();
    let frames = wire.links[0].goodbye();
    for frame in frames {
        wire.inject(1, &Frame::decode(&frame).unwrap());
    }
    assert_eq!(wire.sides[1].down, Some(DownReason::Goodbye));
}

/// A peer with the lower id that the test plays, and the responder it talks to.
struct Peer {
    link: Link,
    session: Option<Session>,
    answers: usize,
    dropped: Vec<Dropped>,
}

impl Peer {
    fn new() -> Self {
        Self { link: link(2, 1), session: None, answers: 0, dropped: vec![] }
    }

    fn up() -> Self {
        let mut peer = Self::new();
        peer.start(Hello { life: 5, attempt: 1 });
        assert!(matches!(peer.say(Content::Control, &beat(1, 0)).unwrap()[..], [Command::Up { .. }, ..]));
        assert!(peer.link.is_up());
        peer
    }

    fn start(&mut self, hello: Hello) {
        let link = 100 + hello.attempt;
        let (mut initiation, init) = Initiation::start(&keys(1, 2), link, hello).unwrap();
        let init = Frame::handshake(node(1), FrameKind::Init, link, init);
        match self.link.receive(&init, false, Duration::ZERO).unwrap().pop() {
            Some(Command::Publish(response)) => {
                let response = Frame::decode(&response).unwrap();
                self.session = Some(initiation.finish(&response.records[0]).unwrap().0);
                self.answers += 1;
            }
            Some(Command::Drop(why)) => self.dropped.push(why),
            _ => panic!("neither answered nor dropped"),
        }
    }

    /// Says something authentic; gives what the link does about it.
    fn say(&mut self, content: Content, bytes: &[u8]) -> Step {
        let session = self.session.as_mut().unwrap();
        let sealed = session.seal(content, Plaintext::copy_of(bytes)).unwrap();
        let frame = Frame::data(node(1), session.link(), sealed.counter, sealed.records);
        self.link.receive(&frame, false, Duration::ZERO)
    }
}

fn beat(sequence: u64, heard: u64) -> Vec<u8> {
    Control::Beat(Beat { sequence, heard, answer: true, readiness: Readiness::default() }).encode().unwrap()
}

#[test]
fn authentic_nonsense__should_end_the_link() {
    let cases = [
        ("no control message", Content::Control, vec![0xc1]),
        ("bytes after a beat", Content::Control, [beat(2, 0), vec![0]].concat()),
        ("a beat that acknowledges the future", Content::Control, beat(2, 1 << 40)),
        ("no peer message", Content::Message, vec![0x91]),
        ("an empty one", Content::Message, vec![]),
        ("a beat as a message", Content::Message, beat(2, 0)),
    ];
    for (name, content, bytes) in cases {
        assert_eq!(Peer::up().say(content, &bytes).err(), Some(DownReason::Violation), "{name}");
    }
}

#[test]
fn reserve__should_be_for_the_links_own_messages() {
    let mut peer = Peer::up();
    let session = peer.session.as_mut().unwrap();
    let mut receive = |content, bytes: &[u8]| {
        let sealed = session.seal(content, Plaintext::copy_of(bytes)).unwrap();
        let frame = Frame::data(node(1), session.link(), sealed.counter, sealed.records);
        peer.link.receive(&frame, true, Duration::ZERO).unwrap()
    };
    let bytes = message::encode_message(&self::message(1)).unwrap();
    assert!(matches!(receive(Content::Message, &bytes)[..], [Command::Drop(Dropped::OverLimit)]));
    assert!(matches!(receive(Content::Control, &beat(2, 0))[..], [Command::Readiness { .. }]));
}

#[test]
fn earlier_attempt__should_not_take_the_place_of_a_later_one() {
    let mut peer = Peer::up();
    peer.start(Hello { life: 5, attempt: 3 });
    let third = peer.session.take();
    for attempt in [2, 3, 1] {
        peer.start(Hello { life: 5, attempt });
    }
    assert_eq!(peer.dropped, [Dropped::Stale; 3]);
    for life in 10..20 {
        peer.start(Hello { life, attempt: life });
    }
    peer.session = third;
    assert_eq!(peer.dropped.len(), 3, "replays of other lives are answered");
    let bytes = message::encode_message(&self::message(1)).unwrap();
    assert!(matches!(peer.say(Content::Message, &bytes).unwrap()[..], [Command::Deliver(_)]));
}
