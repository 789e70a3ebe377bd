//! What the harness could not do.

use crate::error::Failure;
use crate::local_cluster::PrepareError;
use crate::node::StartError;
use crate::storage::StorageError;
use crate::supervision::CallError;
use crate::wire::request::RequestError;

/// The harness could not do what the test asked.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// There is no such node, or it does not run.
    #[error("node {0} does not run")]
    NotRunning(usize),
    /// What was awaited did not come.
    #[error("waited in vain: {0}")]
    Timeout(String),
    /// The folders of the nodes could not be made.
    #[error("failed to make a folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The cluster could not be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request did not get its result.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// A request could not be written.
    #[error("failed to write a request: {0}")]
    Request(String),
    /// An actor did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<RequestError> for HarnessError {
    fn from(error: RequestError) -> Self {
        Self::Request(error.to_string())
    }
}
