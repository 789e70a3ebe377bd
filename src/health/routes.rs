//! What is answered to which path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::last_seen::LastSeen;
use super::page::{Seen, page};
use super::report::{Report, Standing};
use super::sources::observe;
use crate::gateway::{Desk, status};
use crate::nats::Status;
use crate::node::Addresses;

/// How long a page of metrics is shown again: many who ask at once cost the actors one question.
const KEPT: Duration = Duration::from_millis(100);
/// OpenMetrics 1.0.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What answers are made of.
pub(super) struct Node {
    pub desk: Desk,
    pub addresses: Addresses,
    /// The broker as clients reach it, where they do.
    pub clients: Option<watch::Receiver<Status>>,
    pub backs_up: bool,
    pub last_seen: LastSeen,
    pub stopping: AtomicBool,
    pub sealed: AtomicBool,
    /// The last page of metrics. Whoever holds the lock makes the next one.
    pub page: Mutex<Option<(Instant, Bytes)>>,
}

impl Node {
    fn report(&self) -> Report {
        Report::new(
            status(&self.desk),
            Standing {
                broker: self.can_use_broker(),
                stopping: self.stopping.load(Ordering::Relaxed),
                sealed: self.is_sealed(),
            },
        )
    }

    fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Whether the broker is there, and lets this node use what its links and its clients need.
    fn can_use_broker(&self) -> bool {
        let serves = |clients: &watch::Receiver<Status>| {
            let clients = clients.borrow();
            clients.connected && !clients.denied
        };
        self.desk.views.borrow().able && self.clients.as_ref().is_none_or(serves)
    }

    async fn metrics(&self) -> Bytes {
        let mut page_of_others = self.page.lock().await;
        if let Some((made, text)) = &*page_of_others
            && made.elapsed() < KEPT
        {
            return text.clone();
        }
        let actors = observe(&self.addresses).await;
        let seen = Seen {
            node: status(&self.desk),
            broker: self.can_use_broker(),
            uptime: self.desk.started.elapsed(),
            last_seen: self.last_seen.all(),
            actors,
            gateway: self.clients.is_some(),
            backs_up: self.backs_up,
            sealed: self.is_sealed(),
        };
        let text = Bytes::from(page(&seen, &self.desk.recorder));
        *page_of_others = Some((Instant::now(), text.clone()));
        text
    }
}

/// The routes. Other paths are answered with 404, other methods with 405.
pub(super) fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/health", get(health))
        .route("/ready", get(health))
        .route("/metrics", get(metrics))
        .with_state(node)
}

async fn health(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let report = node.report();
    let code = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(report))
}

async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], node.metrics().await)
}
