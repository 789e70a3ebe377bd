//! Who gets at the memory of a node: what the system says of its process.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use quorate::identity::Algorithm;
use quorate::testing::NatsServer;
use rustix::process::geteuid;

use crate::cluster::{CHAIN_CODE, Files};
use crate::node::Node;
use crate::until;

/// A user without any rights, for who runs the tests as root.
const NOBODY: u32 = 65_534;
/// CAP_IPC_LOCK of capabilities(7).
const IPC_LOCK: u32 = 14;

/// Runs a program that may lock next to nothing.
const SMALL_LIMIT: &str = "ulimit -l 64 && exec \"$0\" \"$@\"";

/// A folder with all that a node needs, for a user who may not be the one that runs the tests.
struct Stage {
    files: Files,
    program: PathBuf,
    user: Option<u32>,
    node: String,
}

impl Stage {
    fn new(url: &str) -> Self {
        let files = Files::new(Algorithm::Ed25519);
        files.configure(url, "");
        let user = geteuid().is_root().then_some(NOBODY);
        // The other user need not have access to where it was built.
        let program = files.path().join("quorate");
        std::fs::copy(env!("CARGO_BIN_EXE_quorate"), &program).unwrap();
        let node = files.peers.nodes()[0].0.to_string();
        let stage = Self { files, program, user, node };
        if user.is_some() {
            hand_over(stage.files.path());
        }
        stage
    }

    /// Starts the node, as the other user or not, with these settings of its process.
    async fn start(&self, url: &str, user: Option<u32>, settings: &str) -> Node {
        self.files.configure(url, &format!("[process]\n{settings}"));
        let log = format!("{}.log", uuid::Uuid::new_v4());
        let program = self.program.to_str().unwrap();
        let mut command = vec![program, "start", "-n", &self.node, "-c", "quorate.toml"];
        if user.is_some() {
            command.splice(0..0, ["sh", "-c", SMALL_LIMIT]);
        }
        Node::start_as(user, self.files.path(), &log, &command).await
    }
}

/// Gives a folder and all in it to nobody.
fn hand_over(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| hand_over(&entry.unwrap().path()));
    }
}

/// What the system says of a process.
struct Process(u32);

impl Process {
    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap()
    }

    /// The soft and the hard limit of this name.
    fn limit(&self, name: &str) -> (String, String) {
        let limits = self.read("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }

    fn status(&self, name: &str) -> String {
        let status = self.read("status");
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    fn locks_memory(&self) -> bool {
        self.status("VmLck:") != "0 kB"
    }

    fn may_lock_memory(&self) -> bool {
        let capabilities = u64::from_str_radix(&self.status("CapEff:"), 16).unwrap();
        capabilities >> IPC_LOCK & 1 == 1 || self.limit("Max locked memory").1 == "unlimited"
    }

    /// Whether these bytes stand anywhere in what it has written.
    fn holds(&self, wanted: &[u8]) -> bool {
        let memory = File::open(format!("/proc/{}/mem", self.0)).unwrap();
        self.read("maps").lines().filter(|line| line.contains(" rw")).any(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            let read = memory.read_at(&mut bytes, start).unwrap_or_default();
            bytes[..read].windows(wanted.len()).any(|window| window == wanted)
        })
    }

    /// Root's, if nobody else may read it.
    fn owner_of_memory(&self) -> u32 {
        std::fs::metadata(format!("/proc/{}/mem", self.0)).unwrap().uid()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn start__should_keep_the_memory_of_its_process_to_itself() {
    let mut server = NatsServer::start().await.unwrap();
    server.kill();
    let (url, none) = (server.url(), ("0".to_owned(), "0".to_owned()));
    let stage = Stage::new(&url);
    let waits =
        async |node: &Node| until("it waits", async || node.log().contains("no NATS server yet").then_some(())).await;
    let user = stage.user.unwrap_or_else(|| geteuid().as_raw());

    let node = stage.start(&url, stage.user, "").await;
    waits(&node).await;
    let process = Process(node.id());
    assert_eq!(process.limit("Max core file size"), none);
    assert_eq!(process.owner_of_memory(), 0, "no other process of the same user reads it");
    assert!(!process.locks_memory() || stage.user.is_none());
    assert_eq!(process.locks_memory(), node.log().contains("memory is locked"), "{}", node.log());
    assert_eq!(process.locks_memory(), !node.log().contains("memory is not locked"), "{}", node.log());
    node.kill().await;

    let node = stage.start(&url, stage.user, "allow_dumps = true\nlock_memory = \"off\"\n").await;
    waits(&node).await;
    let process = Process(node.id());
    let (soft, hard) = process.limit("Max core file size");
    assert_eq!((soft, process.owner_of_memory()), (hard, user));
    assert!(!process.locks_memory());
    assert!(!node.log().contains("memory is"), "{}", node.log());
    node.kill().await;

    // Whoever runs the tests, who may be allowed more.
    let node = stage.start(&url, None, "").await;
    waits(&node).await;
    let process = Process(node.id());
    assert_eq!(process.limit("Max core file size"), none);
    assert_eq!(process.locks_memory(), process.may_lock_memory(), "{}", node.log());
    assert_eq!(process.locks_memory(), node.log().contains("memory is locked"), "{}", node.log());
    node.kill().await;

    if stage.user.is_some() {
        let mut node = stage.start(&url, stage.user, "lock_memory = \"required\"\n").await;
        assert_eq!(node.ended().await, 2, "{}", node.log());
        assert!(node.log().lines().last().unwrap().contains("process.lock_memory"), "{}", node.log());
    }
}

/// What nobody wipes and everybody frees: the text of a configuration, with the chain code in it.
#[tokio::test(flavor = "multi_thread")]
async fn start__should_wipe_what_it_frees() {
    let mut server = NatsServer::start().await.unwrap();
    server.kill();
    let stage = Stage::new(&server.url());
    let node = stage.start(&server.url(), None, "allow_dumps = true\n").await;
    until("it waits", async || node.log().contains("no NATS server yet").then_some(())).await;
    let process = Process(node.id());
    assert!(process.holds(&CHAIN_CODE), "the search finds what is in use");
    assert!(!process.holds(hex::encode(CHAIN_CODE).as_bytes()), "what was read of the file is wiped");
    node.kill().await;
}
