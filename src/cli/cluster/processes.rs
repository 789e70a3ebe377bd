//! The processes of a cluster on this machine.

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::files::Layout;

/// How long the NATS server may take until it listens.
const NATS_LIMIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a process may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What runs. Processes that are dropped are killed.
pub(super) struct Processes {
    nats: Process,
    nodes: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
}

impl Processes {
    /// Starts the NATS server, and when it listens, the nodes.
    pub(super) async fn start(layout: &Layout, nats_server: &Path) -> anyhow::Result<Self> {
        let mut server = Command::new(nats_server);
        server.args(["--jetstream", "--addr", "127.0.0.1", "--port", &layout.port.to_string(), "--store_dir"]);
        server.arg(layout.dir.join("nats"));
        if TcpStream::connect(("127.0.0.1", layout.port)).await.is_ok() {
            return Err(anyhow!("something listens on port {} already: choose another --port", layout.port));
        }
        let mut nats = Process::spawn(layout, "nats-server", server).with_context(|| {
            format!("failed to start {}: name a NATS server with --nats-server", nats_server.display())
        })?;
        let pid = nats.child.id().map(|pid| pid.to_string()).unwrap_or_default();
        std::fs::write(layout.dir.join("nats-server.pid"), pid)?;
        tokio::select! {
            listening = tokio::time::timeout(NATS_LIMIT, until_listening(layout.port)) => {
                listening.context("the NATS server does not listen: see nats-server.log")?;
            }
            ended = nats.child.wait() => return Err(nats.ended(ended)),
        }
        let program = std::env::current_exe().context("failed to find this program")?;
        let mut nodes = Vec::new();
        for name in &layout.nodes {
            let mut node = Command::new(&program);
            node.arg("start").arg("--config").arg(layout.config(name));
            nodes.push(Process::spawn(layout, name.as_str(), node)?);
        }
        Ok(Self { nats, nodes })
    }

    /// Waits until one of them ends, which none should.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        let all = std::iter::once(&mut self.nats).chain(&mut self.nodes);
        let ends = all.map(|process| {
            Box::pin(async move {
                let ended = process.child.wait().await;
                process.ended(ended)
            })
        });
        futures_util::future::select_all(ends).await.0
    }

    /// Stops the nodes in good order, all at once, and then the NATS server.
    pub(super) async fn stop(&mut self) {
        for process in &self.nodes {
            process.terminate();
        }
        for process in &mut self.nodes {
            process.wait_or_kill().await;
        }
        self.nats.terminate();
        self.nats.wait_or_kill().await;
    }
}

impl Process {
    fn spawn(layout: &Layout, name: &str, mut command: Command) -> anyhow::Result<Self> {
        let path = layout.log(name);
        let log = File::create(&path).with_context(|| format!("failed to write {}", path.display()))?;
        let errors = log.try_clone()?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(true);
        // Ctrl-C is for the one process that stops the others.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    fn ended(&self, how: std::io::Result<ExitStatus>) -> anyhow::Error {
        match how {
            Ok(status) => anyhow!("{} ended ({status}): see {}.log", self.name, self.name),
            Err(error) => anyhow!("lost {}: {error}", self.name),
        }
    }

    fn terminate(&self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    async fn wait_or_kill(&mut self) {
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            // It is gone when this returns, or cannot be killed at all.
            let _ = self.child.kill().await;
        }
    }
}

async fn until_listening(port: u16) {
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
