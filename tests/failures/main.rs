//! What a cluster does when its parts fail: each rule of the actor tree, and each row of the table of failures.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bans;
mod checkup;
mod dead_peers;
mod deadlines;
mod destruction;
mod hangs;
mod keygen_commit;
mod lossy;
mod refresh;
mod reshare;
mod restarts;
mod shutdown;
mod stage;
