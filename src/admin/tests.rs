//! The operator's socket, with a node behind it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::*;
use crate::error::Code;
use crate::ids::{Scheme, Threshold};
use crate::secret::SecretBytes;
use crate::storage::KeySource;
use crate::testing::{Cluster, eventually};

const PASSPHRASE: &str = "the right passphrase";

fn passphrase(text: &str) -> Secret {
    Secret::passphrase(&SecretBytes::copy_from(text.as_bytes())).unwrap()
}

async fn start(socket: &Path) -> Cluster {
    let endpoint = AdminEndpoint::bind(socket.to_owned()).unwrap();
    let builder = Cluster::builder("test".parse().unwrap(), Threshold::new(2, 3).unwrap()).without_pairs();
    let builder = builder.args(move |number, args| {
        args.storage.key.put(KeySource::passphrase(SecretBytes::copy_from(PASSPHRASE.as_bytes())).unwrap());
        args.admin = (number == 0).then(|| endpoint.clone());
    });
    builder.start().await.unwrap()
}

async fn asked(socket: &Path, command: Command) -> Result<Done, AskError> {
    let socket = socket.to_owned();
    spawn_blocking(move || ask(&socket, &command)).await.unwrap()
}

/// What comes back for these bytes.
async fn said(socket: &Path, bytes: Vec<u8>) -> String {
    let socket = socket.to_owned();
    spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        // The node may hang up before it has read all.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
    .await
    .unwrap()
}

async fn status(socket: &Path) -> NodeState {
    let Done::Status(status) = asked(socket, Command::Status {}).await.unwrap() else { panic!("no status") };
    *status
}

fn refused(answer: Result<Done, AskError>) -> Code {
    match answer {
        Err(AskError::Refused(refused)) => refused.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operator__should_seal_unseal_and_rekey_a_node_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("node.sock");
    let cluster = start(&socket).await;
    cluster.make_wallet(0, "treasury", &[Scheme::Ed25519]).await.unwrap();
    let before = status(&socket).await;
    assert_eq!((before.sealed, before.backup, before.node_id), (false, None, cluster.id(0).unwrap()));
    assert_eq!(refused(asked(&socket, Command::Backup { full: false }).await), Code::StorageWrite);

    let new = || passphrase("another passphrase");
    let wrong = Command::Rekey { current: passphrase("wrong"), new: new() };
    assert_eq!(refused(asked(&socket, wrong).await), Code::StorageRead);
    let rekey = Command::Rekey { current: passphrase(PASSPHRASE), new: new() };
    assert_eq!(asked(&socket, rekey).await.unwrap(), Done::Rekeyed);
    cluster.sign(0, Scheme::Ed25519, "treasury").await.unwrap();

    assert_eq!(asked(&socket, Command::Seal {}).await.unwrap(), Done::Sealed);
    assert!(status(&socket).await.sealed);
    assert_eq!(refused(asked(&socket, Command::Unseal { secret: passphrase(PASSPHRASE) }).await), Code::StorageRead);
    assert_eq!(asked(&socket, Command::Unseal { secret: new() }).await.unwrap(), Done::Unsealed);
    assert!(!status(&socket).await.sealed);
    cluster.until_ready().await.unwrap();
    cluster.sign(0, Scheme::Ed25519, "treasury").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn socket__should_answer_no_nonsense_and_never_repeat_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("node.sock");
    let cluster = start(&socket).await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (text, answered) in [
        ("{\"command\":\"unseal\",\"secret\":{\"passphrase\":5551234}}\n", true),
        ("{\"command\":\"nonsense5551234\"}\n", true),
        ("{\"command\":\"status\",\"more\":1}\n", true),
        ("not JSON 5551234\n", true),
        ("\n", true),
        ("{\"command\":\"status\"}", false),
        ("", false),
    ] {
        let answer = said(&socket, text.as_bytes().to_vec()).await;
        assert_eq!(answer.contains("UNMARSHAL_FAILURE"), answered, "{text}: {answer}");
        assert!(!answer.contains("5551234"), "{text}: {answer}");
    }
    let endless = [vec![b'x'; MAX_LINE_BYTES * 2], b"\n".to_vec()].concat();
    assert_eq!(said(&socket, endless).await, "");
    // Those who connect and say nothing keep nobody else away for long.
    let path = socket.clone();
    let idle = spawn_blocking(move || (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect::<Vec<_>>());
    let idle = idle.await.unwrap();
    eventually("there is room again", async || asked(&socket, Command::Status {}).await.is_ok()).await.unwrap();
    drop(idle);

    // Its actor lives again at the same socket, as often as it fails.
    let to = cluster.addresses(0).unwrap().admin.clone();
    for _ in 0..=cluster.local().args(0).unwrap().settings.restarts.restarts {
        let former = to.current().unwrap().get_id();
        to.cast(AdminMsg::InjectPanic).unwrap();
        eventually("it lives again", async || to.current().is_some_and(|next| next.get_id() != former)).await.unwrap();
    }
    eventually("it answers", async || asked(&socket, Command::Status {}).await.is_ok()).await.unwrap();
}

#[tokio::test]
async fn endpoint__should_replace_what_nobody_listens_at_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("new/node.sock");
    assert!(matches!(ask(&socket, &Command::Status {}), Err(AskError::NotRunning)));
    let first = AdminEndpoint::bind(socket.clone()).unwrap();
    assert!(matches!(AdminEndpoint::bind(socket.clone()), Err(AdminError::InUse { path }) if path == socket));
    drop(first);
    assert!(!socket.exists(), "it goes with its node");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(matches!(ask(&socket, &Command::Status {}), Err(AskError::NotRunning)), "as after kill -9");
    drop(AdminEndpoint::bind(socket.clone()).unwrap());
    std::fs::write(&socket, "a file").unwrap();
    assert!(matches!(AdminEndpoint::bind(socket), Err(AdminError::Failed { .. })));
    let long = PathBuf::from("x".repeat(108));
    assert!(matches!(AdminEndpoint::bind(long), Err(AdminError::TooLong { .. })));
}

#[test]
fn commands__should_have_one_form() {
    let text = |command: &Command| serde_json::to_string(command).unwrap();
    assert_eq!(text(&Command::Backup { full: true }), r#"{"command":"backup","full":true}"#);
    let key = Secret::key(&SecretBytes::copy_from(&[0xab; 32]));
    assert!(key.source().is_ok());
    let unseal = text(&Command::Unseal { secret: key });
    assert_eq!(unseal, format!(r#"{{"command":"unseal","secret":{{"key":"{}"}}}}"#, "ab".repeat(32)));
    assert!(Secret::passphrase(&SecretBytes::copy_from(&[0xff])).is_none());
    let refused = Answer::Refused(Refused { code: Code::StorageRead, problem: "no".to_owned() });
    let refused = serde_json::to_string(&refused).unwrap();
    assert_eq!(refused, r#"{"refused":{"code":"STORAGE_READ","problem":"no"}}"#);
}
