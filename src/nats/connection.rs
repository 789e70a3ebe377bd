//! Making a connection, and what it is while it lasts.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_nats::{Client, Event, ServerAddr, ServerError, Statistics};
use tokio::sync::watch;

use super::{ConnectError, Options, Status, Version};

/// How long one attempt to connect may take, TLS and credentials included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How often a silent server is asked whether it is there. Two questions without an answer end the connection.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How many messages and commands wait for the connection's own task.
const QUEUED_COMMANDS: usize = 2048;
/// How many messages wait for the reader of one subscription before more are dropped.
const QUEUED_MESSAGES: usize = 4096;
/// How many subjects may be claimed.
const MAX_CLAIMS: usize = 1024;
/// The pause before the second attempt to connect. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A connection to a NATS server. Clones are the same connection; it ends with the last clone of it and of its client.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    shared: Arc<Shared>,
}

/// What the event callback feeds.
struct Shared {
    name: String,
    status: watch::Sender<Status>,
    claims: RwLock<BTreeSet<String>>,
    /// The library's own counters, once there is a connection. They do not keep it alive, as a client would.
    statistics: OnceLock<Arc<Statistics>>,
}

/// Connects.
///
/// # Errors
/// When the options cannot work, when the server is too old, and, unless [`Options::retry`] is set, when none answers.
pub async fn connect(options: &Options) -> Result<Connection, ConnectError> {
    // With two cryptographic providers in one program, rustls panics unless one of them is chosen. The choice stands if
    // somebody has made it already.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    let servers = options.addresses()?;
    for attempt in 1.. {
        match try_connect(options, &servers).await {
            Err(error) if options.retry && error.is_transient() => {
                tracing::warn!(name = options.name, attempt, %error, "no NATS server yet");
                tokio::time::sleep(pause(attempt + 1, rand::random())).await;
            }
            outcome => return outcome,
        }
    }
    Err(ConnectError::NoServers)
}

async fn try_connect(options: &Options, servers: &[ServerAddr]) -> Result<Connection, ConnectError> {
    let shared = Arc::new(Shared {
        name: options.name.clone(),
        status: watch::Sender::new(Status::fresh()),
        claims: RwLock::default(),
        statistics: OnceLock::new(),
    });
    let events = Arc::clone(&shared);
    let library = options.to_library().await?;
    let library = library
        .connection_timeout(CONNECT_LIMIT)
        .ping_interval(PING_EVERY)
        .client_capacity(QUEUED_COMMANDS)
        .subscription_capacity(QUEUED_MESSAGES)
        .request_timeout(Some(CONNECT_LIMIT))
        .reconnect_delay_callback(|attempts| pause(attempts, rand::random()))
        .event_callback(move |event| {
            events.follow(&event);
            std::future::ready(())
        });
    let client = library.connect(servers).await.map_err(|error| ConnectError::sort(&error))?;
    // Set before anybody else can see the connection.
    let _ = shared.statistics.set(client.statistics());
    let said = client.server_info().version;
    let version = Version::parse(&said).filter(|version| *version >= Version::OLDEST);
    let version = version.ok_or(ConnectError::TooOld(said))?;
    if version < Version::SUPPORTED {
        tracing::warn!(%version, supported = %Version::SUPPORTED, "the NATS server is older than what quorate is tested with");
    }
    Ok(Connection { client, shared })
}

impl Connection {
    /// The NATS library's handle, to publish and subscribe with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Follows the state of the connection.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Whether it is there now. What is asked of the library while it is not waits in a queue and is sent much later, or
    /// keeps the asker waiting once that is full: better ask this first.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.status.borrow().connected
    }

    /// The longest message that the server takes, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Makes `subject` one whose denial counts: [`Status::denied`] tells of it. With `*` as the last token, so does every
    /// subject that has another token there; with `>`, every one that has one or more. At most 1024; more are ignored.
    ///
    /// A subject that others can choose, such as where a client wants its answer, is not to be claimed: whoever chooses
    /// it could make this node look misconfigured.
    pub fn claim(&self, subject: &str) {
        let claims = &self.shared.claims;
        if claims.read().unwrap_or_else(PoisonError::into_inner).contains(subject) {
            return;
        }
        let mut claims = claims.write().unwrap_or_else(PoisonError::into_inner);
        if claims.len() < MAX_CLAIMS {
            claims.insert(subject.to_owned());
        }
    }

    /// Waits until everything published so far has left this process, or `limit` has passed. Tells which it was.
    pub async fn flush(&self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, self.client.flush()).await, Ok(Ok(())))
    }
}

impl Shared {
    fn follow(&self, event: &Event) {
        let name = self.name.as_str();
        match event {
            Event::ServerError(ServerError::Other(text)) => tracing::error!(name, text, "the NATS server objects"),
            Event::Disconnected => tracing::warn!(name, "lost the NATS server"),
            Event::Connected => tracing::info!(name, "connected to NATS"),
            other => tracing::warn!(name, event = %other, "NATS"),
        }
        let connects = self.statistics.get().map_or(1, |counters| counters.connects.load(Ordering::Relaxed));
        let claims = self.claims.read().unwrap_or_else(PoisonError::into_inner);
        self.status.send_if_modified(|status| {
            let before = status.clone();
            status.follow(event, connects, |subject| is_claimed(&claims, subject));
            *status != before
        });
    }
}

fn is_claimed(claims: &BTreeSet<String>, subject: &str) -> bool {
    let siblings = || subject.rsplit_once('.').map(|(parent, _)| format!("{parent}.*"));
    let mut below = subject.match_indices('.').filter_map(|(dot, _)| Some(format!("{}.>", subject.get(..dot)?)));
    claims.contains(subject)
        || siblings().is_some_and(|siblings| claims.contains(&siblings))
        || below.any(|below| claims.contains(&below))
}

/// The pause before an attempt, counted from 1. `luck`, from 0 to 1, spreads the nodes that lost the same server.
fn pause(attempt: usize, luck: f64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(2)).unwrap_or(u32::MAX);
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
    // Whoever has just lost a server that is up again should not wait.
    let shortest = if attempt <= 1 { Duration::ZERO } else { longest / 2 };
    shortest + (longest - shortest).mul_f64(luck.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims__should_be_subjects_or_all_below_one() {
        let claims = ["a.b", "inbox.*", "$JS.API.>"].map(str::to_owned).into();
        for claimed in ["a.b", "inbox.*", "inbox.7", "$JS.API.INFO", "$JS.API.STREAM.INFO.mpc"] {
            assert!(is_claimed(&claims, claimed), "{claimed}");
        }
        for other in
            ["a", "a.b.c", "a.*", "inbox", "inbox.7.8", "other.7", "$JS.API", "$JS", "$JS.ACK.1", "x.$JS.API.INFO", ""]
        {
            assert!(!is_claimed(&claims, other), "{other}");
        }
    }

    #[test]
    fn pauses__should_grow_to_a_limit_and_differ() {
        let longest = |attempt| pause(attempt, 1.0);
        assert_eq!(pause(0, 0.0), Duration::ZERO);
        assert_eq!((pause(1, 0.0), longest(1)), (Duration::ZERO, FIRST_PAUSE));
        assert_eq!((pause(2, 0.0), longest(2)), (FIRST_PAUSE / 2, FIRST_PAUSE));
        assert_eq!(longest(5), FIRST_PAUSE * 8);
        assert_eq!((pause(usize::MAX, 0.0), longest(usize::MAX)), (LONGEST_PAUSE / 2, LONGEST_PAUSE));
    }

    #[tokio::test]
    async fn connect__should_say_that_no_server_answers() {
        // A port that nobody listens at: bound, and closed again.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = connect(&Options::new([format!("127.0.0.1:{port}")], "test")).await.err().unwrap();
        assert!(error.is_transient(), "{error}");
    }
}
