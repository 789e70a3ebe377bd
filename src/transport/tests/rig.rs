//! Nodes that are nothing but a transport, on one broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use ractor::{Actor, ActorRef};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::secret::SecretBytes;
use crate::supervision::{Deliver, Unavailable};
use crate::transport::memory::{Faults, MemoryBroker};
use crate::transport::{
    DownReason, Forgery, Inbound, LinkConfig, LinkSnapshot, PeerEvent, Readiness, Services, TransportActor,
    TransportArgs, TransportMsg, TransportSnapshot, inbox_subject,
};
use crate::wire::message::{PeerMessage, SecretPayload, Service, SessionBody};

/// Longer than anything takes that is going to happen. On the paused clock, waiting in vain costs nothing.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn id(node: u8) -> NodeId {
    NodeId(Uuid::from_u128(node.into()))
}

pub(super) fn identity(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Node `n` connects under this name.
pub(super) fn name(node: u8) -> String {
    format!("node-{node}")
}

pub(super) fn subject(node: u8) -> String {
    inbox_subject(&"test".parse().unwrap(), id(node))
}

/// A message of about `len` bytes that carries a number.
pub(super) fn message(number: u64, len: usize) -> PeerMessage {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len.max(8), 0xab);
    PeerMessage::Session {
        service: Service::Signing,
        session: SheetHash([1; 32]),
        body: SessionBody::Round { round: 1, to: None, payload: SecretPayload(payload.into()), signature: [0; 64] },
    }
}

pub(super) fn number(message: &PeerMessage) -> u64 {
    match message {
        PeerMessage::Session { body: SessionBody::Round { payload, .. }, .. } => {
            u64::from_be_bytes(payload.0[..8].try_into().unwrap())
        }
        other => panic!("not a message of this rig: {other:?}"),
    }
}

/// A message that is not a round's.
pub(super) fn refusal(service: Service) -> PeerMessage {
    let body = SessionBody::Refuse { code: Code::Internal, answer: None };
    PeerMessage::Session { service, session: SheetHash([2; 32]), body }
}

/// Takes whatever it is given, for the test to look at.
pub(super) struct Collector<T>(UnboundedSender<T>);

impl<T: Send> Deliver<T> for Collector<T> {
    fn deliver(&self, value: T) -> Result<(), Unavailable> {
        self.0.send(value).map_err(|_| Unavailable)
    }
}

/// A service that panics.
pub(super) struct Bomb;

impl Deliver<Inbound> for Bomb {
    fn deliver(&self, _: Inbound) -> Result<(), Unavailable> {
        panic!("boom")
    }
}

fn collector<T: Send + 'static>() -> (Arc<Collector<T>>, UnboundedReceiver<T>) {
    let (sender, receiver) = unbounded_channel();
    (Arc::new(Collector(sender)), receiver)
}

/// The broker and the peer book.
pub(super) struct Rig {
    pub(super) broker: MemoryBroker,
    pub(super) faults: Faults,
    pub(super) config: LinkConfig,
    /// Identity seeds by node.
    pub(super) book: BTreeMap<u8, u8>,
}

impl Rig {
    /// A peer book of `nodes` nodes, numbered from 1.
    pub(super) fn new(nodes: u8) -> Self {
        let broker = MemoryBroker::new();
        let faults = broker.faults(1);
        let book = (1..=nodes).map(|node| (node, node)).collect();
        Self { broker, faults, config: LinkConfig::default(), book }
    }

    pub(super) fn args(&self, node: u8) -> (TransportArgs, Inboxes) {
        let (keygen, at_keygen) = collector();
        let (signing, at_signing) = collector();
        let (pairing, at_pairing) = collector();
        let (reshare, _) = collector();
        let (checkup, _) = collector();
        let (destruction, _) = collector();
        let (listener, events) = collector();
        let peers = self.book.iter().filter(|(peer, _)| **peer != node);
        let args = TransportArgs {
            me: id(node),
            cluster: "test".parse().unwrap(),
            secret: Arc::new(SecretBytes::copy_from(&identity(self.book[&node]).to_scalar_bytes())),
            peers: peers.map(|(&peer, &seed)| (id(peer), identity(seed).verifying_key())).collect(),
            broker: Arc::new(self.broker.connect(&name(node))),
            services: Services { keygen, signing, pairing, reshare, checkup, destruction },
            listeners: vec![listener],
            config: self.config,
            forgery: Forgery::default(),
        };
        (args, Inboxes { keygen: at_keygen, signing: at_signing, pairing: at_pairing, events })
    }

    pub(super) async fn start(&self, node: u8) -> Node {
        let (args, inboxes) = self.args(node);
        Node::start(args, inboxes).await
    }

    /// Two nodes with a link that is up on both sides.
    pub(super) async fn linked_pair(&self) -> (Node, Node) {
        let (mut a, mut b) = (self.start(1).await, self.start(2).await);
        a.up(2).await;
        b.up(1).await;
        (a, b)
    }
}

/// Where a node's messages and events end up.
pub(super) struct Inboxes {
    pub(super) keygen: UnboundedReceiver<Inbound>,
    pub(super) signing: UnboundedReceiver<Inbound>,
    pub(super) pairing: UnboundedReceiver<Inbound>,
    pub(super) events: UnboundedReceiver<PeerEvent>,
}

/// A running transport.
pub(super) struct Node {
    pub(super) transport: ActorRef<TransportMsg>,
    pub(super) handle: JoinHandle<()>,
    pub(super) inboxes: Inboxes,
}

impl Node {
    pub(super) async fn start(args: TransportArgs, inboxes: Inboxes) -> Self {
        let (transport, handle) = Actor::spawn(None, TransportActor, args).await.unwrap();
        Self { transport, handle, inboxes }
    }

    pub(super) fn send(&self, to: u8, message: PeerMessage) {
        self.transport.cast(TransportMsg::Send { to: id(to), message }).unwrap();
    }

    /// The next event that is no readiness. Those come with every heartbeat, so the limit is on all of them together.
    pub(super) async fn event(&mut self) -> PeerEvent {
        let event = async {
            loop {
                let event = self.inboxes.events.recv().await.unwrap();
                if !matches!(event, PeerEvent::Readiness { .. }) {
                    return event;
                }
            }
        };
        timeout(LIMIT, event).await.expect("an event")
    }

    /// The next event says that the link to `peer` is up.
    pub(super) async fn up(&mut self, peer: u8) {
        let event = self.event().await;
        assert!(matches!(event, PeerEvent::Up { peer: which, .. } if which == id(peer)), "{event:?}");
    }

    /// The next event says that the link to `peer` is down, and why.
    pub(super) async fn down(&mut self, peer: u8) -> DownReason {
        match self.event().await {
            PeerEvent::Down { peer: which, reason } if which == id(peer) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// The next thing that `peer` says about itself and that `wanted` says yes to.
    pub(super) async fn readiness(&mut self, peer: u8, wanted: impl Fn(&Readiness) -> bool) -> Readiness {
        let said = async {
            loop {
                match self.inboxes.events.recv().await.unwrap() {
                    PeerEvent::Readiness { peer: which, readiness, .. } if which == id(peer) && wanted(&readiness) => {
                        return readiness;
                    }
                    _ => {}
                }
            }
        };
        timeout(LIMIT, said).await.expect("a readiness")
    }

    /// The next message for signing.
    pub(super) async fn message(&mut self) -> Inbound {
        timeout(LIMIT, self.inboxes.signing.recv()).await.expect("a message").unwrap()
    }

    /// Nothing but readiness happens for this long.
    pub(super) async fn quiet_for(&mut self, time: Duration) {
        let event = timeout(time, self.event()).await;
        assert!(event.is_err(), "{event:?}");
    }

    pub(super) async fn snapshot(&self) -> TransportSnapshot {
        ractor::call!(self.transport, TransportMsg::Snapshot).unwrap()
    }

    pub(super) async fn link(&self, peer: u8) -> LinkSnapshot {
        self.snapshot().await.links[&id(peer)]
    }

    /// Stops as a node does that is shut down.
    pub(super) async fn stop(self) -> Inboxes {
        self.transport.stop(None);
        self.handle.await.unwrap();
        self.inboxes
    }

    /// Ends without a word, as a process does that is killed.
    pub(super) async fn kill(self) -> Inboxes {
        self.transport.kill();
        self.handle.await.unwrap();
        self.inboxes
    }
}
