//! A process of the program under test. It ends with its value, and with the test's process however that ends.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::{soon, until};

/// Runs a program, says its process id, and kills it when standard input is closed.
const LEASH: &str = r#"exec 3<&0
log=$1; shift
"$@" </dev/null >"$log" 2>&1 3<&- & pid=$!
(cat <&3 >/dev/null; kill -9 "$pid") >/dev/null 2>&1 & watcher=$!
echo "$pid"
wait "$pid"; code=$?
kill "$watcher"
exit "$code""#;

/// A process that was started.
pub(crate) struct Node {
    leash: Child,
    /// Closed, it ends the process.
    _held: ChildStdin,
    pid: Pid,
    log: PathBuf,
}

/// The program, in an environment without any setting of ours.
pub(crate) fn quorate(folder: &Path) -> std::process::Command {
    clean(std::process::Command::new(env!("CARGO_BIN_EXE_quorate")), folder)
}

fn clean(mut command: std::process::Command, folder: &Path) -> std::process::Command {
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env_remove("RUST_LOG").current_dir(folder);
    command
}

impl Node {
    /// Starts the program in `folder`; what it prints goes into the file `log` there.
    pub(crate) async fn start(folder: &Path, log: &str, args: &[&str]) -> Self {
        Self::start_by(folder, log, &[&[env!("CARGO_BIN_EXE_quorate")], args].concat()).await
    }

    /// Starts whatever the command says, which is to become the program.
    pub(crate) async fn start_by(folder: &Path, log: &str, program: &[&str]) -> Self {
        Self::start_as(None, folder, log, program).await
    }

    /// The same as another user: one to whom the folder belongs.
    pub(crate) async fn start_as(user: Option<u32>, folder: &Path, log: &str, program: &[&str]) -> Self {
        let log = folder.join(log);
        std::fs::write(&log, "").unwrap();
        let mut command = clean(std::process::Command::new("sh"), folder);
        command.args(["-c", LEASH, "sh"]).arg(&log).args(program);
        if let Some(user) = user {
            chown(&log, Some(user), None).unwrap();
            command.uid(user).gid(user);
        }
        // The shell would tell how the process ended, and so does its exit code.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut leash = Command::from(command).spawn().unwrap();
        let held = leash.stdin.take().unwrap();
        let mut said = BufReader::new(leash.stdout.take().unwrap()).lines();
        let pid = soon("a process starts", said.next_line()).await.unwrap().unwrap();
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        Self { leash, _held: held, pid, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for its end, and gives its exit code; 128 and the signal if one ended it.
    pub(crate) async fn ended(&mut self) -> i32 {
        soon("a process ends", self.leash.wait()).await.unwrap().code().unwrap()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.leash.try_wait().unwrap().is_some()
    }

    /// Kills it, and returns when it is gone.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended().await, 137);
    }

    /// Asks it to stop, and returns when it has stopped in good order.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, 0, "{}", self.log());
    }

    /// What it answers to a GET of this path: the status line, and the body.
    async fn get(&self, path: &str) -> (String, String) {
        const SAYS: &str = "health and metrics are served over HTTP address=";
        let address = until("it says where it serves", async || {
            self.log().split_once(SAYS).map(|(_, rest)| rest.lines().next().unwrap_or_default().trim().to_owned())
        });
        let mut stream = TcpStream::connect(address.await).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    /// Whether it says that it is ready, and why.
    pub(crate) async fn ready(&self) -> (bool, Value) {
        let (status, body) = self.get("/ready").await;
        let report: Value = serde_json::from_str(&body).unwrap();
        let expected = if report["ready"] == true { "HTTP/1.1 200 OK" } else { "HTTP/1.1 503 Service Unavailable" };
        assert_eq!(status, expected, "{report}");
        (report["ready"] == true, report)
    }

    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}
