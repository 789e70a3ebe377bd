//! `quorate register-peers --announce`: operators compare their peer books through a bucket.

use std::path::Path;
use std::process::{Command, Output};

use quorate::testing::NatsServer;
use tempfile::TempDir;

use crate::connect;

const BUCKET: &str = "quorate-quorate-peers";

fn quorate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.current_dir(folder).args(arguments).output().unwrap()
}

/// The files of a cluster of three.
fn operator() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let node = |name| ["generate-identity", "--node", name];
    for arguments in [&["generate-peers", "-n", "3"][..], &node("node0"), &node("node1"), &node("node2")] {
        assert!(quorate(folder.path(), arguments).status.success());
    }
    folder
}

/// Announces, and returns the exit code with all that was said.
fn announce(operator: &TempDir, server: &NatsServer) -> (Option<i32>, String) {
    let output = quorate(operator.path(), &["register-peers", "--announce", "--nats", &server.url()]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn peers__should_be_announced_once_and_compared_with_what_others_announced() {
    let server = NatsServer::start().await.unwrap();
    let (ours, theirs) = (operator(), operator());
    for said in ["3 new, 0 as before", "0 new, 3 as before"] {
        let (code, text) = announce(&ours, &server);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(said), "{text}");
    }
    let (code, text) = announce(&theirs, &server);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("node0, node1, node2 announced with another id or key"), "{text}");

    let jetstream = async_nats::jetstream::new(connect(&server).await.client().clone());
    let bucket = jetstream.get_key_value(BUCKET).await.unwrap();
    let book: serde_json::Value =
        serde_json::from_slice(&std::fs::read(ours.path().join("peers.json")).unwrap()).unwrap();
    let entry: serde_json::Value =
        serde_json::from_slice(&bucket.get("mpc_peers/node1").await.unwrap().unwrap()).unwrap();
    assert_eq!(entry["node_id"], book["node1"], "nothing was written over");

    // Garbage differs, and what was taken out is announced again.
    bucket.put("mpc_peers/node1", "garbage".into()).await.unwrap();
    let (code, text) = announce(&ours, &server);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(": node1 announced"), "{text}");
    bucket.delete("mpc_peers/node1").await.unwrap();
    let (code, text) = announce(&ours, &server);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 new, 2 as before"), "{text}");
}
