//! Work that an actor's handler must not wait for.

use ractor::{ActorRef, Message};

/// Runs `work` beside an actor. What comes of it comes to the actor as a message, unless the actor is gone by then: an
/// actor that ends answers for everything it was at.
pub fn beside<M: Message + From<W>, W>(myself: &ActorRef<M>, work: impl Future<Output = W> + Send + 'static) {
    let myself = myself.clone();
    tokio::spawn(async move {
        let _ = myself.cast(M::from(work.await));
    });
}

/// Makes a message type of what its actor hears from others: each type of value has its variant. What implements `From`
/// this way can be [delivered](super::Deliver).
macro_rules! heard_as {
    ($message:ty { $($value:ty => $variant:ident),+ $(,)? }) => {
        $(impl From<$value> for $message {
            fn from(value: $value) -> Self {
                Self::$variant(value)
            }
        })+
    };
}
pub(crate) use heard_as;
