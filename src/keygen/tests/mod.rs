//! One real key generation actor, all of its neighbours played.

mod proposals;
mod settling;
mod storing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Generated, KeygenActor, KeygenArgs, KeygenMsg, KeygenSnapshot};
use crate::error::Failure;
use crate::ids::{Scheme, SessionId, SheetHash, Threshold, WalletId};
use crate::pairing::PairingMsg;
use crate::session::CryptoPool;
use crate::storage::{StorageHandle, StorageTimeouts};
use crate::supervision::Address;
use crate::testing::{Bench, PATIENCE, Probe, ProbeInbox, Silence, eventually};
use crate::transport::{Credit, Inbound, TransportMsg};
use crate::wire::message::{PeerMessage, PendingOutcome, Service, SessionBody};
use crate::wire::request::KeygenRequest;
use crate::wire::sheet::{SHEET_VERSION, Sheet, Task};

/// The member under test; those of lower numbers win over it.
const ME: usize = 1;

/// Soon enough to wait for.
const SOON: Duration = Duration::from_millis(20);

struct Rig {
    bench: Bench,
    store: StorageHandle,
    keygen: Address<KeygenMsg>,
    transport: ProbeInbox<TransportMsg>,
    _pairing: ProbeInbox<PairingMsg>,
    _folder: TempDir,
}

impl Rig {
    /// A member of a cluster with a pool of one place, whose store is readied, and whose arguments are changed, before it
    /// starts.
    async fn start(
        threshold: (u8, u8),
        ready: impl AsyncFnOnce(&Bench, &StorageHandle),
        change: impl FnOnce(&mut KeygenArgs),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(Threshold::new(threshold.0, threshold.1).unwrap());
        bench.pool = CryptoPool::new(1);
        let storage = bench.storage(ME, folder.path()).await;
        let store = bench.handle(&storage);
        ready(&bench, &store).await;
        let (to_transport, transport) = Probe::start().await;
        let (to_pairing, pairing) = Probe::start().await;
        let mut args = bench.keygen(ME, &storage, &to_transport, &to_pairing);
        change(&mut args);
        let keygen = args.myself.clone();
        drop(Bench::start(KeygenActor, args, &keygen).await);
        Self { bench, store, keygen, transport, _pairing: pairing, _folder: folder }
    }

    async fn silence(&self) -> Silence {
        Silence::of(&self.bench.pool, 1).await
    }

    fn request(&self, wallet: &str) -> KeygenRequest {
        let builder = KeygenRequest::builder(wallet_id(wallet)).key_types(&[Scheme::Ed25519]);
        builder.sign_with(&self.bench.initiator).unwrap()
    }

    /// A client of the member asks for a wallet.
    fn ask(&self, wallet: &str) -> JoinHandle<Result<Generated, Failure>> {
        let (keygen, request) = (self.keygen.clone(), self.request(wallet));
        tokio::spawn(async move {
            keygen.call(PATIENCE, |reply| KeygenMsg::Generate { request, reply }).await.expect("an answer")
        })
    }

    /// The sheet of member 0 for a wallet, to be through within this time.
    fn sheet(&self, wallet: &str, within: Duration) -> Sheet {
        let request = self.request(wallet);
        Sheet {
            version: SHEET_VERSION,
            cluster: self.bench.settings.cluster.clone(),
            session: SessionId(Uuid::new_v4().as_bytes().repeat(2).try_into().unwrap()),
            task: Task::Keygen {
                wallet: request.wallet().clone(),
                schemes: request.schemes(),
                threshold: self.bench.settings.threshold,
                request: request.bytes().to_vec(),
            },
            participants: self.bench.peers.committee(),
            coordinator: self.bench.id(0),
            attempt: 1,
            deadline_ms: self.bench.clock.now_ms() + u64::try_from(within.as_millis()).unwrap(),
        }
    }

    fn propose(&self, sheet: &Sheet) -> SheetHash {
        let (session, proposal) = self.bench.proposal(0, sheet);
        self.say(0, session, proposal);
        session
    }

    fn say(&self, from: usize, session: SheetHash, body: SessionBody) {
        let inbound = self.bench.said_by(from, Service::Keygen, session, body);
        self.keygen.cast(KeygenMsg::Peer(inbound)).unwrap();
    }

    fn reply(&self, from: usize, wallet: &WalletId, session: SheetHash, outcome: PendingOutcome) {
        self.send(from, PeerMessage::KeygenReply { wallet: wallet.clone(), session, outcome });
    }

    fn send(&self, from: usize, message: PeerMessage) {
        let inbound = Inbound { from: self.bench.id(from), message, credit: Credit::none() };
        self.keygen.cast(KeygenMsg::Peer(inbound)).unwrap();
    }

    /// What is said next in a session.
    async fn said(&mut self, session: SheetHash) -> SessionBody {
        self.transport.sent(session).await.1
    }

    async fn snapshot(&self) -> KeygenSnapshot {
        self.keygen.call(PATIENCE, KeygenMsg::Snapshot).await.unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&KeygenSnapshot) -> bool) {
        eventually(what, async || condition(&self.snapshot().await)).await.unwrap();
    }

    /// Waits until a write waits for the one that is held.
    async fn until_write_waits(&self) {
        eventually("another write waits", async || self.store.snapshot().await.unwrap().waiting > 0).await.unwrap();
    }
}

/// Gives a write up soon.
fn impatience() -> StorageTimeouts {
    StorageTimeouts { write: SOON, ..StorageTimeouts::default() }
}

fn wallet_id(name: &str) -> WalletId {
    name.parse().unwrap()
}
