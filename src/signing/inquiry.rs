//! What became of an earlier session of a request: asking its signers, and answering them.
//!
//! ```text
//!   this node                                   signers of the earlier session
//!     record on disk: session s, no answer
//!     │── SigningQuery{s} ──────────────────────▶ each of the others
//!     │◀───────────── Answered(signature) ────── has it: take it, nothing is signed again
//!     │◀───────────── Running ────────────────── asked again after a moment
//!     │◀───────────── Closed ─────────────────── made none, and never will
//!     all closed: the record names the new session, the share may leave
//! ```
//!
//! What makes `Closed` final: a session never runs twice on a node, and what it reports after its request has let go of
//! it is not stored.

use std::collections::BTreeSet;
use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use super::actor::{SigningMsg, SigningState};
use super::admission::{Attempted, RequestKey};
use super::requests::{Attempt, Timer};
use super::work::Work;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::session::SessionMsg;
use crate::supervision::beside;
use crate::wire::message::{PeerMessage, SigningOutcome};

/// How often a signer is asked: messages may be lost, and what it is at work on ends soon.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long it is asked: as long as a silent link stays up.
const ASK_FOR: Duration = Duration::from_secs(3);

/// An earlier session that is being asked about.
pub(super) struct Inquiry {
    /// The session.
    about: SheetHash,
    /// The SHA-256 of the record on disk.
    former: [u8; 32],
    /// Its signers that have not said yet that it is over.
    awaited: BTreeSet<NodeId>,
    until: Instant,
    #[expect(dead_code, reason = "it works by being there")]
    reminder: Timer,
}

impl SigningState {
    /// Asks what became of the session on record, before the present one lets its share out.
    pub(super) fn inquire(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        session: SheetHash,
        former: [u8; 32],
        earlier: &Attempted,
    ) {
        let me = self.args.identity.id();
        let awaited: BTreeSet<NodeId> = earlier.signers.iter().copied().filter(|&signer| signer != me).collect();
        let is_linked = |signer| self.view.peers.get(signer).is_some_and(|peer| peer.linked);
        if let Some(&away) = awaited.iter().find(|signer| !is_linked(signer)) {
            self.give_up(session, Code::PeerUnavailable, away);
            return;
        }
        let Some(attempt) = self.requests.of_session(session).and_then(|request| request.session.as_mut()) else {
            return;
        };
        let myself = myself.clone();
        let reminder = Timer::of(async move {
            loop {
                tokio::time::sleep(ASK_EVERY).await;
                if myself.cast(Work::StillAsking(session).into()).is_err() {
                    return;
                }
            }
        });
        let until = Instant::now() + ASK_FOR;
        attempt.inquiry = Some(Inquiry { about: earlier.session, former, awaited, until, reminder });
        self.ask(session);
    }

    /// Asks all signers that have not answered.
    fn ask(&mut self, session: SheetHash) {
        let Some(request) = self.requests.of_session(session) else { return };
        let RequestKey { wallet, request: id } = request.prepared.key.clone();
        let content = request.prepared.content;
        let Some(inquiry) = request.session.as_ref().and_then(|attempt| attempt.inquiry.as_ref()) else { return };
        for &signer in &inquiry.awaited {
            let (wallet, request, session) = (wallet.clone(), id.clone(), inquiry.about);
            let question = PeerMessage::SigningQuery { wallet, request, content, session };
            self.sessions.post().transmit(signer, question);
        }
    }

    /// Some time has passed since the signers were asked.
    pub(super) fn still_asking(&mut self, session: SheetHash) {
        let Some(request) = self.requests.of_session(session) else { return };
        let Some(inquiry) = request.session.as_ref().and_then(|attempt| attempt.inquiry.as_ref()) else { return };
        match inquiry.awaited.first() {
            Some(&silent) if Instant::now() >= inquiry.until => self.give_up(session, Code::PeerUnavailable, silent),
            _ => self.ask(session),
        }
    }

    /// The link to a peer is lost: what it is asked about must wait until it is back.
    pub(super) fn signer_down(&mut self, peer: NodeId) {
        let is_awaited =
            |attempt: &&Attempt| attempt.inquiry.as_ref().is_some_and(|inquiry| inquiry.awaited.contains(&peer));
        let attempts = self.requests.iter().filter_map(|request| request.session.as_ref()).filter(is_awaited);
        let waiting: Vec<SheetHash> = attempts.map(|attempt| attempt.sheet.hash).collect();
        for session in waiting {
            self.give_up(session, Code::PeerUnavailable, peer);
        }
    }

    /// A signer answers what became of a session.
    pub(super) fn signer_says(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        about: SheetHash,
        outcome: SigningOutcome,
    ) {
        let asks = |attempt: &Attempt| {
            attempt.inquiry.as_ref().is_some_and(|inquiry| inquiry.about == about && inquiry.awaited.contains(&from))
        };
        let asked = self.requests.iter().filter_map(|request| request.session.as_ref()).find(|attempt| asks(attempt));
        let Some(sheet) = asked.map(|attempt| attempt.sheet.clone()) else { return };
        match outcome {
            SigningOutcome::Answered(signature) => self.take_answer(myself, from, sheet.hash, signature),
            SigningOutcome::Running => {}
            SigningOutcome::Closed => {
                let request = self.requests.of_session(sheet.hash);
                let Some(attempt) = request.and_then(|request| request.session.as_mut()) else { return };
                let Some(inquiry) = &mut attempt.inquiry else { return };
                inquiry.awaited.remove(&from);
                if inquiry.awaited.is_empty() {
                    let former = inquiry.former;
                    attempt.inquiry = None;
                    self.write_down(myself, &sheet, Some(former));
                }
            }
        }
    }

    /// A node whose share may have left for a session asks what became of it.
    pub(super) fn asked(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        key: RequestKey,
        content: [u8; 32],
        session: SheetHash,
    ) {
        let storing = self.requests.get_mut(&key).is_some_and(|request| request.storing);
        if let Some(attempt) = self.requests.of_session(session).and_then(|request| request.session.as_ref()) {
            if attempt.sheet.sheet.index_of(from).is_some() && !storing {
                // Who asks has left it, so that it cannot end well here either.
                let code = Code::Superseded;
                if !self.sessions.call_off(session, code, BTreeSet::new()) {
                    self.sessions.tell(session, SessionMsg::cancel(code));
                }
            }
            self.reply(from, session, SigningOutcome::Running);
            return;
        }
        if storing {
            self.reply(from, session, SigningOutcome::Running);
            return;
        }
        if !self.answering.begin(from) {
            // It asks again.
            return;
        }
        let desk = self.desk.clone();
        beside(myself, async move {
            let outcome = match desk.answer_on_disk(&key, &content).await {
                Ok(Some(signature)) => SigningOutcome::Answered(signature),
                Ok(None) => SigningOutcome::Closed,
                Err(code) => {
                    tracing::warn!(peer = %from, %session, %code, "could not look up what became of a session");
                    SigningOutcome::Running
                }
            };
            Work::LookedUp { to: from, session, outcome }
        });
    }

    /// Says what became of a session.
    pub(super) fn reply(&self, to: NodeId, session: SheetHash, outcome: SigningOutcome) {
        self.sessions.post().transmit(to, PeerMessage::SigningReply { session, outcome });
    }
}
