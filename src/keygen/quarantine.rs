//! Wallets that came back out of a backup: the other members are asked whether they are still current.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ractor::{ActorProcessingErr, ActorRef};

use super::KeygenArgs;
use super::actor::{KeygenMsg, KeygenState};
use super::work::Work;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::storage::{Batch, Durability, Family, Listing, StorageError};
use crate::supervision::beside;
use crate::wallet::{
    Confirmation, QUARANTINE_PREFIX, WalletRecord, certificate_key, quarantine_key, unverified_record,
};
use crate::wire::message::{PeerMessage, PendingOutcome};

/// The most marks read at a time.
const PAGE: usize = 256;
/// How many wallets are asked about at a time: as many queries as a member answers at a time.
const ASKED: usize = crate::session::MAX_ANSWERING;

/// The wallets in quarantine.
#[derive(Default)]
pub(super) struct Quarantine {
    wallets: BTreeMap<WalletId, Held>,
    /// Those with a mark whose certificate is not here: nothing is known of them that could be confirmed.
    waiting: BTreeSet<WalletId>,
    /// The wallet that was last asked about: next time, it is the others' turn.
    last: Option<WalletId>,
}

struct Held {
    /// What made the wallet what this node thinks it is.
    session: SheetHash,
    confirmation: Confirmation,
    lifting: bool,
}

impl Quarantine {
    /// The wallets.
    pub fn wallets(&self) -> impl Iterator<Item = &WalletId> {
        self.wallets.keys()
    }

    pub fn is_empty(&self) -> bool {
        self.wallets.is_empty()
    }

    /// The next `count` wallets whose turn it is, with whom to ask about them.
    fn next(&mut self, count: usize) -> Vec<(WalletId, SheetHash, Vec<NodeId>)> {
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let up_to = self.last.clone().map_or(Bound::Unbounded, Bound::Included);
        let rest = self.wallets.range((after, Bound::Unbounded));
        // Without a last one, the first range is all of them.
        let again = self.wallets.range((Bound::Unbounded, up_to)).take(if self.last.is_some() { count } else { 0 });
        let open = rest.chain(again).filter(|(_, held)| !held.lifting).take(count);
        let next: Vec<_> = open
            .map(|(wallet, held)| (wallet.clone(), held.session, held.confirmation.open().into_iter().collect()))
            .collect();
        if let Some((wallet, ..)) = next.last() {
            self.last = Some(wallet.clone());
        }
        next
    }
}

impl KeygenState {
    /// Reads which wallets a restore put into quarantine.
    pub(super) async fn load_quarantine(&mut self) -> Result<(), ActorProcessingErr> {
        let mut after = None;
        loop {
            let prefix = QUARANTINE_PREFIX.to_vec();
            let listing = Listing { family: Family::Meta, prefix, after: after.take(), limit: PAGE };
            let page = self.args.storage.list(listing).await?;
            for record in &page.records {
                let name = record.key.strip_prefix(QUARANTINE_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
                let Some(wallet) = name.and_then(|name| name.parse::<WalletId>().ok()) else { continue };
                match self.args.stored_record(&wallet).await? {
                    Some(record) => self.hold_in_quarantine(wallet, &record),
                    None => {
                        self.quarantine.waiting.insert(wallet);
                    }
                }
            }
            if !page.more {
                break;
            }
            after = page.records.last().map(|record| record.key.clone());
        }
        if !self.quarantine.is_empty() {
            let wallets = self.quarantine.wallets.len();
            tracing::warn!(wallets, "this store was restored: its wallets sign when other members have confirmed them");
        }
        Ok(())
    }

    /// A certificate has come into force. If a restore has marked its wallet, it is what has to be confirmed now.
    pub(super) fn in_force(&mut self, myself: &ActorRef<KeygenMsg>, record: &WalletRecord) {
        let wallet = &record.wallet;
        if self.quarantine.waiting.remove(wallet) || self.quarantine.wallets.contains_key(wallet) {
            tracing::warn!(%wallet, "a restored wallet has come into force: it signs when other members have confirmed it");
            self.hold_in_quarantine(wallet.clone(), record);
            self.confirm();
            self.ask_later(myself);
        }
    }

    fn hold_in_quarantine(&mut self, wallet: WalletId, record: &WalletRecord) {
        let confirmation = Confirmation::new(record, self.args.identity.id());
        self.quarantine.wallets.insert(wallet, Held { session: record.session, confirmation, lifting: false });
    }

    /// Asks the members of those wallets in quarantine whose turn it is.
    pub(super) fn confirm(&mut self) {
        self.confirm_next(ASKED);
    }

    fn confirm_next(&mut self, count: usize) {
        for (wallet, session, members) in self.quarantine.next(count) {
            for member in members.into_iter().filter(|member| self.view.peers.get(member).is_some_and(|p| p.linked)) {
                self.sessions.post().transmit(member, PeerMessage::KeygenQuery { wallet: wallet.clone(), session });
            }
        }
    }

    /// A member answers about a wallet that may be in quarantine.
    pub(super) fn confirmed(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: NodeId,
        wallet: &WalletId,
        session: SheetHash,
        outcome: &PendingOutcome,
    ) {
        let Some(held) = self.quarantine.wallets.get_mut(wallet) else { return };
        if held.session != session || held.lifting {
            return;
        }
        match outcome {
            // It names the session that made the wallet what it is there: the same as here.
            PendingOutcome::Certified(_) => {}
            PendingOutcome::Absent => {
                // Where that is because the wallet was reshared since, the member sends its certificate along, and resharing
                // puts it in force. What has to be confirmed then is the new one.
                let (args, wallet) = (self.args.clone(), wallet.clone());
                beside(myself, async move {
                    let result = args.stored_record(&wallet).await.map_err(|error| error.code());
                    Work::Reread { from, wallet, result }
                });
                return;
            }
            PendingOutcome::Pending(_) | PendingOutcome::Running => return,
        }
        if !held.confirmation.confirmed(from) {
            return;
        }
        held.lifting = true;
        let (storage, wallet) = (self.args.storage.clone(), wallet.clone());
        beside(myself, async move {
            let lifted = Batch::new().delete(Family::Meta, quarantine_key(&wallet));
            let result = storage.write(lifted, Durability::Synced).await.map_err(|error| error.code());
            Work::Lifted { wallet, result }
        });
    }

    /// What a wallet in quarantine is was read again, because a member knows it otherwise.
    pub(super) fn reread(&mut self, from: NodeId, wallet: WalletId, result: Result<Option<WalletRecord>, Code>) {
        // What cannot be read now is read when the member answers again.
        let Ok(Some(record)) = result else { return };
        match self.quarantine.wallets.get(&wallet) {
            Some(held) if held.session != record.session => {
                self.hold_in_quarantine(wallet, &record);
                self.confirm();
            }
            Some(_) => {
                tracing::warn!(peer = %from, %wallet, "a restored wallet is not what a member knows: it stays in quarantine");
            }
            None => {}
        }
    }

    /// A wallet was let out of quarantine, or could not be yet.
    pub(super) fn lifted(&mut self, wallet: &WalletId, result: Result<(), Code>) {
        match result {
            Ok(()) => {
                tracing::info!(%wallet, "a restored wallet is confirmed, and out of quarantine");
                self.quarantine.wallets.remove(wallet);
                // The place of its query is free.
                self.confirm_next(1);
            }
            Err(code) => {
                tracing::warn!(%wallet, %code, "a restored wallet could not be let out of quarantine yet");
                if let Some(held) = self.quarantine.wallets.get_mut(wallet) {
                    held.lifting = false;
                }
            }
        }
    }
}

impl KeygenArgs {
    /// What a wallet is by its stored certificate, if that is there and decodes. Without it there is nothing to confirm, and
    /// nothing to sign with.
    async fn stored_record(&self, wallet: &WalletId) -> Result<Option<WalletRecord>, StorageError> {
        let stored = self.storage.get(Family::Wallets, certificate_key(wallet)).await?;
        Ok(stored.and_then(|certificate| match unverified_record(certificate.expose()) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(%wallet, %error, "a restored wallet certificate does not decode");
                None
            }
        }))
    }
}
