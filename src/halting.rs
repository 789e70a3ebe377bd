//! Places at which processes of tests stand still, to be killed, frozen or stopped right there. Without the `testing`
//! feature there are none, and this costs nothing.
//!
//! `TEST_QUORATE_HALT` names a file. While it holds the names of places, one in a line, the first process that comes to one
//! of them takes the file away and stops itself (SIGSTOP) before anything that follows leaves it.

use crate::ids::NodeId;
use crate::wire::sheet::Sheet;

/// Where in a session, or in what follows it, a process may stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// What leads to this round is computed; its messages have not left.
    Round(u8),
    /// The messages of the last round, which were held, have left.
    Released,
    /// The result is computed and nobody knows.
    Finished,
    /// Key generation and resharing: what came of it is durable and no other member knows.
    Stored,
    /// Key generation: the wallet is active and no client knows. Resharing: the next generation is in force here, and this
    /// node has told nobody.
    Certified,
}

/// This node comes to a place in a session of this sheet.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn at(_: Place, _: &Sheet, _: NodeId) {}

/// This node comes to a place in a session of this sheet.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn at(place: Place, sheet: &Sheet, me: NodeId) {
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    /// Other threads than this one may be the first to be stopped.
    const UNTIL_STOPPED: Duration = Duration::from_millis(50);
    static FILE: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os("TEST_QUORATE_HALT").map(PathBuf::from));

    let Some(file) = &*FILE else { return };
    let Ok(wanted) = std::fs::read_to_string(file) else { return };
    // Of those that come to the place, one takes the file away.
    let here = name(place, sheet, me);
    if wanted.lines().any(|line| line == here)
        && std::fs::remove_file(file).is_ok()
        && kill_process(getpid(), Signal::STOP).is_ok()
    {
        std::thread::sleep(UNTIL_STOPPED);
    }
}

/// What a test calls the place.
#[cfg(any(test, feature = "testing"))]
fn name(place: Place, sheet: &Sheet, me: NodeId) -> String {
    use crate::wire::sheet::Task;

    let doing = match sheet.task {
        Task::Keygen { .. } => "keygen",
        Task::Sign { .. } => "signing",
        Task::PairSetup { .. } => "pair setup",
        Task::Reshare { .. } => "reshare",
        Task::Prove { .. } => "proof",
        Task::Checkup { .. } => "check-up",
    };
    let role = if sheet.coordinator == me { "coordinator" } else { "participant" };
    match place {
        Place::Round(round) => format!("{doing} {role} round {round}"),
        other => format!("{doing} {role} {}", format!("{other:?}").to_lowercase()),
    }
}
