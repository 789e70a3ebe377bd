//! Asks a node over its socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Answer, Command, Done, MAX_LINE_BYTES, Refused};

/// How long a node may take for a command. A backup of a large store takes its time.
const LIMIT: Duration = Duration::from_secs(3_600);

/// A command was not carried out, as far as its sender knows.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No node listens at the socket.
    #[error("the node is not running")]
    NotRunning,
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The connection failed, or what came is no answer. Whether the command was carried out is open.
    #[error("failed to get an answer of the node: {0}")]
    Failed(String),
}

/// Asks the node at `socket` and waits for its answer, at most an hour.
///
/// # Errors
/// See [`AskError`].
pub fn ask(socket: &Path, command: &Command) -> Result<Done, AskError> {
    ask_within(socket, command, LIMIT)
}

/// The same, and waits at most `limit` for each part of the answer.
///
/// # Errors
/// See [`AskError`].
pub fn ask_within(socket: &Path, command: &Command, limit: Duration) -> Result<Done, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NotRunning,
        _ => AskError::Failed(error.to_string()),
    })?;
    let failed = |error: std::io::Error| AskError::Failed(error.to_string());
    stream.set_read_timeout(Some(limit)).map_err(failed)?;
    // Room for all that a node takes, so that a secret is never moved.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_BYTES));
    serde_json::to_writer(&mut *line, command).map_err(|error| AskError::Failed(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_LINE_BYTES as u64)).read_until(b'\n', &mut answer).map_err(failed)?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Done(done)) => Ok(done),
        Ok(Answer::Refused(refused)) => Err(refused.into()),
        Err(_) if answer.is_empty() => Err(AskError::Failed("it hung up".to_owned())),
        Err(_) => Err(AskError::Failed("it speaks another language".to_owned())),
    }
}
