//! An address that survives its actor: senders keep it across restarts.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

/// The actor is not there now: it never started, it is between two lives, or the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor is not running")]
pub struct Unavailable;

/// Why a call got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no actor to ask, or it ended with the question unanswered.
    #[error("the actor is not running")]
    Unavailable,
    /// It did not answer in time.
    #[error("the actor did not answer in time")]
    Timeout,
}

/// Where to reach the current life of an actor. Clones share the binding, which only the supervisor changes.
pub struct Address<M>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message> Default for Address<M> {
    fn default() -> Self {
        Self::unbound()
    }
}

impl<M: Message> Address<M> {
    /// An address that nobody answers at yet.
    #[must_use]
    pub fn unbound() -> Self {
        Self(Arc::new(RwLock::new(None)))
    }

    /// The address of an actor that runs already.
    #[must_use]
    pub fn of(actor: ActorRef<M>) -> Self {
        Self(Arc::new(RwLock::new(Some(actor))))
    }

    /// From now on, `actor` answers here.
    pub fn bind(&self, actor: ActorRef<M>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// From now on, nobody does.
    pub fn unbind(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The actor that answers here now.
    #[must_use]
    pub fn current(&self) -> Option<ActorRef<M>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a message and does not wait.
    ///
    /// # Errors
    /// When nobody answers at this address.
    pub fn cast(&self, message: M) -> Result<(), Unavailable> {
        self.current().ok_or(Unavailable)?.cast(message).map_err(|_| Unavailable)
    }

    /// Asks, and waits at most `timeout` for the answer.
    ///
    /// # Errors
    /// When nobody answers at this address, or not in time.
    pub async fn call<T: Send + 'static>(
        &self,
        timeout: Duration,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, CallError> {
        let actor = self.current().ok_or(CallError::Unavailable)?;
        match actor.call(question, Some(timeout)).await {
            Ok(CallResult::Success(answer)) => Ok(answer),
            Ok(CallResult::Timeout) => Err(CallError::Timeout),
            Ok(CallResult::SenderError) | Err(_) => Err(CallError::Unavailable),
        }
    }
}

/// Something that takes values of one type: an actor whose messages can be made of them, or a test.
pub trait Deliver<T>: Send + Sync {
    /// Hands the value over without waiting.
    ///
    /// # Errors
    /// When nobody takes it.
    fn deliver(&self, value: T) -> Result<(), Unavailable>;
}

impl<T, M: Message + From<T>> Deliver<T> for Address<M> {
    fn deliver(&self, value: T) -> Result<(), Unavailable> {
        self.cast(M::from(value))
    }
}
