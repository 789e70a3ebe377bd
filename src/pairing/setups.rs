//! Pair setups: proposed, checked, started, ended.

use std::sync::Arc;

use ractor::{ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::actor::{PairingMsg, PairingState};
use super::records::store;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, PartyIndex, SheetHash};
use crate::protocol::pair::{PairSetup, PairState};
use crate::protocol::{Party, RunContext};
use crate::session::{Draft, Outcome, SessionEnd, SessionMsg, SheetContext};
use crate::signing::check_frame;
use crate::supervision::beside;
use crate::transport::Inbound;
use crate::wire::message::{PeerMessage, SessionBody};
use crate::wire::sheet::{Participant, Task};

/// A finished setup was stored, or not.
pub struct Stored {
    /// With whom.
    pub peer: NodeId,
    /// Its state, if it is durable.
    pub state: Result<PairState, Code>,
    /// The one before, if it stays in use until the new one is in force on both sides.
    pub kept: Option<Arc<PairState>>,
}

impl PairingState {
    pub(super) async fn peer(&mut self, myself: &ActorRef<PairingMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        let PeerMessage::Session { session, body, .. } = message else { return };
        match body {
            SessionBody::Propose { sheet, signature } => {
                if self.sessions.knows(session) {
                    return;
                }
                match self.check(from, session, sheet, signature) {
                    Ok(context) => self.start(myself, from, context).await,
                    Err(code) => {
                        tracing::warn!(peer = %from, %session, %code, "pair setup refused");
                        self.sessions.post().refuse(from, session, code);
                    }
                }
            }
            body => self.sessions.route(session, from, body, credit),
        }
    }

    /// Checks a proposal against everything this node knows.
    fn check(
        &mut self,
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
    ) -> Result<SheetContext, Code> {
        let context = SheetContext::open(from, announced, bytes, signature, &self.args.peers)?;
        let Task::PairSetup { epoch } = context.sheet.task else { return Err(Code::MsgValidation) };
        check_frame(&context.sheet, &self.args.cluster, self.args.clock.now_ms())?;
        if context.sheet.participants != self.seats(from) {
            return Err(Code::MsgValidation);
        }
        self.book.check_proposal(from, epoch)?;
        // Ours with the same peer gives way to the one of the lower id.
        for (&ours, _) in self.with.iter().filter(|(_, peer)| **peer == from) {
            self.sessions.tell(ours, SessionMsg::cancel(Code::Superseded));
        }
        Ok(context)
    }

    /// The two participants of a setup with `peer`: index 1 for the lower id.
    fn seats(&self, peer: NodeId) -> Vec<Participant> {
        let mut nodes = [self.args.identity.id(), peer];
        nodes.sort_unstable();
        let seat = |(node, index): (NodeId, u8)| Some(Participant { node, index: PartyIndex::try_from(index).ok()? });
        nodes.into_iter().zip(1..).filter_map(seat).collect()
    }

    /// Proposes every setup that is due.
    pub(super) async fn propose_due(&mut self, myself: &ActorRef<PairingMsg>) {
        if !self.serving {
            return;
        }
        let (now, now_ms) = (Instant::now(), self.args.clock.now_ms());
        let mut due = self.book.due(now);
        if due.is_empty()
            && let Some(aged) = self.args.refresh_every.and_then(|every| self.book.aged(now, now_ms, every))
        {
            tracing::info!(peer = %aged, "a pair setup has the age at which it is renewed");
            due.push(aged);
        }
        for peer in due {
            match self.proposal(peer) {
                Ok(context) => {
                    self.sessions.post().send(peer, context.hash, context.proposal());
                    self.start(myself, peer, context).await;
                }
                Err(error) => {
                    tracing::error!(%peer, %error, "failed to propose a pair setup");
                    self.book.failed(peer, Instant::now());
                }
            }
        }
    }

    fn proposal(&self, peer: NodeId) -> Result<SheetContext, Failure> {
        let clock = self.args.clock;
        let draft = Draft {
            task: Task::PairSetup { epoch: self.book.next_epoch(peer, clock.now_ms()) },
            participants: self.seats(peer),
            attempt: 1,
            deadline_ms: clock.deadline_ms(self.args.deadline),
        };
        SheetContext::draft(draft, &self.args.cluster, &self.args.identity)
    }

    /// Starts this node's side of a setup.
    async fn start(&mut self, myself: &ActorRef<PairingMsg>, peer: NodeId, context: SheetContext) {
        let (hash, sheet) = (context.hash, Arc::new(context));
        match self.engine(&sheet) {
            Ok(party) => match self.sessions.start(sheet, party.into(), None, myself.get_cell()).await {
                Ok(()) => {
                    tracing::info!(%peer, session = %hash, "pair setup begins");
                    self.book.started(peer);
                    self.with.insert(hash, peer);
                    return;
                }
                Err(error) => tracing::error!(%peer, %error, "failed to start a pair setup"),
            },
            Err(error) => tracing::error!(%peer, %error, "failed to prepare a pair setup"),
        }
        self.book.failed(peer, Instant::now());
        self.sessions.post().refuse(peer, hash, Code::Internal);
    }

    fn engine(&self, sheet: &SheetContext) -> Result<Box<dyn Party<Output = PairState>>, ActorProcessingErr> {
        let Task::PairSetup { epoch } = sheet.sheet.task else { return Err("not a pair setup".into()) };
        let me = sheet.sheet.index_of(self.args.identity.id()).ok_or("this node takes no part")?;
        let context = RunContext { session: sheet.hash, me, parties: sheet.sheet.parties() };
        Ok(Box::new(PairSetup::new(&context, epoch)?))
    }

    /// A setup ended: a good one is stored before it is used or announced.
    pub(super) fn ended(&mut self, myself: &ActorRef<PairingMsg>, end: SessionEnd<PairState>) {
        self.sessions.ended(end.session);
        let Some(peer) = self.with.remove(&end.session) else { return };
        match end.outcome {
            Outcome::Done(pair) => {
                let (storage, kept) = (self.args.storage.clone(), self.book.kept(peer));
                beside(myself, async move {
                    let state = store(&storage, peer, &pair, kept.as_deref()).await.map(|()| pair);
                    Stored { peer, state, kept }
                });
            }
            Outcome::Aborted(aborted) => {
                tracing::warn!(%peer, code = %aborted.code, round = aborted.round, "pair setup aborted");
                self.failed(peer);
            }
        }
    }

    /// A setup with the peer failed; one that gave way to another has not.
    pub(super) fn failed(&mut self, peer: NodeId) {
        if !self.with.values().any(|&with| with == peer) {
            self.book.failed(peer, Instant::now());
        }
    }
}
