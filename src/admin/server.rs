//! Takes connections of the operator, each for one command.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::execute::Executor;
use super::{AdminEndpoint, Answer, Command, MAX_LINE_BYTES, Refused};
use crate::error::Code;

/// How many connections there are at a time; one more is closed at once.
pub(super) const MAX_CONNECTIONS: usize = 8;
/// How long a command may take to arrive, and an answer to be taken.
const LINE_TIME: Duration = Duration::from_secs(5);
/// The pause after the system gave no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped: what is being done then goes on, and its answer is lost.
pub(super) async fn serve(endpoint: AdminEndpoint, executor: Executor) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let stream = match endpoint.listener().accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "failed to take a connection of the operator");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        if !is_permitted(&stream) {
            continue;
        }
        let executor = executor.clone();
        connections.spawn(async move {
            connection(stream, executor).await;
            drop(place);
        });
    }
}

/// Whether the process on the other side is the node's own user's, or root's.
fn is_permitted(stream: &UnixStream) -> bool {
    let user = stream.peer_cred().map(|peer| peer.uid());
    let permitted = user.as_ref().is_ok_and(|&user| user == geteuid().as_raw() || user == 0);
    if !permitted {
        tracing::warn!(?user, "somebody else tried to give this node a command");
    }
    permitted
}

/// Reads up to the end of a line, and what came with it, into the one buffer that is wiped: nothing else ever holds a secret.
/// None, where the line is too long or never ends.
async fn read_line(reading: &mut (impl AsyncRead + Unpin)) -> Option<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(vec![0; MAX_LINE_BYTES]);
    let mut len = 0_usize;
    loop {
        // A full buffer takes nothing any more: that reads as the end.
        let read = reading.read(line.get_mut(len..)?).await.ok().filter(|&read| read > 0)?;
        let end = len.checked_add(read)?;
        let found = line.get(len..end)?.iter().position(|&byte| byte == b'\n');
        if let Some(found) = found {
            line.truncate(len.checked_add(found)?);
            return Some(line);
        }
        len = end;
    }
}

/// One command and its answer.
async fn connection(stream: UnixStream, executor: Executor) {
    let (mut reading, mut writing) = stream.into_split();
    let Ok(Some(line)) = timeout(LINE_TIME, read_line(&mut reading)).await else {
        tracing::debug!("a connection of the operator brought no command");
        return;
    };
    let answer = match serde_json::from_slice::<Command>(&line) {
        Ok(command) => {
            drop(line);
            executor.execute(command).await
        }
        Err(error) => {
            // The parser's own text may quote what it read.
            let problem =
                format!("the command does not parse: {:?} error in column {}", error.classify(), error.column());
            Answer::Refused(Refused { code: Code::UnmarshalFailure, problem })
        }
    };
    let Ok(mut text) = serde_json::to_vec(&answer) else { return };
    text.push(b'\n');
    // Whoever asked may have gone.
    let _ = timeout(LINE_TIME, async { writing.write_all(&text).await }).await;
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    #[tokio::test]
    async fn line__should_be_read_up_to_its_end_however_it_comes() {
        let mut parts = tokio_test_parts(&[b"{\"com", b"mand\"", b"}\nmore"]);
        assert_eq!(*read_line(&mut parts).await.unwrap(), b"{\"command\"}");
        for unfinished in [b"".as_slice(), b"no end", &vec![b'x'; MAX_LINE_BYTES + 1]] {
            assert!(read_line(&mut &*unfinished).await.is_none());
        }
        let longest = [vec![b'x'; MAX_LINE_BYTES - 1], vec![b'\n']].concat();
        assert_eq!(read_line(&mut longest.as_slice()).await.unwrap().len(), MAX_LINE_BYTES - 1);
    }

    fn tokio_test_parts<'a>(parts: &[&'a [u8]; 3]) -> impl AsyncRead + Unpin + use<'a> {
        let [first, second, third] = *parts;
        first.chain(second).chain(third)
    }
}
