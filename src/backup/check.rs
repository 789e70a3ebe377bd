//! Whether the records of a backup are what they should be: what a node would find out when it uses them.

use std::collections::BTreeMap;

use super::BackupError;
use super::frame::{Head, Record};
use crate::checkup::is_checkup;
use crate::destruction::is_destruction_note;
use crate::identity::PeerBook;
use crate::ids::{Generation, NodeId, Scheme, WalletId};
use crate::keygen::is_content_record;
use crate::pairing::{is_ban, is_pair};
use crate::protocol::share::KeyShare;
use crate::reshare::is_reshare_note;
use crate::secret::SecretBytes;
use crate::signing::AdmissionRecord;
use crate::storage::Family;
use crate::wallet::{
    ACTIVE_PREFIX, DestructionCertificate, ORPHAN_PREFIX, PENDING_PREFIX, Pending, QUARANTINE_PREFIX, RESHARING_PREFIX,
    RESTORED_KEY, Restored, WalletCertificate, WalletRecord, certificate_key, is_tombstone, share_key, tombstone_key,
    unverified_record,
};

/// The longest active share, in bytes.
const MAX_SHARE_BYTES: usize = 8 * 1024;
/// The most memory that shares take while they wait for their certificates, in bytes: about a million of them.
const MAX_WAITING_BYTES: usize = 1 << 30;
/// What a share that waits takes beside its key and its value, about.
const WAITING_BYTES: usize = 128;

/// How many records of each family a backup holds, and how many wallets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By family.
    pub records: BTreeMap<Family, u64>,
    /// Wallets with a certificate.
    pub wallets: u64,
    /// Wallets that were destroyed, with the certificates of that.
    pub destroyed: u64,
    /// Active shares, each of which fits its certificate.
    pub shares: u64,
    /// Shares that the node should have and has not: it was away from its disk when the key was reshared, and has to be
    /// dealt one again.
    pub missing: u64,
}

/// Checks records as they come, in the order of the store: shares before the certificates that they must fit.
pub(super) struct Checker<'a> {
    cluster: crate::ids::ClusterId,
    node: NodeId,
    peers: Option<&'a PeerBook>,
    /// Active shares whose certificate has not come yet, by their storage keys.
    shares: BTreeMap<Vec<u8>, SecretBytes>,
    /// How many bytes these may still take.
    pub(super) room: usize,
    tally: Tally,
}

impl<'a> Checker<'a> {
    /// With a peer book, certificates must be signed by all their members; without, only what they say is checked.
    pub(super) fn new(head: &Head, peers: Option<&'a PeerBook>) -> Self {
        let (shares, tally) = (BTreeMap::new(), Tally::default());
        Self { cluster: head.cluster.clone(), node: head.node, peers, shares, room: MAX_WAITING_BYTES, tally }
    }

    /// Checks one record.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), BackupError> {
        let (family, key, value) = (record.family, record.key.as_slice(), record.value.expose());
        let count = self.tally.records.entry(family).or_default();
        *count = count.saturating_add(1);
        let problem = match family {
            Family::Shares => return self.take_share(record),
            Family::Wallets => return self.take_wallet(record),
            Family::Pairs if !is_pair(key, value) => "the pair setup is damaged",
            Family::Bans if !is_ban(key, value) => "the ban does not decode",
            Family::Results if !is_result(key, value) => "the result does not decode",
            Family::Meta if !is_note(key, value) => "the note does not decode",
            Family::Pairs | Family::Bans | Family::Results | Family::Audit | Family::Meta => return Ok(()),
        };
        Err(BackupError::record(family, key, problem))
    }

    /// Checks what could only be checked when all had come.
    pub(super) fn finish(self) -> Result<Tally, BackupError> {
        match self.shares.first_key_value() {
            Some((key, _)) => Err(BackupError::record(Family::Shares, key, "there is no wallet that it is of")),
            None => Ok(self.tally),
        }
    }

    fn take_share(&mut self, record: &Record) -> Result<(), BackupError> {
        let wrong = |problem| Err(BackupError::record(Family::Shares, &record.key, problem));
        if record.key.starts_with(ACTIVE_PREFIX) {
            let bytes = record.value.len();
            if bytes > MAX_SHARE_BYTES {
                return wrong("it is too long for a share");
            }
            let room = self.room.checked_sub(record.key.len().saturating_add(bytes).saturating_add(WAITING_BYTES));
            let Some(room) = room else { return wrong("there are more shares than are checked at a time") };
            self.room = room;
            self.shares.insert(record.key.clone(), SecretBytes::copy_from(record.value.expose()));
            return Ok(());
        }
        let is_pending =
            [PENDING_PREFIX, RESHARING_PREFIX, ORPHAN_PREFIX].iter().any(|prefix| record.key.starts_with(prefix));
        if !is_pending {
            return wrong("it is of no kind that this release knows");
        }
        let Ok(pending) = Pending::decode(record.value.expose()) else { return wrong("it does not decode") };
        let Ok(wallet) = WalletRecord::decode(&pending.record) else { return wrong("its wallet does not decode") };
        for (scheme, share) in pending.shares() {
            if !is_share(&wallet, scheme, self.node, &share) {
                return wrong("it is not a share of its key");
            }
        }
        Ok(())
    }

    /// Checks a certificate, and the shares of its keys.
    fn take_wallet(&mut self, record: &Record) -> Result<(), BackupError> {
        let wrong = |problem| Err(BackupError::record(Family::Wallets, &record.key, problem));
        let bytes = record.value.expose();
        if is_tombstone(&record.key) {
            let named = match self.peers.map(|peers| (peers, DestructionCertificate::decode(bytes, peers))) {
                Some((_, Ok(known))) => Ok(known.record().wallet.clone()),
                // It outlives the membership of those who signed it.
                Some((peers, Err(error))) if error.signer().is_none_or(|node| peers.get(node).is_some()) => Err(error),
                Some(_) | None => DestructionCertificate::unverified_wallet(bytes),
            };
            if named.is_ok_and(|wallet| tombstone_key(&wallet) == record.key) {
                self.tally.destroyed = self.tally.destroyed.saturating_add(1);
                return Ok(());
            }
            return wrong("its certificate of destruction is not valid");
        }
        let wallet = match self.peers {
            Some(peers) => WalletCertificate::decode(bytes, peers).map(|certificate| certificate.record().clone()),
            None => unverified_record(bytes),
        };
        let Ok(wallet) = wallet else { return wrong("its certificate is not valid") };
        if wallet.cluster != self.cluster || certificate_key(&wallet.wallet) != record.key {
            return wrong("its certificate is of another wallet");
        }
        for key in wallet.keys.iter().filter(|key| key.member(self.node).is_some()) {
            let scheme = key.group.scheme();
            let place = share_key(&wallet.wallet, scheme, key.generation);
            let Some(share) = self.shares.remove(&place) else {
                if key.generation == Generation(0) {
                    return wrong("its share is missing");
                }
                self.tally.missing = self.tally.missing.saturating_add(1);
                continue;
            };
            if !is_share(&wallet, scheme, self.node, &share) {
                return Err(BackupError::record(Family::Shares, &place, "it is not the share of its key"));
            }
            self.tally.shares = self.tally.shares.saturating_add(1);
        }
        self.tally.wallets = self.tally.wallets.saturating_add(1);
        Ok(())
    }
}

/// Whether these bytes are this node's share of a wallet's key.
fn is_share(wallet: &WalletRecord, scheme: Scheme, node: NodeId, share: &SecretBytes) -> bool {
    let Some(key) = wallet.key(scheme) else { return false };
    let share = KeyShare::from_secret_bytes(share.expose(), &key.group);
    share.is_ok_and(|share| key.member(node).is_some_and(|member| member.index == share.index()))
}

fn is_result(key: &[u8], value: &[u8]) -> bool {
    (key.starts_with(b"sign\0") && AdmissionRecord::decode(value).is_ok())
        || (key.starts_with(b"keygen\0") && is_content_record(value))
        || is_checkup(key, value)
}

fn is_note(key: &[u8], value: &[u8]) -> bool {
    let of_wallet = |name: &[u8]| std::str::from_utf8(name).ok().is_some_and(|name| name.parse::<WalletId>().is_ok());
    match key.strip_prefix(QUARANTINE_PREFIX) {
        Some(name) => of_wallet(name) && Restored::decode(value).is_ok(),
        None => {
            (key == RESTORED_KEY && Restored::decode(value).is_ok())
                || is_reshare_note(key, value)
                || is_destruction_note(key)
        }
    }
}
