//! A TCP proxy in front of the NATS server, for a node whose network is bad.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the proxy lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Everything, at once.
    Open,
    /// Everything, so much later.
    Slow(Duration),
    /// Nothing; connections stay, and new ones are taken.
    Nothing,
    /// Nothing; connections are closed.
    Closed,
}

/// A proxy. It ends with this value.
pub(crate) struct Proxy {
    address: SocketAddr,
    passage: watch::Sender<Passage>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens for connections to `server`.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passage, watch) = watch::channel(Passage::Open);
        let mut tasks = JoinSet::new();
        let server = server.to_owned();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, server.clone(), watch.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, passage, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub(crate) fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

async fn connect(client: TcpStream, server: String, watch: watch::Receiver<Passage>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let closed = async {
        // The proxy is gone, which closes too.
        let _ = watch.clone().wait_for(|passage| *passage == Passage::Closed).await;
    };
    tokio::select! {
        () = carry(from_client, to_server, watch.clone()) => {}
        () = carry(from_server, to_client, watch.clone()) => {}
        () = closed => {}
    }
}

/// Carries bytes in one direction, until one end is gone.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut watch: watch::Receiver<Passage>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let read = Instant::now();
        loop {
            let passage = *watch.borrow_and_update();
            match passage {
                Passage::Open => break,
                Passage::Slow(delay) => {
                    tokio::time::sleep_until(read + delay).await;
                    break;
                }
                Passage::Nothing | Passage::Closed => {
                    if watch.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}
