//! How a coordinator actor, and its sessions, speak to the other nodes.

use std::collections::BTreeSet;

use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::session::SheetContext;
use crate::supervision::Address;
use crate::transport::TransportMsg;
use crate::wire::message::{MAX_LISTED_NODES, PeerMessage, Service, SessionBody};

/// Sends the messages of one service. Nothing is acknowledged: where there is no transport there are no links, and the
/// loss of a link ends whatever waits for its peer.
#[derive(Clone)]
pub struct Post {
    me: NodeId,
    service: Service,
    transport: Address<TransportMsg>,
}

impl Post {
    /// The post of `service` on the node `me`.
    #[must_use]
    pub const fn new(me: NodeId, service: Service, transport: Address<TransportMsg>) -> Self {
        Self { me, service, transport }
    }

    /// Sends a message of any kind.
    pub fn transmit(&self, to: NodeId, message: PeerMessage) {
        let _ = self.transport.cast(TransportMsg::Send { to, message });
    }

    /// Says something within a session.
    pub fn send(&self, to: NodeId, session: SheetHash, body: SessionBody) {
        self.transmit(to, PeerMessage::Session { service: self.service, session, body });
    }

    /// Takes no part in a session that `to` coordinates.
    pub fn refuse(&self, to: NodeId, session: SheetHash, code: Code) {
        self.send(to, session, SessionBody::Refuse { code, answer: None });
    }

    /// Says something to all other participants of a session.
    pub fn tell_others(&self, sheet: &SheetContext, body: impl Fn() -> SessionBody) {
        for peer in sheet.others(self.me) {
            self.send(peer, sheet.hash, body());
        }
    }

    /// Tells all other participants of a session that it is over.
    pub fn abort(&self, sheet: &SheetContext, code: Code, culprits: &BTreeSet<NodeId>, round: u8) {
        let culprits: Vec<NodeId> = culprits.iter().copied().take(MAX_LISTED_NODES).collect();
        self.tell_others(sheet, || SessionBody::Abort { code, culprits: culprits.clone(), round });
    }
}
