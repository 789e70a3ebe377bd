//! Leases in a key-value bucket of NATS JetStream.
//!
//! ```text
//!   renew ──put <node id>──▶ bucket: last value of each key, for the time to live
//!                               │
//!   watch ◀── Alive / Gone ── leases ◀── every put and delete, from the last of each key on
//! ```
//!
//! A key is a node's id, and its value is empty: whoever can write to the bucket can make a node look dead or alive, and
//! nothing else. The bucket forgets what is not renewed without telling anyone, so that a watcher counts the time itself,
//! from when it saw a renewal: clocks are never compared. A lease that is written shortly before a watch begins is seen
//! when it begins, and may last up to once its time to live too long.
//!
//! The bucket is made where it is missing, also later; one that is there is used however it is set up. A watch goes on
//! through losses of the server: what it knows runs out by itself meanwhile.

mod leases;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store, Watch};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use self::leases::Leases;
use super::discovery::WATCH_CAPACITY;
use super::{Discovery, DiscoveryError, LeaseEvent};
use crate::ids::{ClusterId, NodeId};
use crate::nats;

/// How long the server may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How many changes wait between the subscription and the leases.
const QUEUED_CHANGES: usize = 64;
/// The pause before a lost watch is made again. It doubles with each attempt in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest value that the bucket takes, in bytes. Leases need none.
const MAX_VALUE_BYTES: i32 = 256;
/// The most that the bucket holds, in bytes.
const MAX_BUCKET_BYTES: i64 = 1024 * 1024;

/// Where leases are, and whose.
#[derive(Debug, Clone)]
pub struct KvOptions {
    /// The bucket: ASCII letters, digits, `-` and `_`.
    pub bucket: String,
    /// How long a lease holds without renewal, the same on all nodes. At least 100 ms: NATS takes no less.
    pub ttl: Duration,
    /// On how many servers of a NATS cluster the bucket lies, where it has to be made: 1 to 5.
    pub replicas: usize,
    /// Whose leases count.
    pub members: BTreeSet<NodeId>,
}

impl KvOptions {
    /// The leases of `members`, in the bucket of `cluster`, on one server.
    pub fn new(cluster: &ClusterId, ttl: Duration, members: impl IntoIterator<Item = NodeId>) -> Self {
        let bucket = format!("quorate-{}-leases", cluster.as_str());
        Self { bucket, ttl, replicas: 1, members: members.into_iter().collect() }
    }
}

/// Discovery by a key-value bucket. Clones share it.
#[derive(Clone)]
pub struct KvDiscovery(Arc<Bucket>);

struct Bucket {
    connection: nats::Connection,
    context: Context,
    options: KvOptions,
    store: Mutex<Option<Store>>,
}

impl KvDiscovery {
    /// Discovery over `connection`, which others may use too. Nothing is asked of the server yet.
    #[must_use]
    pub fn new(connection: nats::Connection, options: KvOptions) -> Self {
        let mut context = jetstream::new(connection.client().clone());
        context.set_timeout(ANSWER_LIMIT);
        for member in &options.members {
            connection.claim(&format!("$KV.{}.{member}", options.bucket));
        }
        Self(Arc::new(Bucket { connection, context, options, store: Mutex::new(None) }))
    }
}

impl Discovery for KvDiscovery {
    /// Takes or renews the lease. It holds for the time to live of the [`KvOptions`], whatever `ttl` says.
    fn renew(&self, node: NodeId, _ttl: Duration) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        Box::pin(self.0.act(move |store| async move {
            store.put(node.to_string(), Vec::new().into()).await.map(drop).map_err(failed)
        }))
    }

    fn resign(&self, node: NodeId) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        Box::pin(self.0.act(move |store| async move { store.delete(node.to_string()).await.map_err(failed) }))
    }

    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<LeaseEvent>, DiscoveryError>> {
        Box::pin(async move {
            let first = self.0.watch().await?;
            let (sender, changes) = mpsc::channel(QUEUED_CHANGES);
            tokio::spawn(read(Arc::clone(&self.0), first, sender));
            let (sender, events) = mpsc::channel(WATCH_CAPACITY);
            let leases = Leases::new(self.0.options.ttl, self.0.options.members.clone());
            tokio::spawn(follow(leases, changes, sender));
            Ok(events)
        })
    }
}

impl Bucket {
    /// Does something with the bucket. Where that fails, the bucket is looked for again, made if it is missing, and the
    /// deed tried once more.
    async fn act<T, F>(&self, deed: impl Fn(Store) -> F) -> Result<T, DiscoveryError>
    where
        F: Future<Output = Result<T, DiscoveryError>>,
    {
        // Asked of a connection that is not there, it would be done when that comes back, again and again.
        if !self.connection.is_connected() {
            return Err(DiscoveryError("there is no connection to the server".to_owned()));
        }
        let known = self.store.lock().await.clone();
        if let Some(store) = known
            && let Ok(done) = in_time(deed(store)).await
        {
            return Ok(done);
        }
        let store = self.open().await?;
        in_time(deed(store)).await
    }

    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        self.act(|store| async move { store.watch_with_history(">").await.map_err(failed) }).await
    }

    /// Finds the bucket, or makes it.
    async fn open(&self) -> Result<Store, DiscoveryError> {
        let mut known = self.store.lock().await;
        let KvOptions { bucket, ttl, replicas, .. } = &self.options;
        let bucket = nats::Bucket {
            name: bucket.clone(),
            description: "leases of the nodes of a quorate cluster",
            max_age: *ttl,
            max_value_bytes: MAX_VALUE_BYTES,
            max_bytes: MAX_BUCKET_BYTES,
            replicas: *replicas,
        };
        let store = bucket.open(&self.context).await.map_err(failed)?;
        let found = store.stream.cached_info().config.max_age;
        if found != *ttl {
            tracing::warn!(bucket = bucket.name, ?found, "the bucket of the leases keeps them for another time");
        }
        *known = Some(store.clone());
        Ok(store)
    }
}

fn failed(error: impl std::error::Error) -> DiscoveryError {
    DiscoveryError(error.to_string())
}

async fn in_time<T>(answer: impl Future<Output = Result<T, DiscoveryError>>) -> Result<T, DiscoveryError> {
    let late = |_| DiscoveryError("the server does not answer in time".to_owned());
    tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(late)?
}

/// A change in the bucket.
struct Change {
    key: String,
    renewed: bool,
}

/// Reads changes, from watch to watch, until nobody wants them.
async fn read(bucket: Arc<Bucket>, first: Watch, changes: mpsc::Sender<Change>) {
    let (mut watch, mut pause) = (Some(first), FIRST_PAUSE);
    while !changes.is_closed() {
        if let Some(mut watch) = watch.take() {
            // A watch may go silent instead of failing. One without a renewal for that long shows no lease anyway.
            while let Ok(Some(Ok(entry))) = tokio::time::timeout(bucket.options.ttl, watch.next()).await {
                pause = FIRST_PAUSE;
                let change = Change { key: entry.key, renewed: entry.operation == Operation::Put };
                if changes.send(change).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changes.closed() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        match bucket.watch().await {
            Ok(again) => watch = Some(again),
            Err(error) => tracing::warn!(%error, "failed to watch the leases again"),
        }
    }
}

/// Makes lease events of changes and of time, until nobody wants them or their reader lags too far behind.
async fn follow(mut leases: Leases, mut changes: mpsc::Receiver<Change>, events: mpsc::Sender<LeaseEvent>) {
    loop {
        let expiry = leases.next_expiry();
        let mut due = pin!(async {
            match expiry {
                Some(expiry) => tokio::time::sleep_until(expiry).await,
                None => std::future::pending().await,
            }
        });
        let news = tokio::select! {
            () = events.closed() => return,
            () = &mut due => leases.expire(Instant::now()),
            change = changes.recv() => {
                let Some(change) = change else { return };
                leases.see(&change.key, change.renewed, Instant::now()).into_iter().collect()
            }
        };
        for event in news {
            if events.try_send(event).is_err() {
                return;
            }
        }
    }
}
