//! Pending shares that their own run did not settle: asking their members, answering them, acting on what they say.

use ractor::{ActorProcessingErr, ActorRef};

use super::actor::{KeygenMsg, KeygenState};
use super::run::Signature;
use super::work::Work;
use super::{Resolution, Verdict};
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::storage::{Family, Listing};
use crate::supervision::beside;
use crate::wallet::Pending;
use crate::wallet::{PENDING_PREFIX, WalletRecord, members};
use crate::wire::message::{PeerMessage, PendingOutcome};

/// The most pending records read at a time.
const PENDING_PAGE: usize = 256;

/// Pending shares that their own run did not settle.
pub(super) struct Unsettled {
    pub session: SheetHash,
    pub own: Signature,
    pub resolution: Resolution,
    /// A verdict is being carried out.
    pub settling: bool,
}

impl KeygenState {
    /// Reads what earlier lives left pending.
    pub(super) async fn load_pending(&mut self) -> Result<(), ActorProcessingErr> {
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

    /// From now on, the members are asked what became of these pending shares.
    pub(super) fn unsettle(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        session: SheetHash,
        own: Signature,
    ) {
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
    pub(super) fn ask_later(&mut self, myself: &ActorRef<KeygenMsg>) {
        if self.resolving || (self.unsettled.is_empty() && self.quarantine.is_empty()) {
            return;
        }
        self.resolving = true;
        let pause = self.args.resolve_every;
        beside(myself, async move {
            tokio::time::sleep(pause).await;
            Work::Resolve
        });
    }

    /// Does for every pending share what its members' answers call for.
    pub(super) fn settle(&mut self, myself: &ActorRef<KeygenMsg>) {
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
                    self.sessions.post().transmit(member, PeerMessage::KeygenQuery { wallet: wallet.clone(), session });
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
                beside(myself, async move {
                    let result = args.set_aside(&wallet).await;
                    drop(writing);
                    Work::SetAside { wallet, session, result }
                });
            }
        }
    }

    /// A pending share could not be settled this time.
    /// What its members said stands, and is acted on when the time comes to look again.
    pub(super) fn not_settled(&mut self, wallet: &WalletId, code: Code) {
        tracing::warn!(%wallet, %code, "a pending share is still not settled");
        if let Some(unsettled) = self.unsettled.get_mut(wallet) {
            unsettled.settling = false;
        }
    }

    /// A member asks what this node knows of a key generation.
    pub(super) fn query(&mut self, myself: &ActorRef<KeygenMsg>, from: NodeId, wallet: WalletId, session: SheetHash) {
        let known = if self.run_of(session).is_some() {
            Some(PendingOutcome::Running)
        } else {
            let unsettled = self.unsettled.get(&wallet).filter(|unsettled| unsettled.session == session);
            unsettled.map(|unsettled| PendingOutcome::Pending(unsettled.own.signature))
        };
        if let Some(outcome) = known {
            self.sessions.post().transmit(from, PeerMessage::KeygenReply { wallet, session, outcome });
            return;
        }
        if !self.answering.begin(from) {
            // It asks again.
            return;
        }
        let (args, post) = (self.args.clone(), self.sessions.post().clone());
        beside(myself, async move {
            let outcome = match args.certificate(&wallet).await {
                Ok(Some(certificate)) if certificate.record().session == session => {
                    match (certificate.encode(), args.is_in_quarantine(&wallet).await) {
                        (Ok(certificate), Ok(false)) => PendingOutcome::Certified(certificate),
                        // Of two that come out of backups, neither may take the other's word.
                        (Ok(certificate), Ok(true)) => PendingOutcome::Unconfirmed(certificate),
                        _ => PendingOutcome::Running,
                    }
                }
                Ok(newer) => {
                    // One that was reshared speaks for itself: who asks is behind, or sees that it is not.
                    let newer = newer.filter(|newer| newer.record().is_successor());
                    if let Some(certificate) = newer.and_then(|newer| newer.encode().ok()) {
                        post.transmit(from, PeerMessage::Reshared { wallet: wallet.clone(), certificate });
                    }
                    PendingOutcome::Absent
                }
                Err(Failure { code: Code::WalletDestroyed, .. }) => PendingOutcome::Absent,
                // Not being able to tell is not the same as holding none.
                Err(_) => PendingOutcome::Running,
            };
            Work::Answer { to: from, wallet, session, outcome }
        });
    }

    /// A member answers what it knows of a key generation.
    pub(super) fn reply(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: NodeId,
        wallet: &WalletId,
        session: SheetHash,
        outcome: PendingOutcome,
    ) {
        let Some(unsettled) = self.unsettled.get_mut(wallet) else {
            return self.confirmed(myself, from, wallet, session, &outcome);
        };
        if unsettled.session != session {
            return;
        }
        match outcome {
            // One at a time; whoever has a certificate has it when it is asked again.
            PendingOutcome::Certified(_) | PendingOutcome::Unconfirmed(_) if unsettled.settling => return,
            PendingOutcome::Certified(certificate) | PendingOutcome::Unconfirmed(certificate) => {
                unsettled.settling = true;
                let (args, writing, wallet) = (self.args.clone(), self.args.writing(), wallet.clone());
                beside(myself, async move {
                    let result = args.adopt(&wallet, certificate).await;
                    drop(writing);
                    Work::Activated { wallet, session, result }
                });
                return;
            }
            PendingOutcome::Pending(signature) => {
                if !self.args.signs(from, &unsettled.own.record, &signature) {
                    tracing::warn!(peer = %from, %wallet, "a member's signature of a wallet record does not verify");
                    return;
                }
                unsettled.resolution.signed(from, signature);
            }
            PendingOutcome::Absent => unsettled.resolution.absent(from),
            PendingOutcome::Running => return,
        }
        if !matches!(unsettled.resolution.verdict(), Verdict::Ask(_)) {
            self.settle_one(myself, wallet);
        }
    }
}
