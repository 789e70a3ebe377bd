//! A member of the cluster that does what the test tells it to.
#![expect(clippy::unwrap_used, reason = "the harness of tests panics where a test is wrong")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::{Actor, ActorRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{PATIENCE, Probe, ProbeInbox};
use crate::error::Code;
use crate::ids::{NodeId, PartyIndex, SheetHash};
use crate::node::NodeArgs;
use crate::protocol::{Abort, Outgoing, Party, Progress, Recipient};
use crate::session::{PAYLOAD_DOMAIN, SHEET_DOMAIN};
use crate::supervision::{Deliver, Unavailable};
use crate::transport::{Forgery, Inbound, PeerEvent, Readiness, Services, TransportActor, TransportArgs, TransportMsg};
use crate::wire::message::{PeerMessage, SecretPayload, Service, SessionBody};
use crate::wire::sheet::Sheet;

/// An authenticated member under the test's control.
///
/// Its identity and its links are genuine; behind them there is no node, but the test: it reads what the puppet is sent,
/// and has it say whatever a member could say. It holds a lease, so that nodes that need it wait for nothing but
/// [`Puppet::serve`].
pub struct Puppet {
    args: NodeArgs,
    transport: ActorRef<TransportMsg>,
    joined: JoinHandle<()>,
    lease: JoinHandle<()>,
    linked: watch::Receiver<BTreeSet<NodeId>>,
    heard: ProbeInbox<Inbound>,
}

/// How a run ended that a puppet took part in with a real engine.
pub enum Played<O> {
    /// The engine is through.
    Done(O),
    /// The engine found a fault.
    Fault(Abort),
    /// A peer ended the session.
    Ended {
        /// The peer.
        by: NodeId,
        /// Why.
        code: Code,
        /// Whom it blames.
        culprits: BTreeSet<NodeId>,
    },
}

/// Keeps the set of peers with a link that is up.
struct LinkWatch(watch::Sender<BTreeSet<NodeId>>);

impl Deliver<PeerEvent> for LinkWatch {
    fn deliver(&self, event: PeerEvent) -> Result<(), Unavailable> {
        self.0.send_modify(|linked| match event {
            PeerEvent::Up { peer, .. } | PeerEvent::Readiness { peer, .. } => {
                linked.insert(peer);
            }
            PeerEvent::Down { peer, .. } => {
                linked.remove(&peer);
            }
        });
        Ok(())
    }
}

impl Puppet {
    /// Puts a puppet in the place of the member that `args` are for, which must not run.
    ///
    /// # Panics
    /// When its links do not start.
    pub async fn start(args: &NodeArgs) -> Self {
        let args = args.clone();
        let (service, heard) = Probe::<Inbound>::start().await;
        let service: Arc<dyn Deliver<Inbound>> = Arc::new(service);
        let (links, linked) = watch::channel(BTreeSet::new());
        let me = args.identity.id();
        let transport = TransportArgs {
            me,
            cluster: args.settings.cluster.clone(),
            secret: Arc::new(args.identity.link_secret()),
            peers: args.peers.members().iter().filter(|m| m.id != me).map(|m| (m.id, m.key)).collect(),
            broker: Arc::clone(&args.broker),
            services: Services {
                keygen: Arc::clone(&service),
                signing: Arc::clone(&service),
                reshare: Arc::clone(&service),
                checkup: Arc::clone(&service),
                destruction: Arc::clone(&service),
                pairing: service,
            },
            listeners: vec![Arc::new(LinkWatch(links))],
            config: args.settings.link,
            forgery: Forgery::default(),
        };
        let (transport, joined) = Actor::spawn(None, TransportActor, transport).await.unwrap();
        let (discovery, ttl) = (Arc::clone(&args.discovery), args.settings.lease_ttl);
        let lease = tokio::spawn(async move {
            loop {
                discovery.renew(me, ttl).await.unwrap();
                tokio::time::sleep(ttl / 3).await;
            }
        });
        Self { args, transport, joined, lease, linked, heard }
    }

    /// What the member is made of.
    #[must_use]
    pub fn args(&self) -> &NodeArgs {
        &self.args
    }

    /// The member's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.args.identity.id()
    }

    /// Says whether it takes part in sessions. At first it does not: nobody chooses it.
    ///
    /// # Panics
    /// When its transport is gone.
    pub fn serve(&self, serving: bool) {
        self.transport.cast(TransportMsg::SetReadiness(Readiness { serving, pairs: Vec::new() })).unwrap();
    }

    /// Waits until the links to all of `peers` are up.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn until_linked(&mut self, peers: impl IntoIterator<Item = NodeId>) {
        let peers: BTreeSet<NodeId> = peers.into_iter().collect();
        let up = self.linked.wait_for(|linked| linked.is_superset(&peers));
        drop(timeout(PATIENCE, up).await.unwrap().unwrap());
    }

    /// Says anything to anybody.
    ///
    /// # Panics
    /// When its transport is gone.
    pub fn send(&self, to: NodeId, message: PeerMessage) {
        self.transport.cast(TransportMsg::Send { to, message }).unwrap();
    }

    /// Says something within a session.
    pub fn say(&self, to: NodeId, service: Service, session: SheetHash, body: SessionBody) {
        self.send(to, PeerMessage::Session { service, session, body });
    }

    /// Names and signs a sheet, whatever is in it: the proposal of it.
    ///
    /// # Panics
    /// When it is too long.
    #[must_use]
    pub fn proposal(&self, sheet: &Sheet) -> (SheetHash, SessionBody) {
        let (bytes, hash) = sheet.seal().unwrap();
        (hash, self.proposal_of(bytes, hash))
    }

    /// Signs a sheet's hash: the proposal of any bytes under it.
    #[must_use]
    pub fn proposal_of(&self, sheet: Vec<u8>, hash: SheetHash) -> SessionBody {
        SessionBody::Propose { sheet, signature: self.args.identity.sign(SHEET_DOMAIN, &[&hash.0]) }
    }

    /// A message of a round, properly signed as the member at index `me`.
    #[must_use]
    pub fn round(
        &self,
        session: SheetHash,
        me: PartyIndex,
        to: Option<PartyIndex>,
        round: u8,
        payload: &[u8],
    ) -> SessionBody {
        let header = [round, me.get(), to.map_or(0, PartyIndex::get)];
        let signature = self.args.identity.sign(PAYLOAD_DOMAIN, &[&session.0, &header, payload]);
        SessionBody::Round { round, to, payload: SecretPayload(payload.to_vec().into()), signature }
    }

    /// The next message that `pick` makes something of. The others are passed over and lost.
    pub async fn hear<T>(&mut self, mut pick: impl FnMut(NodeId, PeerMessage) -> Option<T>) -> T {
        self.heard.find(|inbound| pick(inbound.from, inbound.message)).await
    }

    /// What is said next in a session, and by whom.
    pub async fn answer(&mut self, wanted: SheetHash) -> (NodeId, SessionBody) {
        self.hear(|from, message| match message {
            PeerMessage::Session { session, body, .. } if session == wanted => Some((from, body)),
            _ => None,
        })
        .await
    }

    /// The next proposal of a peer.
    ///
    /// # Panics
    /// When it is no sheet.
    pub async fn proposed(&mut self, wanted: Service) -> (NodeId, Sheet, SheetHash) {
        self.hear(|from, message| match message {
            PeerMessage::Session { service, session, body: SessionBody::Propose { sheet, .. } }
                if service == wanted =>
            {
                Some((from, Sheet::open(&sheet).unwrap().0, session))
            }
            _ => None,
        })
        .await
    }

    /// The next proposal of a peer, if one is there already.
    pub fn try_hear(&mut self) -> Option<Inbound> {
        self.heard.try_next()
    }

    /// Takes part in a session with a real engine, for as long as it lasts. `bend` sees every message of the puppet with
    /// its recipient before it is signed, may change it, and says whether it is sent.
    ///
    /// # Panics
    /// When the puppet is no participant, or the session does not end.
    pub async fn play<O>(
        &mut self,
        service: Service,
        sheet: &Sheet,
        session: SheetHash,
        mut party: Box<dyn Party<Output = O>>,
        mut bend: impl FnMut(NodeId, &mut Outgoing) -> bool,
    ) -> Played<O> {
        let mut step = party.start();
        loop {
            let progress = match step {
                Ok(progress) => progress,
                Err(fault) => return Played::Fault(fault),
            };
            self.send_all(service, sheet, session, &progress, &mut bend);
            if let Some(output) = progress.output {
                return Played::Done(output);
            }
            step = match self.answer(session).await {
                (from, SessionBody::Round { round, payload, .. }) => {
                    party.receive(sheet.index_of(from).unwrap(), round, &payload.0)
                }
                (by, SessionBody::Abort { code, culprits, .. }) => {
                    return Played::Ended { by, code, culprits: culprits.into_iter().collect() };
                }
                (by, SessionBody::Refuse { code, .. }) => {
                    return Played::Ended { by, code, culprits: BTreeSet::new() };
                }
                (_, SessionBody::Propose { .. } | SessionBody::RecordSigned { .. }) => Ok(Progress::default()),
            };
        }
    }

    fn send_all<O>(
        &self,
        service: Service,
        sheet: &Sheet,
        session: SheetHash,
        progress: &Progress<O>,
        bend: &mut impl FnMut(NodeId, &mut Outgoing) -> bool,
    ) {
        let me = sheet.index_of(self.id()).unwrap();
        for outgoing in &progress.send {
            for participant in sheet.participants.iter().filter(|participant| participant.index != me) {
                let to = match outgoing.to {
                    Recipient::All => None,
                    Recipient::One(index) if index == participant.index => Some(index),
                    Recipient::One(_) => continue,
                };
                let mut outgoing = outgoing.clone();
                if bend(participant.node, &mut outgoing) {
                    let body = self.round(session, me, to, outgoing.round, &outgoing.payload);
                    self.say(participant.node, service, session, body);
                }
            }
        }
    }

    /// Ends it, links and all, so that a node can take its place.
    ///
    /// # Panics
    /// When it cannot resign its lease.
    pub async fn stop(self) {
        self.lease.abort();
        self.args.discovery.resign(self.id()).await.unwrap();
        self.transport.stop(None);
        // How its transport ended is of no interest.
        let _ = self.joined.await;
    }
}
