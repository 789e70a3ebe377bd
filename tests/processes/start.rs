//! Starting: what an operator gets wrong, a broker that comes late, and a whole cluster by one command.

use std::net::TcpListener;

use quorate::client::{Client, Options};
use quorate::identity::Algorithm;
use quorate::testing::NatsServer;
use rustix::process::Signal;

use crate::cluster::Files;
use crate::node::{Node, quorate};
use crate::until;

/// A port that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn start__should_refuse_what_cannot_work_and_say_why() {
    let files = Files::new(Algorithm::Ed25519);
    let nowhere = format!("127.0.0.1:{}", free_port());
    files.configure(&nowhere, "");
    let (node, folder) = (files.peers.nodes()[0].0.to_string(), files.path().to_owned());
    let run = |args: &[&str]| {
        let output = quorate(&folder).args(["start", "-c", "quorate.toml"]).args(args).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {err}");
        let last = err.lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("quorate: "), "{err}");
        last
    };
    let says = |args: &[&str], expected: &str| {
        let said = run(args);
        assert!(said.contains(expected), "{args:?} does not say {expected:?} but {said}");
    };
    says(&["-n", "stranger"], "stranger_identity.json");
    says(&[], "node.name");
    says(&["-n", &node, "--peers", "missing.json"], "missing.json");
    says(&["-n", &node, "--password-file", "missing"], "missing");
    says(&["-n", &node, "--identity-password-file", "missing"], "missing");
    let key = folder.join(format!("identity/{node}_private.key"));
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    says(&["-n", &node], &format!("{node}_private.key"));
    std::fs::write(&key, "not a key").unwrap();
    says(&["-n", &node], &format!("{node}_private.key"));
    std::fs::write(&key, kept).unwrap();
    std::fs::remove_file(folder.join("storage-key")).unwrap();
    says(&["-n", &node], "storage-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn start__should_wait_for_its_broker_and_know_its_own_store() {
    let mut server = NatsServer::start().await.unwrap();
    server.kill();
    let files = Files::new(Algorithm::Ed25519);
    files.configure(&server.url(), "");
    let passphrase = files.write("passphrase", "correct horse battery staple");
    let node = files.peers.nodes()[0].0.to_string();
    let args = ["start", "-n", &node, "-c", "quorate.toml", "--password-file", passphrase.to_str().unwrap()];
    let mut early = Node::start(files.path(), "early.log", &args).await;
    until("it waits", async || early.log().contains("no NATS server yet").then_some(())).await;
    early.signal(Signal::INT);
    assert_eq!(early.ended().await, 130, "nothing was started");
    let waiting = Node::start(files.path(), "waiting.log", &args).await;
    until("it waits", async || waiting.log().contains("no NATS server yet").then_some(())).await;
    server.restart(true).await.unwrap();
    until("it starts", async || waiting.log().contains("node started").then_some(())).await;
    assert!(!waiting.log().contains('\u{1b}'), "colours are for terminals");
    let client = Client::connect(&Options::new([server.url()], "test"), "tested".parse().unwrap()).await.unwrap();
    let nodes = until("it answers", async || client.status(std::time::Duration::from_millis(200)).await.ok()).await;
    assert_eq!((nodes.len(), nodes[0].name.as_str()), (1, node.as_str()));
    // A second one of the same node does not get at the store.
    let mut second = Node::start(files.path(), "second.log", &args).await;
    assert_eq!(second.ended().await, 1);
    assert!(second.log().lines().last().unwrap().contains("in use"), "{}", second.log());
    waiting.stop().await;
    // Another passphrase than the one that sealed it.
    files.write("passphrase", "incorrect horse battery staple");
    let mut wrong = Node::start(files.path(), "wrong.log", &args).await;
    assert_eq!(wrong.ended().await, 2, "{}", wrong.log());
    let log = wrong.log();
    assert!(log.lines().last().unwrap().contains("passphrase"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_command__should_start_a_cluster_and_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = NatsServer::executable().unwrap();
    let (port, health) = (free_port().to_string(), free_port().to_string());
    let start = [
        "cluster",
        "start",
        "--dir",
        "c",
        "--nats-server",
        server.to_str().unwrap(),
        "--port",
        &port,
        "--health-port",
        &health,
    ];
    let mut cluster = Node::start(folder.path(), "cluster.log", &start).await;
    until("it is ready", async || cluster.log().contains("is ready after").then_some(())).await;
    let script = format!(
        ". c/client.env && Q={} && $Q client keygen w && $Q client sign w --key-type ed25519 --tx-id t --text hello",
        env!("CARGO_BIN_EXE_quorate")
    );
    let output = tokio::process::Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8(output.stderr).unwrap());
    assert!(String::from_utf8(output.stdout).unwrap().contains("signature   "));
    let again = quorate(folder.path()).args(start).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("runs already"));
    let mut stop = quorate(folder.path());
    stop.args(["cluster", "stop", "--dir", "c"]);
    let stopped = tokio::task::spawn_blocking(move || stop.output().unwrap()).await.unwrap();
    assert_eq!(stopped.status.code(), Some(0), "{}", String::from_utf8(stopped.stderr).unwrap());
    assert_eq!(cluster.ended().await, 0, "{}", cluster.log());
    let again = quorate(folder.path()).args(["cluster", "stop", "--dir", "c"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    // What a cluster that was killed left behind may name a process that is none of ours.
    let mut innocent = tokio::process::Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
    std::fs::write(folder.path().join("c/cluster.pid"), innocent.id().unwrap().to_string()).unwrap();
    let again = quorate(folder.path()).args(["cluster", "stop", "--dir", "c"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(innocent.try_wait().unwrap(), None, "it is still there");
    assert!(std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err(), "the server is gone with it");
}
