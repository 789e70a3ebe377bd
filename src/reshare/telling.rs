//! Who does not know of a reshare yet, and is told until it says that it does.

use std::collections::{BTreeMap, BTreeSet};

use ractor::{ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

use super::actor::{ReshareMsg, ReshareState};
use super::purging::PURGE_KEY;
use super::work::Work;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::secret::SecretBytes;
use crate::storage::{Batch, Durability, Family, Listing};
use crate::supervision::beside;
use crate::transport::Credit;
use crate::wallet::{WalletCertificate, certificate_key};
use crate::wire::codec;
use crate::wire::message::PeerMessage;

/// The most notices read at a time.
const PAGE: usize = 256;
/// The most wallets that a node is told of at a time.
const MAX_TOLD: usize = 128;
/// The longest encoded notice, in bytes: the members of six committees and a session.
const MAX_NOTICE_BYTES: usize = 8 * 1024;
/// The prefix of the notices' storage keys.
const PREFIX: &[u8] = b"reshared\0";

/// Who does not know of a wallet's latest reshare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notice {
    /// The reshare.
    pub session: SheetHash,
    /// Who has not said that it knows.
    pub nodes: BTreeSet<NodeId>,
}

impl Notice {
    /// The storage key of the notice of a wallet's reshare.
    pub fn key(wallet: &WalletId, session: SheetHash) -> Vec<u8> {
        [&Self::prefix(wallet), &session.0[..]].concat()
    }

    /// What the keys of all notices of a wallet begin with. Wallet ids hold no NUL.
    pub fn prefix(wallet: &WalletId) -> Vec<u8> {
        [PREFIX, wallet.as_str().as_bytes(), b"\0"].concat()
    }

    /// The wallet of a storage key.
    fn wallet(key: &[u8]) -> Option<WalletId> {
        let name = key.strip_prefix(PREFIX)?.split(|&byte| byte == 0).next()?;
        std::str::from_utf8(name).ok()?.parse().ok()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        codec::decode(bytes, MAX_NOTICE_BYTES).ok()
    }

    pub fn encode(&self) -> Result<SecretBytes, Code> {
        codec::encode(self, MAX_NOTICE_BYTES).map(SecretBytes::from_vec).map_err(|_| Code::Internal)
    }
}

/// What the storage keys of all notices of a wallet begin with.
pub(crate) fn notices_prefix(wallet: &WalletId) -> Vec<u8> {
    Notice::prefix(wallet)
}

/// Whether this is one of resharing's notes in the store: for whoever checks a whole store.
pub(crate) fn is_reshare_note(key: &[u8], value: &[u8]) -> bool {
    // What the note about purging says is only compared.
    key == PURGE_KEY || (Notice::wallet(key).is_some() && Notice::decode(value).is_some())
}

/// A note about purging and one that `node` does not know of a reshare, as they are stored.
#[cfg(test)]
pub(crate) fn some_reshare_notes(wallet: &WalletId, node: NodeId) -> [(Vec<u8>, SecretBytes); 2] {
    let session = SheetHash([7; 32]);
    let notice = Notice { session, nodes: [node].into() };
    [(PURGE_KEY.to_vec(), SecretBytes::copy_from(&session.0)), (Notice::key(wallet, session), notice.encode().unwrap())]
}

/// The notices of all wallets, and who knew of a reshare before this node did.
#[derive(Default)]
pub(super) struct Notices {
    waiting: BTreeMap<WalletId, Notice>,
    early: BTreeMap<SheetHash, BTreeSet<NodeId>>,
}

impl Notices {
    /// How many wallets there are that not everybody concerned knows the latest of.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// From now on these nodes have to be told.
    pub fn insert(&mut self, wallet: WalletId, mut notice: Notice) {
        let early = self.early.remove(&notice.session).unwrap_or_default();
        notice.nodes.retain(|node| !early.contains(node));
        self.waiting.insert(wallet, notice);
    }

    /// A node knows of a reshare that this node is still at.
    pub fn knows_early(&mut self, node: NodeId, session: SheetHash) {
        self.early.entry(session).or_default().insert(node);
    }

    /// Who knew of a reshare before this node.
    pub fn knowing(&self, session: SheetHash) -> BTreeSet<NodeId> {
        self.early.get(&session).cloned().unwrap_or_default()
    }

    /// Nobody is told of a wallet's reshares any more.
    pub fn remove(&mut self, wallet: &WalletId) {
        self.waiting.remove(wallet);
    }

    /// This node is no longer at a reshare.
    pub fn forget(&mut self, session: SheetHash) {
        self.early.remove(&session);
    }

    /// A node knows of a reshare. Says whether it was the last one: then the notice is forgotten here.
    pub fn knows(&mut self, node: NodeId, wallet: &WalletId, session: SheetHash) -> bool {
        let Some(notice) = self.waiting.get_mut(wallet).filter(|notice| notice.session == session) else {
            return false;
        };
        notice.nodes.remove(&node);
        let all = notice.nodes.is_empty();
        if all {
            self.waiting.remove(wallet);
        }
        all
    }

    /// Some of the wallets that a node has to be told of.
    fn for_node(&self, node: NodeId) -> Vec<WalletId> {
        let concerned = self.waiting.iter().filter(|(_, notice)| notice.nodes.contains(&node));
        concerned.map(|(wallet, _)| wallet.clone()).take(MAX_TOLD).collect()
    }

    /// Everybody who has to be told something.
    fn nodes(&self) -> BTreeSet<NodeId> {
        self.waiting.values().flat_map(|notice| notice.nodes.iter().copied()).collect()
    }
}

impl ReshareState {
    /// Reads who has not been told in earlier lives.
    pub(super) async fn load_notices(&mut self) -> Result<(), ActorProcessingErr> {
        let mut after = None;
        loop {
            let listing = Listing { family: Family::Meta, prefix: PREFIX.to_vec(), after: after.take(), limit: PAGE };
            let page = self.args.storage.list(listing).await?;
            for record in &page.records {
                match (Notice::wallet(&record.key), Notice::decode(record.value.expose())) {
                    (Some(wallet), Some(notice)) => self.notices.insert(wallet, notice),
                    _ => tracing::error!(key = %hex::encode(&record.key), "a notice does not decode"),
                }
            }
            if !page.more {
                return Ok(());
            }
            after = page.records.last().map(|record| record.key.clone());
        }
    }

    /// Tells every node that can be reached what it does not know.
    pub(super) fn tell_all(&self) {
        for node in self.notices.nodes() {
            self.tell(node);
        }
    }

    /// Tells a node what it does not know, if it can be reached.
    pub(super) fn tell(&self, node: NodeId) {
        let wallets = self.notices.for_node(node);
        if wallets.is_empty() || !self.view.peers.get(&node).is_some_and(|peer| peer.linked) {
            return;
        }
        let (args, post) = (self.args.clone(), self.dealings.post().clone());
        tokio::spawn(async move {
            for wallet in wallets {
                // What cannot be read now is told another time.
                let stored = args.storage.get(Family::Wallets, certificate_key(&wallet)).await;
                if let Ok(Some(bytes)) = stored {
                    post.transmit(node, PeerMessage::Reshared { wallet, certificate: bytes.expose().to_vec() });
                }
            }
        });
    }

    /// A node gives a certificate.
    pub(super) fn told(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        from: NodeId,
        wallet: WalletId,
        certificate: Vec<u8>,
        credit: Credit,
    ) {
        if !self.answering.begin(from) {
            // It tells again.
            return;
        }
        let (args, writing) = (self.args.clone(), self.args.writing());
        let knowing = self.at_work(&wallet).map(|session| self.notices.knowing(session)).unwrap_or_default();
        beside(myself, async move {
            let peers = std::sync::Arc::clone(&args.peers);
            let decoded = args.pool.run(move || WalletCertificate::decode(&certificate, &peers)).await;
            let result = match decoded.map_err(|_| Code::Internal).and_then(|c| c.map_err(|error| error.code())) {
                Ok(certificate) => {
                    let session = certificate.record().session;
                    args.adopt(&wallet, certificate, &knowing).await.map(|adopted| (session, adopted))
                }
                Err(code) => Err(code),
            };
            drop((writing, credit));
            Work::Told { from, wallet, result }
        });
    }

    /// A node says that it knows of a reshare.
    pub(super) fn known(&mut self, from: NodeId, wallet: WalletId, session: SheetHash) {
        if self.at_work(&wallet) == Some(session) {
            self.notices.knows_early(from, session);
        } else if self.notices.knows(from, &wallet, session) {
            let args = self.args.clone();
            tokio::spawn(async move {
                // A notice that stays makes this node tell all of them once more.
                let gone = Batch::new().delete(Family::Meta, Notice::key(&wallet, session));
                let _ = args.storage.write(gone, Durability::Buffered).await;
            });
        }
    }
}
