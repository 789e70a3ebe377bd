//! The end of a wallet by the command line: allowed, approved, carried out also by a process that was not there, and proved.

use quorate::client::{KeygenRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::{Algorithm, Existing, Protection, RequestKey, RequestKeyFiles};
use quorate::ids::Scheme;
use quorate::testing::NatsServer;

use crate::cluster::{Cluster, Files};
use crate::until;

#[tokio::test(flavor = "multi_thread")]
async fn wallet__should_be_destroyed_by_the_command_line_also_on_a_node_that_was_away() {
    let (server, files) = (NatsServer::start().await.unwrap(), Files::new(Algorithm::Ed25519));
    let alice = RequestKey::generate(Algorithm::P256).unwrap();
    let keys = RequestKeyFiles::authorizer(files.path(), &"alice".parse().unwrap());
    keys.save(&alice, Protection::FileMode, Existing::Keep).unwrap();
    let more = format!(
        "[keygen]\ndeadline_ms = 10000\n[destroy]\nallowed = true\napprovals = 1\n\
         [policy.authorizers.alice]\nalgorithm = \"p256\"\npublic_key = \"{}\"\n",
        alice.public()
    );
    let mut cluster = Cluster::of_ours(server, files, &more).await;
    let made = KeygenRequest::builder("w".parse().unwrap()).key_types(&[Scheme::Ed25519]);
    cluster.client.keygen(&made.sign_with(&cluster.files.initiator).unwrap()).await.unwrap();

    let (folder, url) = (cluster.files.path().to_owned(), cluster.server.url());
    let run = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.current_dir(&folder).env("QUORATE_CLIENT_NATS", format!("nats://{url}"));
        command.env("QUORATE_CLIENT_CLUSTER", "tested").arg("client").args(args);
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, err) = run(&["destroy", "w", "--yes", "v", "--authorizer", "alice"]).await;
    assert!(code == 2 && err.contains("--yes"), "{err}");
    let (code, _, err) = run(&["destroy", "w", "--yes", "w"]).await;
    assert!(code == 1 && err.contains("MISSING_AUTHORIZER_SIGNATURE"), "{err}");

    let away = cluster.files.peers.nodes()[2].1.to_string();
    cluster.kill_node(2).await;
    let (code, out, err) = run(&["destroy", "w", "--yes", "w", "--authorizer", "alice"]).await;
    assert!(code == 1 && out.contains(&away) && err.contains("not every member"), "{out}{err}");
    let sign = SignRequest::builder(Scheme::Ed25519, "w".parse().unwrap(), "t".parse().unwrap(), b"too late");
    let failed = cluster.client.sign(&sign.sign_with(&cluster.files.initiator).unwrap()).await.unwrap_err();
    assert_eq!(failed.code(), Code::WalletDestroyed, "{failed}");

    cluster.start_node(2).await;
    let whole = until("all have destroyed it", async || {
        let (code, out, _) = run(&["certificate", "w", "--output", "w.destroyed"]).await;
        (code == 0).then_some(out)
    })
    .await;
    assert!(whole.contains(&away) && whole.contains("approved by alice"), "{whole}");
    for number in 0..3 {
        cluster.stop_node(number).await;
    }
    // Without the cluster, and without the file being what it was.
    let offline = ["certificate", "w", "--file", "w.destroyed"];
    let (code, out, err) = run(&offline).await;
    assert_eq!((code, out), (0, whole), "{err}");
    let (code, _, err) = run(&["certificate", "v", "--file", "w.destroyed"]).await;
    assert!(code == 1 && err.contains("another wallet"), "{err}");
    let path = folder.join("w.destroyed");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (code, _, err) = run(&offline).await;
    assert!(code == 1 && err.contains("does not verify"), "{err}");
}
