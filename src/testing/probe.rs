//! A neighbour that the test plays.
#![expect(clippy::panic, reason = "the harness of tests panics where a test is wrong")]

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, Message};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::ids::{NodeId, SheetHash};
use crate::supervision::Address;
use crate::transport::TransportMsg;
use crate::wire::message::{PeerMessage, SessionBody};

/// Longer than anything takes that is going to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The most messages that wait for the test. A probe that is full fails, and with it whoever depends on it.
const CAPACITY: usize = 16 * 1024;

/// An actor that hands everything it is sent to the test.
pub struct Probe<M>(PhantomData<fn() -> M>);

impl<M: Message> Probe<M> {
    /// Starts a probe: where it answers, and what it was sent.
    ///
    /// # Panics
    /// When the actor does not start.
    pub async fn start() -> (Address<M>, ProbeInbox<M>) {
        let (sender, messages) = mpsc::channel(CAPACITY);
        match Actor::spawn(None, Self(PhantomData), sender).await {
            Ok((actor, _)) => (Address::of(actor), ProbeInbox { messages }),
            Err(error) => panic!("a probe did not start: {error}"),
        }
    }
}

impl<M: Message> Actor for Probe<M> {
    type Msg = M;
    type State = mpsc::Sender<M>;
    type Arguments = mpsc::Sender<M>;

    async fn pre_start(
        &self,
        _myself: ActorRef<M>,
        sender: mpsc::Sender<M>,
    ) -> Result<mpsc::Sender<M>, ActorProcessingErr> {
        Ok(sender)
    }

    async fn handle(
        &self,
        _myself: ActorRef<M>,
        message: M,
        sender: &mut mpsc::Sender<M>,
    ) -> Result<(), ActorProcessingErr> {
        sender.try_send(message).map_err(|error| format!("the test does not take its messages: {error}").into())
    }
}

/// What a probe was sent, in order.
pub struct ProbeInbox<M> {
    messages: mpsc::Receiver<M>,
}

impl<M: Message> ProbeInbox<M> {
    /// The next message.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub async fn next(&mut self) -> M {
        match timeout(PATIENCE, self.messages.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("the probe has ended"),
            Err(_) => panic!("no message came"),
        }
    }

    /// The next message that `pick` makes something of. The others are passed over and lost.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub async fn find<T>(&mut self, mut pick: impl FnMut(M) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Some(found) = pick(self.next().await) {
                    return found;
                }
            }
        };
        match timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("the message that was waited for did not come"),
        }
    }

    /// The next message, if one is there already.
    pub fn try_next(&mut self) -> Option<M> {
        self.messages.try_recv().ok()
    }
}

impl ProbeInbox<TransportMsg> {
    /// What is sent next in a session, and to whom.
    ///
    /// # Panics
    /// When nothing is within [`PATIENCE`].
    pub async fn sent(&mut self, wanted: SheetHash) -> (NodeId, SessionBody) {
        self.find(|message| match message {
            TransportMsg::Send { to, message: PeerMessage::Session { session, body, .. } } if session == wanted => {
                Some((to, body))
            }
            _ => None,
        })
        .await
    }

    /// The next proposal: to whom it is sent, and its name.
    ///
    /// # Panics
    /// When there is none within [`PATIENCE`].
    pub async fn proposal(&mut self) -> (NodeId, SheetHash) {
        self.find(|message| match message {
            TransportMsg::Send {
                to,
                message: PeerMessage::Session { session, body: SessionBody::Propose { .. }, .. },
            } => Some((to, session)),
            _ => None,
        })
        .await
    }
}

impl<M> fmt::Debug for ProbeInbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProbeInbox({} waiting)", self.messages.len())
    }
}
