//! Key-value buckets: found, or made where they are missing.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};

/// How a bucket is made where it is missing. One that is there is used however it is set up.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name: ASCII letters, digits, `-` and `_`.
    pub name: String,
    /// What it is for.
    pub description: &'static str,
    /// How long a value stays without being written again; zero for ever.
    pub max_age: Duration,
    /// The longest value, in bytes.
    pub max_value_bytes: i32,
    /// The most that it holds, in bytes.
    pub max_bytes: i64,
    /// On how many servers of a NATS cluster it lies: 1 to 5.
    pub replicas: usize,
}

/// The bucket is neither there nor can it be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to open bucket {name}: {problem}")]
pub struct BucketError {
    name: String,
    problem: String,
}

impl Bucket {
    /// Finds the bucket, or makes it. Takes up to three times as long as `context` waits for an answer.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn open(&self, context: &Context) -> Result<Store, BucketError> {
        let failed =
            |error: &dyn std::error::Error| BucketError { name: self.name.clone(), problem: error.to_string() };
        if let Ok(store) = context.get_key_value(&self.name).await {
            return Ok(store);
        }
        // The library's own way to make a bucket fails on servers before 2.10.
        let made = context.create_stream(self.stream()).await.map(drop).map_err(|error| failed(&error));
        // Where another was faster, and means something else by it, the bucket is there all the same.
        let found = context.get_key_value(&self.name).await;
        found.map_err(|error| made.err().unwrap_or_else(|| failed(&error)))
    }

    /// The stream behind the bucket, as NATS lays down for buckets.
    fn stream(&self) -> Config {
        Config {
            name: format!("KV_{}", self.name),
            description: Some(self.description.to_owned()),
            subjects: vec![format!("$KV.{}.>", self.name)],
            max_messages_per_subject: 1,
            max_age: self.max_age,
            max_bytes: self.max_bytes,
            max_message_size: self.max_value_bytes,
            storage: StorageType::File,
            num_replicas: self.replicas,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..Config::default()
        }
    }
}
