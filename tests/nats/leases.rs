//! Leases in a key-value bucket.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream::{Config, StorageType};
use quorate::ids::{ClusterId, NodeId};
use quorate::nats;
use quorate::registry::{Discovery, KvDiscovery, KvOptions, LeaseEvent};
use quorate::testing::{NatsServer, eventually};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{PATIENCE, connect, soon};

const TTL: Duration = Duration::from_secs(1);
const BUCKET: &str = "quorate-test-leases";

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

/// One node's view of the leases of nodes 1 to 3.
async fn discovery(server: &NatsServer) -> KvDiscovery {
    let cluster: ClusterId = "test".parse().unwrap();
    KvDiscovery::new(connect(server).await, KvOptions::new(&cluster, TTL, (1..=3).map(node)))
}

async fn watch(server: &NatsServer) -> mpsc::Receiver<LeaseEvent> {
    discovery(server).await.watch().await.unwrap()
}

async fn next(events: &mut mpsc::Receiver<LeaseEvent>) -> LeaseEvent {
    soon(events.recv()).await.unwrap()
}

/// Renews the lease of a node as its registry would, until it is dropped.
fn keep(discovery: KvDiscovery, node: NodeId) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            // Without a server there is no lease.
            let _ = discovery.renew(node, TTL).await;
            tokio::time::sleep(TTL / 3).await;
        }
    });
    task
}

/// The bucket, for those who mean no good.
async fn bucket(connection: &nats::Connection) -> Store {
    async_nats::jetstream::new(connection.client().clone()).get_key_value(BUCKET).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn leases__should_be_seen_resigned_and_run_out() {
    let server = NatsServer::start().await.unwrap();
    let (a, b) = (discovery(&server).await, discovery(&server).await);
    a.renew(node(1), TTL).await.unwrap();
    let mut events = watch(&server).await;
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(1)), "held before the watch began");
    let renewing = Instant::now();
    b.renew(node(2), TTL).await.unwrap();
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(2)));
    a.resign(node(1)).await.unwrap();
    assert_eq!(next(&mut events).await, LeaseEvent::Gone(node(1)));
    assert!(renewing.elapsed() < TTL, "resigned, not run out");
    assert_eq!(next(&mut events).await, LeaseEvent::Gone(node(2)));
    assert!(renewing.elapsed() >= TTL);
    b.renew(node(2), TTL).await.unwrap();
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases__should_hold_while_they_are_renewed() {
    let server = NatsServer::start().await.unwrap();
    let _kept = keep(discovery(&server).await, node(1));
    let mut events = watch(&server).await;
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(1)));
    assert!(tokio::time::timeout(TTL * 3, events.recv()).await.is_err(), "nothing changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch__should_go_on_after_the_server_died_with_or_without_its_data() {
    let mut server = NatsServer::start().await.unwrap();
    let _kept = keep(discovery(&server).await, node(1));
    let mut events = watch(&server).await;
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(1)));
    for keep_data in [true, false] {
        server.kill();
        assert_eq!(next(&mut events).await, LeaseEvent::Gone(node(1)), "nobody renews without a server");
        server.restart(keep_data).await.unwrap();
        assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(1)), "data kept: {keep_data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery__should_say_that_there_is_no_server() {
    let mut server = NatsServer::start().await.unwrap();
    let discovery = discovery(&server).await;
    discovery.renew(node(1), TTL).await.unwrap();
    server.kill();
    assert!(soon(discovery.renew(node(1), TTL)).await.is_err());
    assert!(soon(discovery.watch()).await.is_err());
    assert!(soon(discovery.resign(node(1))).await.is_err());
    server.restart(false).await.unwrap();
    eventually("it is renewed again", async || discovery.renew(node(1), TTL).await.is_ok()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket__should_be_used_however_it_is_set_up() {
    let server = NatsServer::start().await.unwrap();
    let connection = connect(&server).await;
    // It keeps values for ever, and several of each.
    let config = Config {
        name: format!("KV_{BUCKET}"),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_messages_per_subject: 5,
        storage: StorageType::Memory,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    };
    async_nats::jetstream::new(connection.client().clone()).create_stream(config).await.unwrap();
    let mut events = watch(&server).await;
    discovery(&server).await.renew(node(1), TTL).await.unwrap();
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(1)));
    assert_eq!(next(&mut events).await, LeaseEvent::Gone(node(1)), "the watcher itself counts the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering__should_make_nodes_look_dead_or_alive_and_nothing_else() {
    let server = NatsServer::start().await.unwrap();
    let kept = keep(discovery(&server).await, node(1));
    let mut events = watch(&server).await;
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(1)));
    let intruder = connect(&server).await;
    let store = bucket(&intruder).await;
    // Garbage, strangers, other ways to write a member's id.
    let simple = node(2).0.simple().to_string();
    for key in ["x", "a.b.c", "_kv", &node(9).to_string(), &simple, &simple.to_uppercase()] {
        store.put(key, "{\"threshold\":1}".into()).await.unwrap();
    }
    for number in 0..1000 {
        store.put(format!("junk.{number}"), vec![0xff; 100].into()).await.unwrap();
    }
    // A dead node looks alive, and what its value says does not matter.
    store.put(node(3).to_string(), vec![0xff; 100].into()).await.unwrap();
    assert_eq!(next(&mut events).await, LeaseEvent::Alive(node(3)));
    // A living node looks dead, until it renews its lease.
    store.delete(node(1).to_string()).await.unwrap();
    assert_eq!(next(&mut events).await, LeaseEvent::Gone(node(1)));
    let mut all = vec![next(&mut events).await, next(&mut events).await];
    all.sort_by_key(|event| matches!(event, LeaseEvent::Gone(_)));
    assert_eq!(all, [LeaseEvent::Alive(node(1)), LeaseEvent::Gone(node(3))]);
    // The bucket disappears: the next renewal makes it again, and the watch finds it.
    let context = async_nats::jetstream::new(intruder.client().clone());
    context.delete_key_value(BUCKET).await.unwrap();
    drop(kept);
    let second = discovery(&server).await;
    let _kept = keep(second, node(2));
    let alive = async { while next(&mut events).await != LeaseEvent::Alive(node(2)) {} };
    tokio::time::timeout(PATIENCE, alive).await.unwrap();
}
