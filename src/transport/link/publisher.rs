//! Publishing without waiting: what the broker says comes back as a message.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::JoinSet;

use crate::transport::broker::{Broker, PublishError};

/// More messages wait for the broker than may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stalled;

/// The outgoing end of one life of a link.
pub(super) struct Publisher {
    broker: Arc<dyn Broker>,
    subject: String,
    max_waiting: usize,
    waiting: JoinSet<()>,
}

impl Publisher {
    pub(super) fn new(broker: Arc<dyn Broker>, subject: String, max_waiting: usize) -> Self {
        Self { broker, subject, max_waiting, waiting: JoinSet::new() }
    }

    /// Hands a frame to the broker. A refusal that is known at once is the result; one that comes later goes to `failed`.
    pub(super) fn publish(
        &mut self,
        frame: Vec<u8>,
        failed: impl FnOnce(PublishError) + Send + 'static,
    ) -> Result<Result<(), PublishError>, Stalled> {
        while self.waiting.try_join_next().is_some() {}
        if self.waiting.len() >= self.max_waiting {
            return Err(Stalled);
        }
        let mut outcome = self.broker.publish(&self.subject, frame);
        match Pin::new(&mut outcome).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => {
                self.waiting.spawn(async move {
                    if let Err(error) = outcome.await {
                        failed(error);
                    }
                });
                Ok(Ok(()))
            }
        }
    }
}
