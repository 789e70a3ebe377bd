use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{ask, rest};
use crate::health::Endpoint;
use crate::health::server::{MAX_CONNECTIONS, MAX_HEADER_BYTES, serve};

/// Less than any limit of the server on time: what takes as long has waited for one.
const AT_ONCE: Duration = Duration::from_secs(3);
/// More than the server's limits on time together.
const PATIENCE: Duration = Duration::from_secs(20);
/// A complete request.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

struct Rig {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Rig {
    /// A server that answers "yes" at `/`, and never at `/never`.
    async fn start() -> Self {
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = endpoint.address();
        let (stop, stopped) = watch::channel(false);
        let routes = Router::new()
            .route("/", get(async || "yes"))
            .route("/never", get(async || std::future::pending::<&str>().await));
        Self { address, stop, server: tokio::spawn(serve(endpoint, routes, stopped)) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, bytes: &[u8]) -> String {
        ask(self.address, bytes).await
    }

    async fn assert_answers(&self) {
        let answer = timeout(AT_ONCE, self.ask(REQUEST)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("yes"), "{answer}");
    }
}

#[tokio::test]
async fn server__should_answer_past_clients_that_never_finish_their_request() {
    let rig = Rig::start().await;
    let mut slow = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = rig.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
        slow.push(stream);
    }
    rig.assert_answers().await;
    // The one that came first made room.
    assert_eq!(timeout(AT_ONCE, rest(&mut slow[0])).await.unwrap(), "");
    // The others have their time, and no more.
    for stream in &mut slow {
        let answer = timeout(PATIENCE, rest(stream)).await.unwrap();
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}

#[tokio::test]
async fn server__should_refuse_headers_that_are_too_long() {
    let rig = Rig::start().await;
    let mut long = b"GET / HTTP/1.1\r\nx-long: ".to_vec();
    long.resize(long.len() + MAX_HEADER_BYTES, b'a');
    long.extend_from_slice(b"\r\n\r\n");
    let answer = timeout(AT_ONCE, rig.ask(&long)).await.unwrap();
    assert!(!answer.contains(" 200 "), "{answer}");
    rig.assert_answers().await;
}

#[tokio::test]
async fn server__should_answer_without_reading_a_body() {
    let rig = Rig::start().await;
    let request = b"GET / HTTP/1.1\r\nhost: here\r\ncontent-length: 1000000000\r\n\r\n";
    let answer = timeout(AT_ONCE, rig.ask(request)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn server__should_answer_one_request_per_connection() {
    let rig = Rig::start().await;
    let answer = timeout(AT_ONCE, rig.ask(&[REQUEST, REQUEST].concat())).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn server__should_end_when_told_whatever_is_open() {
    let rig = Rig::start().await;
    rig.assert_answers().await;
    let mut open = rig.connect().await;
    open.write_all(b"GET /never HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    rig.stop.send(true).unwrap();
    timeout(AT_ONCE, rig.server).await.unwrap().unwrap();
    assert_eq!(rest(&mut open).await, "");
}
