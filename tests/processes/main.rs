//! Real `quorate` processes and a real NATS server, used by clients that are written here after mpcium's.
//!
//! | module | cluster | claims |
//! |---|---|---|
//! | `contract` | takes requests as mpcium's clients sign them | the wire to the byte, error codes, the native API, the commands |
//! | `guarded` | asks for complete signatures and approvals, in streams that others made | who may ask, and with what |
//! | `permissions` | is a NATS user with the permissions that the README says | it needs all of them, and no more |
//! | `work_queue` | takes requests of the client library | three clients at once |
//! | `outsider` | hears requests that nobody may make | they stand in nobody's way |
//! | `tampering` | has its bucket of leases written to by others | they change who seems to be there, and nothing else |
//! | `timeouts` | has nodes that do not go on | what clients are told, and that they may ask again |
//! | `operators` | runs on mpcium's own files | nodes that are away, stop in good order, and come back |
//! | `elsewhere` | has nodes that do not hold the wallet | a member answers, whichever node takes the request |
//! | `destruction` | lets wallets be destroyed | by whom, and what proves it |
//! | `crashes` | everything is killed at some time | each request is answered once |
//! | `chaos` | nodes are killed, frozen, stopped, cut off, slow, without room on their disk | clients are served; who is lost is noticed in time |
//! | `kill_points` | nodes are killed, frozen, stopped in each round | every client is answered, and all nodes agree |
//! | `soak` | works, and loses sessions | nothing is left of them |
//! | `start` | single nodes, and `quorate cluster` | what an operator gets wrong, and starting |
//! | `backup` | has a node that loses its disk | backups while it signs, restoring, sealing, other secrets |
//! | `drill` | loses disks, grows, and is left by a wallet | a wallet keeps its keys, whoever holds them |
//! | `protection` | a single node | who gets at its memory |
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails should stop")]

mod backup;
mod chaos;
mod client;
mod cluster;
mod contract;
mod crashes;
mod destruction;
mod drill;
mod elsewhere;
mod guarded;
mod kill_points;
mod node;
mod operators;
mod outsider;
mod permissions;
mod protection;
mod proxy;
mod reshare_kill_points;
mod soak;
mod start;
mod tampering;
mod timeouts;
mod verify;
mod work_queue;

use std::time::Duration;

/// How long anything may take that is to happen, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What happens in time.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(happened) => happened,
        Err(_) => panic!("not in time: {what}"),
    }
}

/// Waits until `condition` gives something.
async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    soon(what, looking).await
}
