//! The harness of tests: neighbours that the test plays, members that lie, wallets that were never generated.
//!
//! | to test | use |
//! |---|---|
//! | one actor, all its neighbours played | [`Bench`] for its arguments, a [`Probe`] for each neighbour |
//! | a cluster with liars in it | [`LocalCluster`](crate::local_cluster::LocalCluster), and a [`Puppet`] in a member's place |
//! | anything that needs a wallet, and no key generation | [`PlantedWallet`] |

mod bench;
mod planted;
mod probe;
mod puppet;

pub use bench::Bench;
pub use planted::PlantedWallet;
pub use probe::{PATIENCE, Probe, ProbeInbox};
pub use puppet::{Played, Puppet};
