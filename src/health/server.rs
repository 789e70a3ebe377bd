//! The HTTP server: takes connections, and keeps each of them short and small.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::timeout;

use super::Endpoint;

/// How many connections there are at a time. Then the oldest gives way: an honest one is done within milliseconds, so
/// the oldest is a slow one.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// The most bytes of a request's line and headers, and what one connection buffers: the least that the library takes.
pub(super) const MAX_HEADER_BYTES: usize = 8192;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a client may take to send them.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take, its answer included.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The pause after the system gave no connection, as when too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are on their way may take when the server stops.
const DRAIN: Duration = Duration::from_millis(500);

/// Serves until `stop` turns true and what is being answered is answered.
pub(super) async fn serve(endpoint: Endpoint, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = Connections::default();
    while !*stop.borrow() {
        tokio::select! {
            accepted = endpoint.listener().accept() => match accepted {
                Ok((stream, _)) => connections.add(connection(stream, router.clone())).await,
                Err(error) => {
                    tracing::warn!(%error, "failed to take a connection for health and metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.tasks.join_next(), if !connections.tasks.is_empty() => note(&ended),
            _ = stop.changed() => break,
        }
    }
    // What is left then ends with the set.
    let _ = timeout(DRAIN, async { while connections.tasks.join_next().await.is_some() {} }).await;
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<AbortHandle>,
}

impl Connections {
    async fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.retain(|task| !task.is_finished());
        while self.open.len() >= MAX_CONNECTIONS {
            if let Some(oldest) = self.open.pop_front() {
                oldest.abort();
            }
        }
        // A connection that was told to end does so when it is next looked at.
        while self.tasks.len() >= MAX_CONNECTIONS
            && let Some(ended) = self.tasks.join_next().await
        {
            note(&ended);
        }
        self.open.push_back(self.tasks.spawn(connection));
    }
}

fn note(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "an answer about health or metrics failed");
    }
}

/// One request and its answer.
async fn connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for health and metrics failed"),
        Err(_) => tracing::debug!("a connection for health and metrics took too long"),
    }
}
