//! The test harness: for this crate's own tests, and for tests of whatever is built around a node.
//!
//! | to test | use |
//! |---|---|
//! | a cluster whose parts fail | [`Cluster`]: faults from a seed, panics, snapshots |
//! | a cluster with liars in it | [`LocalCluster`](crate::local_cluster::LocalCluster), and a [`Puppet`] in a member's place |
//! | one actor, all its neighbours played | [`Bench`] for its arguments, a [`Probe`] for each neighbour |
//! | whatever speaks to NATS | [`NatsServer`]: a real one, to kill and restart |
//! | anything that needs a wallet, and no key generation | [`PlantedWallet`] |
//! | a parser, with whatever bytes | [`fuzz`] |
//! | what is left of secrets in memory | [`witness`] |

mod bench;
pub mod cluster;
pub mod fuzz;
mod nats_server;
mod planted;
mod probe;
mod puppet;
mod silence;
pub mod witness;

pub use bench::Bench;
pub use cluster::{ActorName, Client, Cluster, ClusterBuilder, HarnessError, eventually};
pub use nats_server::{NatsServer, ServerError};
pub use planted::{PlantedWallet, prove};
pub use probe::{PATIENCE, Probe, ProbeInbox};
pub use puppet::{Played, Puppet};
pub use silence::Silence;
