//! Wallets that came back out of a backup: the other members are asked whether they are still current.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use sha2::{Digest, Sha256};

use super::KeygenArgs;
use super::actor::{KeygenMsg, KeygenState};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::reshare::{clear_erased, note_erased};
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, Listing, StorageError};
use crate::supervision::beside;
use crate::wallet::{
    Confirmation, Pending, QUARANTINE_PREFIX, WalletRecord, certificate_key, orphans_of, quarantine_key,
    unverified_record,
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

/// What a wallet in quarantine is by this node's store.
pub(super) struct StoredWallet {
    record: WalletRecord,
    /// Restored shares are set aside because of it: see [`KeygenArgs::set_aside_for`].
    replaces: bool,
}

impl Quarantine {
    /// A wallet is destroyed: there is nothing to confirm.
    pub fn forget(&mut self, wallet: &WalletId) {
        self.waiting.remove(wallet);
        self.wallets.remove(wallet);
    }

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
                match self.args.stored_wallet(&wallet).await? {
                    Some(stored) => self.hold_in_quarantine(wallet, &stored),
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
            // Until the store says whether it does.
            self.hold_in_quarantine(wallet.clone(), &StoredWallet { record: record.clone(), replaces: true });
            self.look_into(myself, wallet.clone(), None);
            self.confirm();
            self.ask_later(myself);
        }
    }

    fn hold_in_quarantine(&mut self, wallet: WalletId, stored: &StoredWallet) {
        let confirmation = Confirmation::new(&stored.record, self.args.identity.id(), stored.replaces);
        self.quarantine.wallets.insert(wallet, Held { session: stored.record.session, confirmation, lifting: false });
    }

    /// Reads what a wallet in quarantine is, beside other work; `from` said that it knows it otherwise.
    fn look_into(&self, myself: &ActorRef<KeygenMsg>, wallet: WalletId, from: Option<NodeId>) {
        let args = self.args.clone();
        beside(myself, async move {
            let result = args.stored_wallet(&wallet).await.map_err(|error| error.code());
            Work::Reread { from, wallet, result }
        });
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
            // It came out of a backup there, too, and may be as old as here.
            PendingOutcome::Unconfirmed(_) => return,
            PendingOutcome::Absent => {
                // Where that is because the wallet was reshared since, the member sends its certificate along, and resharing
                // puts it in force. What has to be confirmed then is the new one.
                self.look_into(myself, wallet.clone(), Some(from));
                return;
            }
            PendingOutcome::Pending(_) | PendingOutcome::Running => return,
        }
        if held.confirmation.confirmed(from) {
            self.lift(myself, wallet.clone(), None);
        }
    }

    /// The operator takes it on himself that a wallet is current: nobody is left who could say so.
    pub(super) fn release(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        reply: RpcReplyPort<Result<(), Failure>>,
    ) {
        if self.quarantine.wallets.contains_key(&wallet) {
            tracing::warn!(%wallet, "the operator lets a restored wallet out of quarantine");
            self.lift(myself, wallet, Some(reply));
        } else {
            let reason = format!("wallet {wallet} is not in quarantine");
            // Whoever asked may have gone.
            let _ = reply.send(Err(Failure::new(Code::KeyNotFound, reason)));
        }
    }

    /// Lets a wallet out of quarantine.
    fn lift(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        wallet: WalletId,
        reply: Option<RpcReplyPort<Result<(), Failure>>>,
    ) {
        if let Some(held) = self.quarantine.wallets.get_mut(&wallet) {
            held.lifting = true;
        }
        let args = self.args.clone();
        beside(myself, async move {
            let result = args.lift(&wallet).await.map_err(|error| error.code());
            Work::Lifted { wallet, result, reply }
        });
    }

    /// What a wallet in quarantine is was read again.
    pub(super) fn reread(
        &mut self,
        myself: &ActorRef<KeygenMsg>,
        from: Option<NodeId>,
        wallet: WalletId,
        result: Result<Option<StoredWallet>, Code>,
    ) {
        // What cannot be read now is read when a member answers again, or in the next life.
        let Ok(Some(stored)) = result else { return };
        let Some(held) = self.quarantine.wallets.get_mut(&wallet) else { return };
        if held.session != stored.record.session {
            self.hold_in_quarantine(wallet, &stored);
            self.confirm();
            return;
        }
        let is_complete = held.confirmation.replaces(stored.replaces);
        if let Some(peer) = from {
            tracing::warn!(%peer, %wallet, "a restored wallet is not what a member knows: it stays in quarantine");
        } else if is_complete && !held.lifting {
            self.lift(myself, wallet, None);
        }
    }

    /// A wallet was let out of quarantine, or could not be yet.
    pub(super) fn lifted(
        &mut self,
        wallet: &WalletId,
        result: Result<(), Code>,
        reply: Option<RpcReplyPort<Result<(), Failure>>>,
    ) {
        match result {
            Ok(()) => {
                tracing::info!(%wallet, "a restored wallet is out of quarantine");
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
        if let Some(reply) = reply {
            let outcome = result.map_err(|code| Failure::new(code, "the node's store failed"));
            // Whoever asked may have gone.
            let _ = reply.send(outcome);
        }
    }
}

impl KeygenArgs {
    /// Whether a restore has marked a wallet, and nobody has confirmed it.
    pub(super) async fn is_in_quarantine(&self, wallet: &WalletId) -> Result<bool, StorageError> {
        Ok(self.storage.get(Family::Meta, quarantine_key(wallet)).await?.is_some())
    }

    /// What a wallet is by its stored certificate, if that is there and decodes. Without it there is nothing to confirm, and
    /// nothing to sign with.
    async fn stored_wallet(&self, wallet: &WalletId) -> Result<Option<StoredWallet>, StorageError> {
        let stored = self.storage.get(Family::Wallets, certificate_key(wallet)).await?;
        let Some(certificate) = stored else { return Ok(None) };
        match unverified_record(certificate.expose()) {
            Ok(record) => {
                let replaces = !self.set_aside_for(&record).await?.is_empty();
                Ok(Some(StoredWallet { record, replaces }))
            }
            Err(error) => {
                tracing::error!(%wallet, %error, "a restored wallet certificate does not decode");
                Ok(None)
            }
        }
    }

    /// The keys of the restored shares that were set aside because of this record: they are of earlier generations.
    async fn set_aside_for(&self, record: &WalletRecord) -> Result<Vec<Vec<u8>>, StorageError> {
        let prefix = orphans_of(&record.wallet);
        let listing = Listing { family: Family::Shares, prefix, after: None, limit: PAGE };
        let page = self.storage.list(listing).await?;
        let is_earlier = |value: &SecretBytes| {
            let earlier =
                Pending::decode(value.expose()).ok().and_then(|aside| WalletRecord::decode(&aside.record).ok());
            earlier.is_some_and(|earlier| record.succeeds(&earlier))
        };
        Ok(page.records.into_iter().filter(|orphan| is_earlier(&orphan.value)).map(|orphan| orphan.key).collect())
    }

    /// Removes the mark of a wallet, and with it the restored shares that another generation takes the place of.
    async fn lift(&self, wallet: &WalletId) -> Result<(), StorageError> {
        let stored = self.storage.get(Family::Wallets, certificate_key(wallet)).await?;
        let mut lifted = Batch::new().delete(Family::Meta, quarantine_key(wallet));
        if let Some(certificate) = &stored {
            // What takes its place meanwhile is not what was confirmed.
            let sha256 = Sha256::digest(certificate.expose()).into();
            lifted = lifted.require_hash(Family::Wallets, certificate_key(wallet), sha256);
        }
        let record = stored.and_then(|certificate| unverified_record(certificate.expose()).ok());
        let erased = match &record {
            Some(record) => self.set_aside_for(record).await?,
            None => Vec::new(),
        };
        let is_to_clear = !erased.is_empty();
        for key in erased {
            lifted = lifted.delete(Family::Shares, key);
        }
        if is_to_clear {
            lifted = note_erased(lifted);
        }
        self.storage.write(lifted, Durability::Synced).await?;
        if is_to_clear {
            let storage = self.storage.clone();
            tokio::spawn(async move {
                // What cannot be cleared now is cleared when the node starts again.
                if let Err(error) = clear_erased(&storage).await {
                    tracing::error!(%error, "deleted shares may still be in the store's files");
                }
            });
        }
        Ok(())
    }
}
