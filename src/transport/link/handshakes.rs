//! Handshakes in progress: those this side started, and those it answered and does not trust yet.
//!
//! Whatever happens here, the keys in use stay in use: a session becomes one of them only when something authentic comes
//! out of it.
//!
//! A first message can be recorded and sent again by anybody. So the responder computes on a limited number per second,
//! repeats its answer to a message that it knows, and never gives up a handshake of the peer's present life for one of
//! another life, nor for an earlier one of the same.
//!
//! Only the initiator begins handshakes. A responder without keys, such as one that has just started, asks for one: until
//! then its peer may believe in a session of its former life. Anybody can ask in its name, so a request leads to no more
//! than a handshake beside the session in use, and to one per interval. Only the answer to that, which nobody can forge
//! or replay, tells whether the responder lives another life.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::NodeId;
use crate::sabotage::{self, Flaw};
use crate::transport::config::LinkConfig;
use crate::transport::noise::{Hello, Initiation, LinkKeys, NoiseError, Role, Session, respond};
use crate::wire::frame::{Frame, FrameKind};

/// The most sessions that a responder keeps until one of them proves itself.
const MAX_CANDIDATES: usize = 4;

/// A session that nothing authentic has come out of yet.
pub(super) struct Candidate {
    pub(super) session: Session,
    /// Which life of the peer is at its other end.
    pub(super) peer: Hello,
    /// When its first message left, here.
    pub(super) begun: Duration,
    until: Duration,
    /// Responder: the message that it answers, and the answer as a frame.
    exchange: Option<(Vec<u8>, Vec<u8>)>,
}

/// A handshake that waits for its response.
struct Attempt {
    initiation: Initiation,
    frame: Vec<u8>,
    begun: Duration,
    repeat_at: Duration,
    until: Duration,
}

/// Why a handshake message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is none that this side waits for or answers: late, repeated, replayed.
    Stale,
    /// More came than this link computes on.
    TooMany,
    /// It is not from the peer, or was altered.
    NotAuthentic,
    /// The engine failed on our own side.
    Engine,
}

/// The handshakes of one life of a link. Times count from the start of that life.
pub(super) struct Handshakes {
    me: NodeId,
    keys: Arc<LinkKeys>,
    config: LinkConfig,
    life: u64,
    attempts: u64,
    attempt: Option<Attempt>,
    pause: Duration,
    not_before: Duration,
    /// Responder: when it asks for a handshake next, as long as it has no keys.
    ask_at: Duration,
    /// Initiator: a handshake was asked for.
    asked: bool,
    /// Initiator: the earliest time of the next handshake that was asked for.
    asked_not_before: Duration,
    candidates: Vec<Candidate>,
    /// The second that first messages are counted in, and their number.
    computed: (u64, u32),
}

impl Handshakes {
    pub(super) fn new(me: NodeId, keys: Arc<LinkKeys>, config: LinkConfig, life: u64) -> Self {
        Self {
            me,
            keys,
            config,
            life,
            attempts: 0,
            attempt: None,
            pause: config.handshake_retry,
            not_before: Duration::ZERO,
            ask_at: Duration::ZERO,
            asked: false,
            asked_not_before: Duration::ZERO,
            candidates: Vec::new(),
            computed: (0, 0),
        }
    }

    pub(super) fn is_initiator(&self) -> bool {
        self.keys.role() == Role::Initiator
    }

    /// Sessions that have not proved themselves.
    pub(super) fn candidates(&mut self) -> &mut [Candidate] {
        &mut self.candidates
    }

    /// Whether there is any.
    pub(super) fn has_candidate(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// The untrusted session of this handshake.
    pub(super) fn candidate(&mut self, link: u64) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|candidate| candidate.session.link() == link)
    }

    /// Takes the session of this handshake out, now that it has proved itself, and forgets everything else.
    pub(super) fn promote(&mut self, link: u64) -> Option<Candidate> {
        let at = self.candidates.iter().position(|candidate| candidate.session.link() == link)?;
        let proven = self.candidates.swap_remove(at);
        self.candidates.clear();
        self.attempt = None;
        self.pause = self.config.handshake_retry;
        Some(proven)
    }

    /// Gives an untrusted session up; the next handshake waits for a pause.
    pub(super) fn abandon(&mut self, link: u64, now: Duration) {
        self.candidates.retain(|candidate| candidate.session.link() != link);
        self.not_before = now + self.pause;
        self.lengthen_pause();
    }

    /// Wipes all of it.
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
        self.attempt = None;
    }

    /// Gives up an untrusted session that is of no use; the keys in use are as good.
    pub(super) fn discard(&mut self, link: u64) {
        self.candidates.retain(|candidate| candidate.session.link() != link);
        self.pause = self.config.handshake_retry;
    }

    /// The peer, or somebody in its name, asks for a handshake: [`wake`](Self::wake) begins it, if it is time for one.
    pub(super) fn ask(&mut self) -> Result<(), Refused> {
        if !self.is_initiator() || !self.candidates.is_empty() {
            // A session is about to prove itself, or to expire.
            return Err(Refused::Stale);
        }
        if self.asked {
            return Err(Refused::TooMany);
        }
        self.asked = true;
        Ok(())
    }

    /// What is due now: the frame of a first message, new or repeated, or of a request for one. `wanted` says that new keys
    /// are.
    pub(super) fn wake(&mut self, wanted: bool, now: Duration) -> Result<Option<Vec<u8>>, NoiseError> {
        self.candidates.retain(|candidate| candidate.until > now);
        self.attempt.take_if(|attempt| attempt.until <= now);
        if !self.is_initiator() {
            return self.request(wanted, now).transpose();
        }
        let asked = self.asked && self.asked_not_before <= now;
        if asked {
            self.asked = false;
            self.asked_not_before = now + self.config.requested_handshake_interval;
        }
        if let Some(attempt) = &mut self.attempt {
            if attempt.repeat_at <= now {
                attempt.repeat_at = now + self.pause;
                let frame = attempt.frame.clone();
                self.lengthen_pause();
                return Ok(Some(frame));
            }
            return Ok(asked.then(|| attempt.frame.clone()));
        }
        if !(asked || wanted && now >= self.not_before) || !self.candidates.is_empty() {
            return Ok(None);
        }
        self.attempts += 1;
        let hello = Hello { life: self.life, attempt: self.attempts };
        let (initiation, message) = Initiation::start(&self.keys, rand::random(), hello)?;
        let frame = Frame::handshake(self.me, FrameKind::Init, initiation.link(), message);
        let frame = frame.encode().map_err(|_| NoiseError::Engine)?;
        self.attempt = Some(Attempt {
            initiation,
            frame: frame.clone(),
            begun: now,
            repeat_at: now + self.pause,
            until: now + self.config.handshake_timeout,
        });
        self.lengthen_pause();
        Ok(Some(frame))
    }

    /// When [`wake`](Self::wake) has something to do.
    pub(super) fn next_wake(&self, wanted: bool) -> Option<Duration> {
        let start = wanted && self.is_initiator() && self.attempt.is_none() && self.candidates.is_empty();
        let request = wanted && !self.is_initiator();
        let repeat = self.attempt.as_ref().map(|attempt| attempt.repeat_at.min(attempt.until));
        let expiry = self.candidates.iter().map(|candidate| candidate.until).min();
        let times = [
            start.then_some(self.not_before),
            request.then_some(self.ask_at),
            self.asked.then_some(self.asked_not_before),
            repeat,
            expiry,
        ];
        times.into_iter().flatten().min()
    }

    /// Answers a first message: gives the frame to send. `present` is the peer's hello of the session in use.
    pub(super) fn answer(
        &mut self,
        link: u64,
        init: &[u8],
        present: Option<Hello>,
        now: Duration,
    ) -> Result<Vec<u8>, Refused> {
        if self.is_initiator() {
            return Err(Refused::Stale);
        }
        if let Some(known) = self.candidate(link) {
            return match &known.exchange {
                Some((answered, response)) if answered == init => Ok(response.clone()),
                _ => Err(Refused::Stale),
            };
        }
        self.count_computation(now)?;
        let (session, peer, response) = respond(&self.keys, link, init, self.life).map_err(|error| match error {
            NoiseError::NotAuthentic => Refused::NotAuthentic,
            _ => Refused::Engine,
        })?;
        let later = |than: Hello| peer.life != than.life || peer.attempt > than.attempt;
        if !present.is_none_or(later) || !self.candidates.iter().all(|candidate| later(candidate.peer)) {
            return Err(Refused::Stale);
        }
        // An attempt takes the place of the earlier one of its life; replays of other lives only take each other's.
        self.candidates.retain(|candidate| candidate.peer.life != peer.life);
        if self.candidates.len() == MAX_CANDIDATES {
            let oldest = self.candidates.iter().position(|old| present.is_none_or(|hello| hello.life != old.peer.life));
            self.candidates.remove(oldest.unwrap_or(0));
        }
        let frame = Frame::handshake(self.me, FrameKind::Response, link, response);
        let frame = frame.encode().map_err(|_| Refused::Engine)?;
        self.candidates.push(Candidate {
            session,
            peer,
            begun: now,
            until: now + self.config.handshake_timeout,
            exchange: Some((init.to_vec(), frame.clone())),
        });
        Ok(frame)
    }

    /// Takes a response: gives the peer's hello. The session is a candidate then, which may be written to.
    pub(super) fn finish(&mut self, link: u64, response: &[u8], now: Duration) -> Result<Hello, Refused> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.initiation.link() == link);
        let attempt = attempt.ok_or(Refused::Stale)?;
        let (session, peer) = attempt.initiation.finish(response).map_err(|_| Refused::NotAuthentic)?;
        let begun = attempt.begun;
        self.attempt = None;
        self.candidates.clear();
        let until = now + self.config.lost_after();
        self.candidates.push(Candidate { session, peer, begun, until, exchange: None });
        Ok(peer)
    }

    /// Responder: the frame of a request for a handshake, if it is time for one.
    fn request(&mut self, wanted: bool, now: Duration) -> Option<Result<Vec<u8>, NoiseError>> {
        if !wanted || now < self.ask_at {
            return None;
        }
        self.ask_at = now + self.pause;
        self.lengthen_pause();
        if sabotage::has(Flaw::AsksForNoHandshakes) {
            return None;
        }
        Some(Frame::request(self.me).encode().map_err(|_| NoiseError::Engine))
    }

    fn lengthen_pause(&mut self) {
        self.pause = (self.pause * 2).min(self.config.handshake_retry_max);
    }

    fn count_computation(&mut self, now: Duration) -> Result<(), Refused> {
        if self.computed.0 != now.as_secs() {
            self.computed = (now.as_secs(), 0);
        }
        if self.computed.1 >= self.config.handshakes_per_second {
            return Err(Refused::TooMany);
        }
        self.computed.1 += 1;
        Ok(())
    }
}
