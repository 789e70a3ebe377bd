//! The signals that ask a command to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failed;

/// SIGINT, which Ctrl-C sends, and SIGTERM. The first asks for an end in good order, a second for one at once.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on they do not end the process by themselves.
    ///
    /// # Errors
    /// When the operating system does not let them be heard.
    pub(super) fn listen() -> Result<Self, Failed> {
        let listen = |kind| signal(kind).map_err(|error| Failed::Work(error.into()));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
