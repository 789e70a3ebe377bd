//! The test harness: for this crate's own tests, and for tests of whatever is built around a node.

pub mod cluster;

pub use cluster::{ActorName, Client, Cluster, ClusterBuilder, HarnessError, Silence, eventually};
