//! What the server does not permit: it says so late, and to nobody in particular.

use quorate::ids::{ClusterId, Threshold};
use quorate::local_cluster::LocalCluster;
use quorate::nats::{self, Credentials, Options};
use quorate::node::Settings;
use quorate::registry::View;
use quorate::secret::SecretBytes;
use quorate::testing::NatsServer;
use quorate::transport::broker::{Broker, Connection};
use quorate::transport::nats::NatsBroker;
use quorate::wire::native::Health;

use crate::{options, soon, until};

/// A server where `node` may use what is below `allowed`, and its own inbox.
fn config(allowed: &str) -> String {
    of_subjects(&format!(r#"["{allowed}", "_INBOX.>"]"#), &format!(r#"["{allowed}", "_INBOX.>"]"#))
}

/// A server where `node` may publish and subscribe to lists of subjects.
fn of_subjects(publish: &str, subscribe: &str) -> String {
    format!(
        r#"authorization {{ users = [ {{ user: node, password: secret,
            permissions: {{ publish: {publish}, subscribe: {subscribe} }} }} ] }}"#
    )
}

async fn connect(server: &NatsServer) -> nats::Connection {
    let credentials =
        Credentials::UserPassword { user: "node".to_owned(), password: SecretBytes::copy_from(b"secret") };
    nats::connect(&Options { credentials, ..options(server) }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_subscription__should_show_until_it_is_permitted() {
    let mut server = NatsServer::start_with(&config("quorate.test.a")).await.unwrap();
    let connection = connect(&server).await;
    let broker = NatsBroker::new(connection.clone()).await.unwrap();
    drop(broker.subscribe("quorate.test.a").await.unwrap());
    assert_eq!(*broker.connection().borrow(), Connection::UP);
    // What denied means comes later, if at all.
    let mut inbox = broker.subscribe("quorate.test.b").await.unwrap();
    until(&broker, |state| state.connected && !state.permitted).await;
    let status = connection.status().borrow().clone();
    assert_eq!((status.permission_violations, status.denied), (1, true));
    assert!(status.last_violation.unwrap().contains("quorate.test.b"));
    // The server restarts with the same permissions, then with better ones.
    server.restart(true).await.unwrap();
    until(&broker, |state| state.losses == 1 && state.connected && !state.permitted).await;
    server.reconfigure(&config("quorate.>"));
    server.restart(true).await.unwrap();
    until(&broker, |state| state.losses == 2 && state.connected && state.permitted).await;
    drop(broker.publish("quorate.test.b", vec![1]));
    assert_eq!(soon(inbox.next()).await, Some(vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_publish__should_show() {
    let server = NatsServer::start_with(&config("quorate.test.a")).await.unwrap();
    let broker = NatsBroker::new(connect(&server).await).await.unwrap();
    drop(broker.publish("quorate.test.b", vec![1]));
    until(&broker, |state| state.connected && !state.permitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_inbox__should_show() {
    let (subject, all) = (r#"["quorate.>"]"#, r#"["quorate.>", "_INBOX.>"]"#);
    for (publish, subscribe) in [(subject, all), (all, subject)] {
        let server = NatsServer::start_with(&of_subjects(publish, subscribe)).await.unwrap();
        let broker = NatsBroker::new(connect(&server).await).await.unwrap();
        drop(broker.publish("quorate.test.a", vec![1]));
        until(&broker, |state| state.connected && !state.permitted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_subject_of_others__should_be_counted_and_mean_nothing_for_the_links() {
    let server = NatsServer::start_with(&config("quorate.>")).await.unwrap();
    let connection = connect(&server).await;
    let broker = NatsBroker::new(connection.clone()).await.unwrap();
    connection.client().publish("where.a.client.wants.its.answer", "".into()).await.unwrap();
    soon(connection.status().wait_for(|status| status.permission_violations == 1)).await.unwrap();
    assert!(!connection.status().borrow().denied);
    assert_eq!(*broker.connection().borrow(), Connection::UP);
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_not_be_ready_while_its_inbox_is_denied() {
    let mut server = NatsServer::start_with(&config("quorate.other.>")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new("test".parse::<ClusterId>().unwrap(), Threshold::new(2, 2).unwrap());
    let mut cluster = LocalCluster::prepare(folder.path(), &settings, |policy| policy).unwrap();
    for number in 0..2 {
        let broker = NatsBroker::new(connect(&server).await).await.unwrap();
        cluster.args_mut(number).unwrap().broker = std::sync::Arc::new(broker);
    }
    cluster.start_all().await.unwrap();
    soon(cluster.until(|view| !view.able && view.health(1) == Health::TooFew)).await.unwrap();
    server.reconfigure(&config("quorate.test.>"));
    server.restart(true).await.unwrap();
    let ready = |view: &View| view.health(2) == Health::All;
    soon(cluster.until(ready)).await.unwrap();
    cluster.shutdown_all().await;
}
