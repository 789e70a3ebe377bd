//! The peer book, told to others through a key-value bucket.
//!
//! Every operator who registers the peers announces the same entries, or learns that somebody has announced others. That
//! is all the bucket is for: no node reads it, and whoever writes to it changes nobody's trust.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::{CreateErrorKind, Store};
use serde::{Deserialize, Serialize};

use crate::identity::{Member, PeerBook};
use crate::ids::{ClusterId, NodeId};
use crate::nats::{Bucket, BucketError, Connection};

/// How long the server may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The longest entry, in bytes.
const MAX_VALUE_BYTES: i32 = 1024;
/// The most that the bucket holds, in bytes.
const MAX_BUCKET_BYTES: i64 = 1024 * 1024;

/// The announced peers of a cluster.
pub struct Announcements {
    store: Store,
}

/// What is announced of a node, as JSON, under `mpc_peers/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    node_id: NodeId,
    /// Its Ed25519 public key, in hex.
    public_key: String,
}

impl Entry {
    fn of(member: &Member) -> Self {
        Self { node_id: member.id, public_key: hex::encode(member.key.as_bytes()) }
    }
}

/// The peers are not announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// There is no bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The server did not do what it was asked.
    #[error("failed to announce {name}: {problem}")]
    Server {
        /// The node.
        name: String,
        /// What went wrong.
        problem: String,
    },
    /// Somebody announced something else.
    #[error("{} announced with another id or key: find out who is wrong, and take the wrong entry out", .0.join(", "))]
    Differs(Vec<String>),
}

/// The bucket of a cluster, unless another is named.
#[must_use]
pub fn announcement_bucket(cluster: &ClusterId) -> String {
    format!("quorate-{}-peers", cluster.as_str())
}

impl Announcements {
    /// Opens the bucket, or makes it.
    ///
    /// # Errors
    /// [`AnnounceError::Bucket`].
    pub async fn open(connection: &Connection, bucket: String) -> Result<Self, AnnounceError> {
        let mut context = jetstream::new(connection.client().clone());
        context.set_timeout(ANSWER_LIMIT);
        let bucket = Bucket {
            name: bucket,
            description: "the peers of a quorate cluster, as their operators registered them",
            max_age: Duration::ZERO,
            max_value_bytes: MAX_VALUE_BYTES,
            max_bytes: MAX_BUCKET_BYTES,
            replicas: 1,
        };
        Ok(Self { store: bucket.open(&context).await? })
    }

    /// Announces every node of `book` that is not announced yet, and returns how many those were. Nothing that is there is
    /// written over.
    ///
    /// # Errors
    /// [`AnnounceError::Differs`], which names the nodes; those that were missing are announced all the same.
    pub async fn announce(&self, book: &PeerBook) -> Result<usize, AnnounceError> {
        let (mut new, mut differing) = (0, Vec::new());
        for member in book.members() {
            let failed = |error: &dyn std::error::Error| AnnounceError::Server {
                name: member.name.to_string(),
                problem: error.to_string(),
            };
            let (key, entry) = (format!("mpc_peers/{}", member.name), Entry::of(member));
            let value = serde_json::to_vec(&entry).map_err(|error| failed(&error))?;
            match self.store.create(&key, value.into()).await {
                Ok(_) => new += 1,
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                    let found = self.store.get(&key).await.map_err(|error| failed(&error))?;
                    let found = found.and_then(|value| serde_json::from_slice::<Entry>(&value).ok());
                    if found.as_ref() != Some(&entry) {
                        differing.push(member.name.to_string());
                    }
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        differing.sort_unstable();
        if differing.is_empty() { Ok(new) } else { Err(AnnounceError::Differs(differing)) }
    }
}
