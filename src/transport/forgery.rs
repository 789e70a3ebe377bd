//! Lies that a test has a member tell its peers. Without the `testing` feature there are none, and this costs nothing.

/// What becomes of each message of a node before its link seals it.
#[derive(Clone, Default)]
pub struct Forgery {
    #[cfg(any(test, feature = "testing"))]
    liar: Option<planned::Liar>,
}

#[cfg(any(test, feature = "testing"))]
pub use planned::Told;

#[cfg(any(test, feature = "testing"))]
mod planned {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Forgery;
    use crate::ids::NodeId;
    use crate::wire::message::PeerMessage;

    /// Makes what is told of what was to be said to a peer.
    pub(super) type Liar = Arc<dyn Fn(NodeId, PeerMessage) -> Vec<Told> + Send + Sync>;

    /// A message that is told instead of another one.
    pub struct Told {
        /// Whom.
        pub to: NodeId,
        /// What.
        pub message: PeerMessage,
        /// How much later.
        pub after: Duration,
    }

    impl Forgery {
        /// Has the node tell what `liar` makes of its messages.
        #[must_use]
        pub fn by(liar: impl Fn(NodeId, PeerMessage) -> Vec<Told> + Send + Sync + 'static) -> Self {
            Self { liar: Some(Arc::new(liar)) }
        }

        /// Whether the node lies at all.
        pub(in crate::transport) fn is_planned(&self) -> bool {
            self.liar.is_some()
        }

        /// What is told instead of this message.
        pub(in crate::transport) fn of(&self, to: NodeId, message: PeerMessage) -> Vec<Told> {
            match &self.liar {
                Some(liar) => liar(to, message),
                None => vec![Told { to, message, after: Duration::ZERO }],
            }
        }
    }
}
