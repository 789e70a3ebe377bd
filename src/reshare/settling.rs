//! What is pending and was not settled by its own run: asking the others, answering them, acting on what they say.

use std::collections::{BTreeMap, BTreeSet};

use ractor::{ActorProcessingErr, ActorRef};

use super::actor::{ReshareMsg, ReshareState};
use super::resolution::{Resolution, Verdict, prover};
use super::run::{Held, Run};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::storage::{Family, Listing};
use crate::supervision::beside;
use crate::transport::Credit;
use crate::wallet::{Pending, RESHARING_PREFIX, WalletRecord};
use crate::wire::message::{PeerMessage, PendingOutcome};

/// The most pending records read at a time.
const PAGE: usize = 256;

/// A pending reshare that was not settled by its own run.
pub(super) struct Unsettled {
    pub own: Held,
    pub resolution: Resolution,
    /// Who gets shares.
    receivers: BTreeSet<NodeId>,
    /// A verdict is being carried out.
    pub settling: bool,
    /// How often this node has looked since it knows that all have signed.
    looks: u64,
    /// Whom the next attempt to prove does without.
    pub without: Vec<NodeId>,
}

impl ReshareState {
    /// Reads what earlier lives left pending.
    pub(super) async fn load_pending(&mut self) -> Result<(), ActorProcessingErr> {
        let mut after = None;
        loop {
            let prefix = RESHARING_PREFIX.to_vec();
            let listing = Listing { family: Family::Shares, prefix, after: after.take(), limit: PAGE };
            let page = self.args.storage.list(listing).await?;
            for record in &page.records {
                let name = record.key.strip_prefix(RESHARING_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
                match (name.and_then(|name| name.parse().ok()), Pending::decode(record.value.expose())) {
                    (Some(wallet), Ok(pending)) => self.hold_unsettled(wallet, Held::of(&pending), BTreeMap::new()),
                    _ => tracing::error!(key = %hex::encode(&record.key), "a pending reshare does not decode"),
                }
            }
            if !page.more {
                return Ok(());
            }
            after = page.records.last().map(|record| record.key.clone());
        }
    }

    /// From now on, the others are asked what became of this reshare.
    pub(super) fn unsettle(&mut self, myself: &ActorRef<ReshareMsg>, wallet: WalletId, own: Held, run: &Run) {
        let signed = run.commit.signatures().clone();
        self.hold_unsettled(wallet, own, signed);
        self.settle(myself);
        self.look_later(myself);
    }

    fn hold_unsettled(&mut self, wallet: WalletId, own: Held, signed: BTreeMap<NodeId, [u8; 64]>) {
        let me = self.args.identity.id();
        let Ok(record) = WalletRecord::decode(&own.record) else {
            tracing::error!(%wallet, "a pending wallet record does not decode");
            return;
        };
        let of_session = record.keys.iter().filter(|key| own.schemes.contains(&key.group.scheme()));
        let receivers = of_session.flat_map(|key| &key.committee).map(|member| member.node).collect();
        let mut resolution = Resolution::new(own.signers.iter().copied().filter(|&node| node != me).collect());
        for (node, signature) in signed {
            if self.args.signs(node, &own.record, &signature) {
                resolution.signed(node, signature);
            }
        }
        let (settling, looks, without) = (false, 0, Vec::new());
        self.unsettled.entry(wallet).or_insert(Unsettled { own, resolution, receivers, settling, looks, without });
    }

    /// Looks again after a while, as long as there is something to settle or somebody to tell.
    pub(super) fn look_later(&mut self, myself: &ActorRef<ReshareMsg>) {
        if self.looking || (self.unsettled.is_empty() && self.notices.len() == 0) {
            return;
        }
        self.looking = true;
        let pause = self.args.resolve_every;
        beside(myself, async move {
            tokio::time::sleep(pause).await;
            Work::Look
        });
    }

    /// Does for every pending reshare what the answers call for.
    pub(super) fn settle(&mut self, myself: &ActorRef<ReshareMsg>) {
        let wallets: Vec<WalletId> = self.unsettled.keys().cloned().collect();
        for wallet in wallets {
            self.settle_one(myself, &wallet);
        }
    }

    fn settle_one(&mut self, myself: &ActorRef<ReshareMsg>, wallet: &WalletId) {
        let me = self.args.identity.id();
        let linked = |node: &NodeId| self.view.peers.get(node).is_some_and(|peer| peer.linked);
        let Some(unsettled) = self.unsettled.get_mut(wallet).filter(|unsettled| !unsettled.settling) else { return };
        let session = unsettled.own.session;
        match unsettled.resolution.verdict() {
            Verdict::Ask(nodes) => {
                let reachable: Vec<NodeId> = nodes.into_iter().filter(linked).collect();
                for node in reachable {
                    self.dealings.post().transmit(node, PeerMessage::ReshareQuery { wallet: wallet.clone(), session });
                }
            }
            Verdict::Prove(mut signatures) => {
                let reachable =
                    unsettled.receivers.iter().copied().filter(|node| *node == me || linked(node)).collect();
                let turn = prover(&reachable, unsettled.looks);
                unsettled.looks += 1;
                if turn == Some(me) {
                    unsettled.settling = true;
                    signatures.insert(me, unsettled.own.signature);
                    let (own, without) = (unsettled.own.clone(), unsettled.without.clone());
                    self.prove(myself, wallet.clone(), own, signatures, &without);
                } else {
                    // Somebody may be through already.
                    let others: Vec<NodeId> = unsettled.own.signers.iter().copied().filter(linked).collect();
                    for node in others {
                        let wallet = wallet.clone();
                        self.dealings.post().transmit(node, PeerMessage::ReshareQuery { wallet, session });
                    }
                }
            }
            Verdict::SetAside => {
                unsettled.settling = true;
                let (args, writing, wallet) = (self.args.clone(), self.args.writing(), wallet.clone());
                beside(myself, async move {
                    let result = args.set_aside(&wallet).await;
                    drop(writing);
                    Work::SetAside { wallet, session, result }
                });
            }
        }
    }

    /// What was pending is set aside, or not.
    pub(super) fn was_set_aside(&mut self, wallet: &WalletId, session: SheetHash, result: Result<(), Code>) {
        match result {
            Ok(()) => {
                tracing::info!(%wallet, %session, "a reshare that nobody can certify is set aside");
                self.notices.forget(session);
                self.rolled_back += 1;
                self.unsettled.remove(wallet);
            }
            Err(code) => self.not_settled(wallet, code),
        }
    }

    /// A pending reshare could not be settled this time. What the others said stands, and is acted on when the time comes
    /// to look again.
    pub(super) fn not_settled(&mut self, wallet: &WalletId, code: Code) {
        if let Some(unsettled) = self.unsettled.get_mut(wallet) {
            tracing::warn!(%wallet, %code, "a pending reshare is still not settled");
            unsettled.settling = false;
        }
    }

    /// The reshare of a wallet that this node is at, or has not settled.
    pub(super) fn at_work(&self, wallet: &WalletId) -> Option<SheetHash> {
        let run = self.runs.get(wallet).map(|run| run.sheet.hash);
        run.or_else(|| self.unsettled.get(wallet).map(|unsettled| unsettled.own.session))
    }

    /// A node asks what this one knows of a reshare.
    pub(super) fn query(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        wallet: WalletId,
        session: SheetHash,
        credit: Credit,
    ) {
        let known = if self.run_of(session).is_some() {
            Some(PendingOutcome::Running)
        } else {
            let unsettled = self.unsettled.get(&wallet).filter(|unsettled| unsettled.own.session == session);
            unsettled.map(|unsettled| PendingOutcome::Pending(unsettled.own.signature))
        };
        if let Some(outcome) = known {
            self.dealings.post().transmit(from, PeerMessage::ReshareReply { wallet, session, outcome });
            return;
        }
        if !self.answering.begin(from) {
            // It asks again.
            return;
        }
        let args = self.args.clone();
        beside(myself, async move {
            let outcome = match args.stored(&wallet).await {
                Ok(Some(stored)) if stored.certificate.record().session == session => {
                    stored.certificate.encode().map_or(PendingOutcome::Running, PendingOutcome::Certified)
                }
                Ok(_) | Err(Failure { code: Code::WalletDestroyed, .. }) => PendingOutcome::Absent,
                // Not being able to tell is not the same as holding nothing.
                Err(_) => PendingOutcome::Running,
            };
            drop(credit);
            Work::Answer { to: from, wallet, session, outcome }
        });
    }

    /// A node answers what it knows of a reshare.
    pub(super) fn reply(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        wallet: &WalletId,
        session: SheetHash,
        outcome: PendingOutcome,
    ) {
        let Some(unsettled) = self.unsettled.get_mut(wallet) else { return };
        if unsettled.own.session != session {
            return;
        }
        match outcome {
            PendingOutcome::Certified(certificate) | PendingOutcome::Unconfirmed(certificate) => {
                self.told(myself, from, wallet.clone(), certificate, Credit::none());
                return;
            }
            PendingOutcome::Pending(signature) => {
                if !self.args.signs(from, &unsettled.own.record, &signature) {
                    tracing::warn!(peer = %from, %wallet, "a node's signature of a wallet record does not verify");
                    return;
                }
                unsettled.resolution.signed(from, signature);
            }
            PendingOutcome::Absent => unsettled.resolution.absent(from),
            PendingOutcome::Running => return,
        }
        let is_complete = !matches!(unsettled.resolution.verdict(), Verdict::Ask(_));
        if is_complete && unsettled.looks == 0 {
            self.settle_one(myself, wallet);
        }
    }
}
