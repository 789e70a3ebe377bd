//! A node that is backed up while it signs, loses its disk, and comes back; and what unlocks its store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate::backup::generated_keys;
use quorate::client::{Client, KeygenRequest, SignRequest};
use quorate::identity::{Algorithm, RequestKey};
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use quorate::wire::native::Wallet;
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cluster::{Cluster, Files};
use crate::node::{Node, quorate};
use crate::tampering::signs;
use crate::until;

const WALLET: &str = "treasury";

/// Runs a command in a folder to its end: its exit code, what it said, and what it complained of.
async fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = quorate(folder);
    command.args(args).stdin(std::process::Stdio::null());
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A command that succeeds.
pub(crate) async fn done(folder: &Path, args: &[&str]) -> String {
    let (code, said, complaint) = run(folder, args).await;
    assert_eq!(code, 0, "{args:?}: {complaint}");
    said
}

/// A command that is refused, and says so.
async fn refused(folder: &Path, args: &[&str], code: i32, why: &str) {
    let (found, _, complaint) = run(folder, args).await;
    assert_eq!(found, code, "{args:?}: {complaint}");
    assert!(complaint.contains(why), "{args:?} does not say {why:?} but {complaint}");
}

/// Asks for signatures, one after the other, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(client: Client, initiator: &RequestKey) -> Self {
        let request = |number: u32| {
            let id = format!("load-{number}").parse().unwrap();
            let request = SignRequest::builder(Scheme::Ed25519, WALLET.parse().unwrap(), id, b"a message");
            request.sign_with(initiator).unwrap()
        };
        // More than are made meanwhile.
        let requests: Vec<SignRequest> = (0..2_000).map(request).collect();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&done));
        let task = tokio::spawn(async move {
            for request in requests {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                client.sign(&request).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, done, task }
    }

    /// Waits until it has got so many more.
    async fn more(&self, count: u64) {
        let enough = self.done.load(Ordering::Relaxed) + count;
        until("signing goes on", async || (self.done.load(Ordering::Relaxed) >= enough).then_some(())).await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

pub(crate) async fn status(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&done(folder, &["status", "-c", "quorate.toml", "-n", name, "--json"]).await).unwrap()
}

async fn make_wallet(cluster: &Cluster) -> Wallet {
    let request = KeygenRequest::builder(WALLET.parse().unwrap()).key_types(&Scheme::ALL);
    let wallet = cluster.client.keygen(&request.sign_with(&cluster.files.initiator).unwrap()).await.unwrap();
    signs(cluster, &wallet, "first").await;
    wallet
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_its_disk__should_come_back_out_of_a_backup_made_while_it_signed() {
    let (recipient, private) = generated_keys();
    let files = Files::new(Algorithm::Ed25519);
    let folder = files.path().to_owned();
    files.write("backup-key", std::str::from_utf8(private.expose()).unwrap());
    files.write("other-key", std::str::from_utf8(generated_keys().1.expose()).unwrap());
    std::fs::create_dir(folder.join("backups")).unwrap();
    let backups = format!("[backup]\nrecipients = [\"{recipient}\"]\ninclude_identity = true\n");
    let mut cluster = Cluster::of_ours(NatsServer::start().await.unwrap(), files, &backups).await;
    let wallet = make_wallet(&cluster).await;
    let name = cluster.files.peers.nodes()[2].0.to_string();
    let of = |args: &[&'static str]| -> Vec<String> {
        let named = ["-c", "quorate.toml", "-n", &name].map(str::to_owned);
        args.iter().map(|arg| (*arg).to_owned()).chain(named).collect()
    };
    let [create, list, verify, restore, seal] = [
        &["backup", "create"][..],
        &["backup", "list", "--json"],
        &["backup", "verify", "--identity", "backup-key"],
        &["backup", "restore", "--identity", "backup-key"],
        &["seal"],
    ]
    .map(of);
    fn words(args: &[String]) -> Vec<&str> {
        args.iter().map(String::as_str).collect()
    }

    // While it signs.
    let load = Load::start(cluster.client.clone(), &cluster.files.initiator);
    load.more(3).await;
    assert!(done(&folder, &words(&create)).await.contains("(full, "));
    load.more(3).await;
    assert!(done(&folder, &words(&create)).await.contains("(differential, "));
    load.more(3).await;
    load.stop().await;
    let listed = done(&folder, &words(&list)).await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let verified = done(&folder, &words(&verify)).await;
    assert!(verified.contains("1, with 3 shares") && verified.contains(&format!("{name}_private.key")), "{verified}");
    let newest: Value = serde_json::from_str(listed.lines().last().unwrap()).unwrap();
    let newest = newest["path"].as_str().unwrap();
    let alone = done(&folder, &["backup", "verify", newest, "--identity", "backup-key"]).await;
    assert!(alone.contains("signatures of certificates were not checked"), "{alone}");
    refused(&folder, &["backup", "verify", newest, "--identity", "other-key"], 2, "none of the given keys").await;
    refused(&folder, &words(&restore), 2, "stop it first").await;

    // Its disk is gone.
    cluster.kill_node(2).await;
    refused(&folder, &words(&restore), 2, "there is something already").await;
    std::fs::remove_dir_all(folder.join("data").join(&name)).unwrap();
    refused(&folder, &words(&create), 2, "there is no store").await;
    assert!(done(&folder, &words(&restore)).await.contains("Restored to data/"));
    cluster.start_node(2).await;
    cluster.until_complete().await;
    let confirmed = async || {
        let status = status(&folder, &name).await;
        (status["quarantined"].as_array().unwrap().is_empty()).then_some(())
    };
    until("its wallet is confirmed", confirmed).await;
    cluster.stop_node(1).await;
    signs(&cluster, &wallet, "with the restored one").await;
    let again = cluster.client.wallet(WALLET.parse().unwrap()).await.unwrap();
    assert_eq!(again.keys, wallet.keys, "keys and addresses are the same");
    cluster.start_node(1).await;
    cluster.until_complete().await;

    // Sealed, it does nothing; unsealed, it does all again.
    done(&folder, &words(&seal)).await;
    let (ready, report) = cluster.nodes[2].as_ref().unwrap().ready().await;
    assert_eq!((ready, &report["status"]), (false, &Value::from("sealed")));
    assert_eq!(status(&folder, &name).await["sealed"], true);
    let unseal = |key: &'static str| of(&["unseal", "--key-file", key]);
    std::fs::write(folder.join("wrong-key"), "77".repeat(32)).unwrap();
    refused(&folder, &words(&unseal("wrong-key")), 1, "wrong passphrase or key").await;
    done(&folder, &words(&unseal("storage-key"))).await;
    cluster.until_complete().await;
    signs(&cluster, &wallet, "unsealed").await;

    // Another secret while it runs, the former one while it does not, and a backup of a node that does not run.
    let after_restore = done(&folder, &words(&create)).await;
    assert!(after_restore.contains("(full, "), "a restored store has written every record anew: {after_restore}");
    std::fs::write(folder.join("new-key"), "66".repeat(32)).unwrap();
    done(&folder, &words(&of(&["storage", "rekey", "--new-key-file", "new-key"]))).await;
    cluster.stop_node(2).await;
    refused(&folder, &words(&create), 1, "wrong passphrase or key").await;
    let back = of(&["storage", "rekey", "--key-file", "new-key", "--new-key-file", "storage-key"]);
    done(&folder, &words(&back)).await;
    let after_rekey = done(&folder, &words(&create)).await;
    assert!(after_rekey.contains("(differential, "), "nothing was sealed anew: {after_rekey}");

    // mpcium's command, with mpcium's flags: what is there is kept.
    let store = format!("data/{name}");
    let recover = of(&["recover", "--backup-dir", "backups", "--identity", "backup-key"]);
    let recover = [recover, vec!["--recovery-path".to_owned(), store.clone()]].concat();
    refused(&folder, &words(&recover), 2, "there is something already").await;
    let recovered = done(&folder, &[words(&recover), vec!["--force"]].concat()).await;
    assert!(recovered.contains(&format!("What was in {store} is now in {store}.before-")), "{recovered}");

    // It starts sealed from then on, as its configuration says.
    let config = std::fs::read_to_string(folder.join("quorate.toml")).unwrap();
    let sealed = config.replace("key_file = \"storage-key\"", "sealed = true");
    std::fs::write(folder.join("sealed.toml"), sealed).unwrap();
    let node = Node::start(&folder, "sealed.log", &["start", "-n", &name, "-c", "sealed.toml"]).await;
    until("it is sealed", async || node.log().contains("the node is sealed").then_some(())).await;
    assert_eq!(node.ready().await.1["status"], "sealed");
    let absent = cluster.client.sign(&request(&cluster, "absent")).await;
    assert!(absent.is_ok(), "the others sign: {:?}", absent.map_err(|error| error.code()));
    done(&folder, &["unseal", "-c", "sealed.toml", "-n", &name, "--key-file", "storage-key"]).await;
    cluster.nodes[2] = Some(node);
    cluster.until_complete().await;
    until("its wallet is confirmed", confirmed).await;
    signs(&cluster, &wallet, "last").await;
    cluster.stop().await;
}

fn request(cluster: &Cluster, id: &str) -> SignRequest {
    let request = SignRequest::builder(Scheme::Ed25519, WALLET.parse().unwrap(), id.parse().unwrap(), b"a message");
    request.sign_with(&cluster.files.initiator).unwrap()
}
