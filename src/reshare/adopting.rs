//! The moment at which a reshare takes effect on a node: one write, and nothing in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Switched;
use super::args::ReshareArgs;
use super::prepare::Stored;
use super::purging::note_erased;
use super::telling::Notice;
use crate::error::Code;
use crate::ids::{NodeId, WalletId};
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, Listing, StorageError};
use crate::wallet::{
    Pending, RECORD_DOMAIN, WalletCertificate, WalletRecord, certificate_key, members, orphan_key, orphans_of,
    quarantine_key, resharing_key, share_key, tombstone_key,
};

/// The most reshares of one wallet that are looked for among those that were set aside.
const MAX_SET_ASIDE: usize = 64;
/// How often a certificate is tried to be put in when something else changes the wallet at the same time.
const ATTEMPTS: usize = 4;

/// What a node knows of a wallet after it was given a certificate.
#[derive(Debug)]
pub(super) struct Adopted {
    /// What is in force.
    pub certificate: Arc<WalletCertificate>,
    /// Whom to tell; none where it was in force before.
    pub notice: Option<Notice>,
}

/// What holds the new shares, and the key that it is stored under.
struct Source {
    pending: Pending,
    key: Vec<u8>,
}

impl ReshareArgs {
    /// Puts a certificate in force: in one write it takes the place of the one before, the new shares become active, and
    /// the old ones are deleted. `knowing` are nodes that need not be told.
    ///
    /// Old shares that came out of a backup and are not confirmed are set aside, unless this node took part in the reshare
    /// itself: key generation erases them when enough members have confirmed the new ones.
    ///
    /// # Errors
    /// When it is not a certificate of this wallet, or does not follow what is in force here.
    pub(super) async fn adopt(
        &self,
        wallet: &WalletId,
        certificate: WalletCertificate,
        knowing: &BTreeSet<NodeId>,
    ) -> Result<Adopted, Code> {
        if certificate.record().wallet != *wallet || certificate.record().cluster != self.cluster {
            return Err(Code::ProtocolViolation);
        }
        let certificate = Arc::new(certificate);
        for _ in 0..ATTEMPTS {
            if let Some(adopted) = self.try_adopt(wallet, &certificate, knowing).await? {
                return Ok(adopted);
            }
        }
        Err(Code::ConcurrencyLimit)
    }

    /// As [`ReshareArgs::adopt`]; nothing where the wallet has changed meanwhile.
    async fn try_adopt(
        &self,
        wallet: &WalletId,
        certificate: &Arc<WalletCertificate>,
        knowing: &BTreeSet<NodeId>,
    ) -> Result<Option<Adopted>, Code> {
        let record = certificate.record();
        let before = self.stored(wallet).await.map_err(|failure| failure.code)?;
        if let Some(Stored { certificate: before, .. }) = &before {
            let known = before.record();
            if known == record || known.succeeds(record) {
                return Ok(Some(Adopted { certificate: Arc::clone(before), notice: None }));
            }
            if !record.succeeds(known) {
                tracing::error!(%wallet, session = %record.session, "two certificates of a wallet exclude each other");
                return Err(Code::ProtocolViolation);
            }
        }
        let pending = self.pending(wallet).await?.map(|pending| Source { pending, key: resharing_key(wallet) });
        let held: Vec<Source> = self.set_aside_before(wallet).await?.into_iter().chain(pending).collect();
        let encoded = record.encode().map_err(|error| error.code())?;
        let source = held.iter().rev().find(|held| held.pending.record == encoded);
        let quarantine = quarantine_key(wallet);
        let mark = self.storage.get(Family::Meta, quarantine.clone()).await.map_err(|error| error.code())?;
        // What was restored may be what is left of the key: that others were at this generation once is the word of one peer.
        let keeps = mark.is_some() && source.is_none();
        if before.is_none() && source.is_none() && !members(record).contains(&self.identity.id()) {
            // It is no member, and was none as far as it knows: there is nothing to keep or to erase. As a member it has
            // signed the record itself; then its disk was lost since, and it must know what it has to be given again.
            return Ok(Some(Adopted { certificate: Arc::clone(certificate), notice: None }));
        }

        let earlier = self.earlier_notices(wallet).await?;
        let mut notice = Self::notice(before.as_ref(), source, record);
        // Those too who have not heard of an earlier reshare yet.
        notice.nodes.extend(earlier.iter().flat_map(|(_, notice)| &notice.nodes));
        notice
            .nodes
            .retain(|&node| node != self.identity.id() && !knowing.contains(&node) && self.peers.get(node).is_some());
        let bytes = SecretBytes::from_vec(certificate.encode().map_err(|error| error.code())?);
        let mut batch = match &before {
            Some(before) => Batch::new().require_hash(Family::Wallets, certificate_key(wallet), before.sha256),
            None => Batch::new().require_absent(Family::Wallets, certificate_key(wallet)),
        };
        batch = batch.require_absent(Family::Wallets, tombstone_key(wallet)).put(
            Family::Wallets,
            certificate_key(wallet),
            bytes,
        );
        if keeps {
            batch = batch.require_present(Family::Meta, quarantine);
        }
        if let Some(before) = &before {
            if keeps && let Some(aside) = self.kept(before.certificate.record()).await? {
                batch = batch.put(Family::Shares, orphan_key(wallet, before.certificate.record().session), aside);
            }
            for old in &before.certificate.record().keys {
                let scheme = old.group.scheme();
                if record.key(scheme).is_some_and(|key| key.generation > old.generation) {
                    batch = batch.delete(Family::Shares, share_key(wallet, scheme, old.generation));
                }
            }
        }
        for (scheme, share) in source.iter().flat_map(|source| source.pending.shares()) {
            let key = record.key(scheme).ok_or(Code::Internal)?;
            batch = batch.put(Family::Shares, share_key(wallet, scheme, key.generation), share);
        }
        // What does not follow this record will never be of use.
        let obsolete = held
            .iter()
            .filter(|held| WalletRecord::decode(&held.pending.record).map_or(true, |later| !later.succeeds(record)));
        for held in obsolete {
            let aside = orphan_key(wallet, held.pending.session);
            if keeps && held.key == aside {
                continue;
            }
            batch = batch.require_present(Family::Shares, held.key.clone()).delete(Family::Shares, held.key.clone());
            if keeps {
                batch = batch.put(Family::Shares, aside, held.pending.encode().map_err(|_| Code::Internal)?);
            }
        }
        for (key, _) in earlier {
            batch = batch.delete(Family::Meta, key);
        }
        if !notice.nodes.is_empty() {
            batch = batch.put(Family::Meta, Notice::key(wallet, notice.session), notice.encode()?);
        }
        batch = note_erased(batch);
        match self.storage.write(batch, Durability::Synced).await {
            Ok(()) => {
                for user in &self.users {
                    // One that is not there has no session with the erased shares, and finds none when it is back.
                    let _ = user.deliver(Switched(Arc::clone(certificate)));
                }
                Ok(Some(Adopted { certificate: Arc::clone(certificate), notice: Some(notice) }))
            }
            Err(StorageError::ConditionFailed(_)) => Ok(None),
            Err(error) => {
                tracing::error!(%wallet, %error, "failed to put a reshare in force");
                Err(error.code())
            }
        }
    }

    /// This node's shares of a wallet as it was, as they are set aside; nothing where it has none.
    async fn kept(&self, before: &WalletRecord) -> Result<Option<SecretBytes>, Code> {
        let mut shares = BTreeMap::new();
        for key in &before.keys {
            let scheme = key.group.scheme();
            let name = share_key(&before.wallet, scheme, key.generation);
            let share = self.storage.get(Family::Shares, name).await.map_err(|error| error.code())?;
            shares.extend(share.map(|share| (scheme, share)));
        }
        if shares.is_empty() {
            return Ok(None);
        }
        let bytes = before.encode().map_err(|error| error.code())?;
        let signature = self.identity.sign(RECORD_DOMAIN, &[&bytes]);
        // No request waits for it.
        let aside = Pending::new(before.session, [0; 32], bytes, signature, &shares);
        aside.encode().map(Some).map_err(|_| Code::Internal)
    }

    /// Who has to be told: everybody who was a member or is one, or took part.
    fn notice(before: Option<&Stored>, source: Option<&Source>, record: &WalletRecord) -> Notice {
        let mut nodes = members(record);
        nodes.extend(before.iter().flat_map(|before| members(before.certificate.record())));
        if let Some(source) = source {
            nodes.extend(source.pending.signers(record));
            nodes.extend(&source.pending.former);
        }
        Notice { session: record.session, nodes }
    }

    /// Who has not been told of earlier reshares of a wallet, with the storage keys.
    async fn earlier_notices(&self, wallet: &WalletId) -> Result<Vec<(Vec<u8>, Notice)>, Code> {
        let prefix = Notice::prefix(wallet);
        let listing = Listing { family: Family::Meta, prefix, after: None, limit: MAX_SET_ASIDE };
        let page = self.storage.list(listing).await.map_err(|error| error.code())?;
        let decode = |record: crate::storage::Record| Some((record.key, Notice::decode(record.value.expose())?));
        Ok(page.records.into_iter().filter_map(decode).collect())
    }

    /// The reshares of a wallet that were set aside.
    async fn set_aside_before(&self, wallet: &WalletId) -> Result<Vec<Source>, Code> {
        let listing = Listing { family: Family::Shares, prefix: orphans_of(wallet), after: None, limit: MAX_SET_ASIDE };
        let page = self.storage.list(listing).await.map_err(|error| error.code())?;
        let decode = |value: &SecretBytes| Pending::decode(value.expose()).ok();
        let sources = page
            .records
            .into_iter()
            .filter_map(|record| Some(Source { pending: decode(&record.value)?, key: record.key }));
        Ok(sources.collect())
    }

    /// Sets what is pending aside, because by what the others say no certificate can exist. It stays, since one that said
    /// so and signed all the same must not cost this node its share.
    pub(super) async fn set_aside(&self, wallet: &WalletId) -> Result<(), Code> {
        let Some(pending) = self.pending(wallet).await? else {
            // An earlier write was answered too late, or not at all.
            return Ok(());
        };
        let batch = Batch::new()
            .require_present(Family::Shares, resharing_key(wallet))
            .put(Family::Shares, orphan_key(wallet, pending.session), pending.encode().map_err(|_| Code::Internal)?)
            .delete(Family::Shares, resharing_key(wallet));
        self.storage.write(batch, Durability::Synced).await.map_err(|error| error.code())
    }
}
