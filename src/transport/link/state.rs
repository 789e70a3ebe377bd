//! A link as a value: frames, messages and times in, commands out.
//!
//! ```text
//!                 Response / Init answered          first authentic record
//!   no session ───────────────────────▶ candidate ───────────────────────▶ current ──▶ previous ──▶ wiped
//!                                        (rekey: the same, beside a current one)
//! ```
//!
//! A record proves both directions to whoever opens it: the initiator sends none before it has the response, and the
//! responder none before it has opened one. So the first authentic record is what makes a link *up*, on either side.

use std::sync::Arc;
use std::time::Duration;

use super::beats::Heartbeats;
use super::handshakes::{Handshakes, Refused};
use super::message::{Control, Readiness, decode_message, encode_message};
use crate::ids::NodeId;
use crate::transport::DownReason;
use crate::transport::broker::PublishError;
use crate::transport::config::LinkConfig;
use crate::transport::noise::{Content, Hello, LinkKeys, NoiseError, Opened, Plaintext, Session};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{MAX_LISTED_NODES, PeerMessage};

/// How many times its age or number of records at which they should be replaced keys may reach.
const OVERDUE: u32 = 3;

/// What the link's actor is to do.
pub(super) enum Command {
    /// Publish this frame to the peer.
    Publish(Vec<u8>),
    /// Hand this message to its service.
    Deliver(PeerMessage),
    /// The link is up.
    Up {
        /// The round-trip time of the handshake.
        rtt: Duration,
    },
    /// The peer said this about itself.
    Readiness {
        /// What it said.
        readiness: Readiness,
        /// The round-trip time.
        rtt: Duration,
    },
    /// Count what was not taken.
    Drop(Dropped),
}

/// Why a frame or message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Dropped {
    /// It is not from the peer, or was altered.
    NotAuthentic,
    /// It was seen before, or is too old.
    Replayed,
    /// A handshake message that nothing waits for, or under keys that are not known (any more).
    Stale,
    /// It came beyond a limit.
    OverLimit,
    /// A local message that does not fit a frame.
    TooLong,
}

/// What follows from an event: commands, or the end of the link.
pub(super) type Step = Result<Vec<Command>, DownReason>;

/// A session in use.
struct Current {
    session: Session,
    peer: Hello,
    since: Duration,
}

/// One life of the link to one peer. Times count from its start.
pub(super) struct Link {
    me: NodeId,
    config: LinkConfig,
    handshakes: Handshakes,
    beats: Heartbeats,
    current: Option<Current>,
    /// The keys before these, and until when records under them are still read.
    previous: Option<(Session, Duration)>,
    next_beat: Duration,
    readiness: Readiness,
}

impl Link {
    pub(super) fn new(me: NodeId, keys: Arc<LinkKeys>, config: LinkConfig, readiness: Readiness) -> Self {
        Self {
            me,
            config,
            handshakes: Handshakes::new(me, keys, config, rand::random()),
            beats: Heartbeats::new(),
            current: None,
            previous: None,
            next_beat: Duration::ZERO,
            readiness,
        }
    }

    /// Whether it is up.
    pub(super) fn is_up(&self) -> bool {
        self.current.is_some()
    }

    /// A frame came. `reserved` says that there was room left only for what links say to each other.
    pub(super) fn receive(&mut self, frame: &Frame, reserved: bool, now: Duration) -> Step {
        let mut commands = Vec::new();
        match (frame.kind, frame.records.as_slice()) {
            (FrameKind::Request, _) => match self.handshakes.ask() {
                Ok(()) => commands.extend(self.wake(now)?),
                Err(refused) => commands.push(Command::Drop(refused.into())),
            },
            (FrameKind::Init, [init]) => {
                let present = self.current.as_ref().map(|current| current.peer);
                commands.push(match self.handshakes.answer(frame.link, init, present, now) {
                    Ok(response) => Command::Publish(response),
                    Err(refused) => Command::Drop(refused.into()),
                });
            }
            (FrameKind::Response, [response]) => match self.handshakes.finish(frame.link, response, now) {
                Ok(peer) => {
                    self.still_same_life(peer)?;
                    if self.wants_keys(now) {
                        self.next_beat = now;
                        commands.extend(self.wake(now)?);
                    } else {
                        // Somebody asked for it: the peer lives the life that it lived.
                        self.handshakes.discard(frame.link);
                    }
                }
                Err(refused) => commands.push(Command::Drop(refused.into())),
            },
            (FrameKind::Data, _) => match self.open(frame) {
                Ok(opened) => self.take(frame.link, &opened, reserved, now, &mut commands)?,
                Err(dropped) => commands.push(Command::Drop(dropped)),
            },
            (FrameKind::Init | FrameKind::Response, _) => commands.push(Command::Drop(Dropped::NotAuthentic)),
        }
        Ok(commands)
    }

    /// Seals a message for the peer.
    pub(super) fn send(&mut self, message: &PeerMessage) -> Step {
        let Some(current) = &mut self.current else {
            return Ok(vec![Command::Drop(Dropped::Stale)]);
        };
        let Ok(bytes) = encode_message(message) else {
            return Ok(vec![Command::Drop(Dropped::TooLong)]);
        };
        seal(self.me, &mut current.session, Content::Message, bytes).map(|frame| vec![Command::Publish(frame)])
    }

    /// From now on, this node says this about itself.
    pub(super) fn set_readiness(&mut self, mut readiness: Readiness, now: Duration) -> Step {
        readiness.pairs.truncate(MAX_LISTED_NODES);
        if self.readiness == readiness {
            return Ok(Vec::new());
        }
        self.readiness = readiness;
        self.next_beat = now;
        self.wake(now)
    }

    /// The broker did not take a frame. Before the link is up that is nothing: the handshake repeats itself.
    pub(super) fn publish_failed(&self, error: PublishError) -> Result<(), DownReason> {
        match error {
            _ if !self.is_up() => Ok(()),
            PublishError::NoResponders => Err(DownReason::NoResponders),
            PublishError::Disconnected => Err(DownReason::BrokerLost),
            PublishError::Refused => Err(DownReason::BrokerRefused),
        }
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Duration) -> Step {
        if self.is_up() && now >= self.lost_at() {
            return Err(DownReason::Silent);
        }
        if self.keys_worn(OVERDUE, now) {
            return Err(DownReason::KeysExpired);
        }
        self.previous.take_if(|(_, until)| *until <= now);
        let mut commands = Vec::new();
        let wanted = self.wants_keys(now);
        if let Some(frame) = self.handshakes.wake(wanted, now).map_err(|_| DownReason::Engine)? {
            commands.push(Command::Publish(frame));
        }
        if now >= self.next_beat && self.has_writable_session() {
            self.next_beat = now + self.config.heartbeat;
            self.beat(false, now, &mut commands)?;
        }
        Ok(commands)
    }

    /// When to [`wake`](Self::wake) it next.
    pub(super) fn next_wake(&self, now: Duration) -> Option<Duration> {
        let current = self.current.as_ref();
        let rekey = current.filter(|_| self.handshakes.is_initiator()).map(|c| c.since + self.config.rekey_after);
        let times = [
            self.has_writable_session().then_some(self.next_beat),
            current.map(|_| self.lost_at()),
            rekey.filter(|at| *at > now),
            current.map(|current| current.since + self.config.rekey_after * OVERDUE),
            self.previous.as_ref().map(|(_, until)| *until),
            self.handshakes.next_wake(self.wants_keys(now)),
        ];
        times.into_iter().flatten().min()
    }

    /// The frames that end the link for the peer.
    pub(super) fn goodbye(&mut self) -> Vec<Vec<u8>> {
        let Ok(bytes) = Control::Goodbye.encode() else { return Vec::new() };
        let candidates = self.handshakes.candidates().iter_mut().map(|candidate| &mut candidate.session);
        let sessions = self.current.iter_mut().map(|current| &mut current.session).chain(candidates);
        sessions
            .filter_map(|session| seal(self.me, session, Content::Control, Plaintext::copy_of(&bytes)).ok())
            .collect()
    }

    /// Wipes all keys.
    pub(super) fn close(&mut self) {
        self.current = None;
        self.previous = None;
        self.handshakes.clear();
    }

    fn open(&mut self, frame: &Frame) -> Result<Opened, Dropped> {
        let current = self.current.as_mut().map(|current| &mut current.session);
        let previous = self.previous.as_mut().map(|(session, _)| session);
        let known = current.into_iter().chain(previous).find(|session| session.link() == frame.link);
        let session = match known {
            Some(session) => session,
            None => &mut self.handshakes.candidate(frame.link).ok_or(Dropped::Stale)?.session,
        };
        session.open(frame.counter, &frame.records).map_err(|error| match error {
            NoiseError::Replayed => Dropped::Replayed,
            _ => Dropped::NotAuthentic,
        })
    }

    /// Acts on what came out of the session `link`: it is authentic.
    fn take(
        &mut self,
        link: u64,
        opened: &Opened,
        reserved: bool,
        now: Duration,
        commands: &mut Vec<Command>,
    ) -> Result<(), DownReason> {
        let control = match opened.content {
            Content::Control => Some(Control::decode(&opened.bytes).map_err(|_| DownReason::Violation)?),
            Content::Message => None,
        };
        if let Some(peer) = self.handshakes.candidate(link).map(|candidate| candidate.peer) {
            if control == Some(Control::Goodbye) {
                self.handshakes.abandon(link, now);
                return Ok(());
            }
            self.still_same_life(peer)?;
            self.promote(link, now, commands);
        }
        match control {
            Some(Control::Goodbye) => return Err(DownReason::Goodbye),
            Some(Control::Beat(beat)) => {
                let heard = self.beats.hear(beat, now).map_err(|_| DownReason::Violation)?;
                if heard.answer {
                    self.beat(true, now, commands)?;
                }
                if heard.report {
                    commands.push(Command::Readiness { readiness: self.beats.peer().clone(), rtt: self.beats.rtt() });
                }
            }
            None if reserved => commands.push(Command::Drop(Dropped::OverLimit)),
            None => {
                commands.push(Command::Deliver(decode_message(&opened.bytes).map_err(|_| DownReason::Violation)?));
            }
        }
        Ok(())
    }

    /// A peer that started anew has lost what this life of the link stands for.
    fn still_same_life(&self, peer: Hello) -> Result<(), DownReason> {
        match &self.current {
            Some(current) if current.peer.life != peer.life => Err(DownReason::PeerRestarted),
            _ => Ok(()),
        }
    }

    fn promote(&mut self, link: u64, now: Duration, commands: &mut Vec<Command>) {
        let Some(proven) = self.handshakes.promote(link) else { return };
        self.beats.proven(now.saturating_sub(proven.begun), now);
        let new = Current { session: proven.session, peer: proven.peer, since: now };
        match self.current.replace(new) {
            Some(old) => self.previous = Some((old.session, now + self.config.lost_after())),
            None => {
                self.next_beat = now + self.config.heartbeat;
                commands.push(Command::Up { rtt: self.beats.rtt() });
            }
        }
    }

    fn lost_at(&self) -> Duration {
        self.beats.acknowledged_at() + self.config.lost_after()
    }

    /// Whether the keys have reached this many times what they should.
    fn keys_worn(&self, times: u32, now: Duration) -> bool {
        self.current.as_ref().is_some_and(|current| {
            now >= current.since + self.config.rekey_after * times
                || current.session.records() >= self.config.rekey_after_records.saturating_mul(u64::from(times))
        })
    }

    /// Whether this side wants a handshake: one without keys does, and the initiator when they are worn.
    fn wants_keys(&self, now: Duration) -> bool {
        self.current.is_none() || (self.handshakes.is_initiator() && self.keys_worn(1, now))
    }

    /// A responder writes to no session before the initiator has proved itself in it.
    fn has_writable_session(&self) -> bool {
        self.is_up() || (self.handshakes.is_initiator() && self.handshakes.has_candidate())
    }

    fn beat(&mut self, answer: bool, now: Duration, commands: &mut Vec<Command>) -> Result<(), DownReason> {
        let beat = self.beats.next(answer, self.readiness.clone(), now);
        let bytes = Control::Beat(beat).encode().map_err(|_| DownReason::Engine)?;
        let writes_candidates = self.handshakes.is_initiator() && !answer;
        let candidates = self.handshakes.candidates().iter_mut().filter(|_| writes_candidates);
        let candidates = candidates.map(|candidate| &mut candidate.session);
        for session in self.current.iter_mut().map(|current| &mut current.session).chain(candidates) {
            commands.push(Command::Publish(seal(self.me, session, Content::Control, Plaintext::copy_of(&bytes))?));
        }
        Ok(())
    }
}

fn seal(me: NodeId, session: &mut Session, content: Content, message: Plaintext) -> Result<Vec<u8>, DownReason> {
    let sealed = session.seal(content, message).map_err(|error| match error {
        NoiseError::Exhausted => DownReason::KeysExpired,
        _ => DownReason::Engine,
    })?;
    let frame = Frame::data(me, session.link(), sealed.counter, sealed.records);
    frame.encode().map_err(|_| DownReason::Engine)
}

impl From<Refused> for Dropped {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale => Self::Stale,
            Refused::TooMany => Self::OverLimit,
            Refused::NotAuthentic | Refused::Engine => Self::NotAuthentic,
        }
    }
}
