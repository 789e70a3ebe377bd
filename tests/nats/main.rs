//! Nodes over a real NATS server: connections, links, leases, and a whole cluster that loses it.
#![expect(clippy::unwrap_used, reason = "a test that fails should stop")]

mod announcement;
mod broker;
mod cluster;
mod credentials;
mod leases;
mod permissions;
mod tls;

use std::time::Duration;

use quorate::nats::{self, Options};
use quorate::testing::NatsServer;
use quorate::transport::broker::{Broker, Connection};
use quorate::transport::nats::NatsBroker;
use tokio::sync::watch;

/// How long anything may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens in time.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

/// Options for a server that asks for nothing.
fn options(server: &NatsServer) -> Options {
    Options::new([server.url()], "test")
}

async fn connect(server: &NatsServer) -> nats::Connection {
    nats::connect(&options(server)).await.unwrap()
}

async fn broker(server: &NatsServer) -> NatsBroker {
    NatsBroker::new(connect(server).await).await.unwrap()
}

/// Waits until a connection's state satisfies `condition`.
async fn until(broker: &NatsBroker, condition: impl Fn(&Connection) -> bool) -> Connection {
    let mut state: watch::Receiver<Connection> = broker.connection();
    *soon(state.wait_for(|state| condition(state))).await.unwrap()
}
