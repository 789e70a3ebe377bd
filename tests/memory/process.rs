//! The process that is looked into.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use quorate::testing::witness::{Kind, MASK};
use tempfile::NamedTempFile;

/// What begins a line that is meant for this process.
pub const MARK: &str = "@memory ";
/// What the other process is to leak on purpose, by its number in [`Kind::ALL`].
pub const LEAK: &str = "QUORATE_TEST_LEAK";
/// Which phases it is to go through.
pub const SCRIPT: &str = "QUORATE_TEST_SCRIPT";

/// All secrets that were seen, and what they are for.
pub type Secrets = BTreeMap<Vec<u8>, Kind>;

/// The process. It ends with its value.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What it says besides: its panics, those that are meant included.
    errors: NamedTempFile,
    pub secrets: Secrets,
}

impl Process {
    pub fn start(script: &str, leak: Option<Kind>) -> Self {
        let leak = leak.and_then(|leak| Kind::ALL.iter().position(|kind| *kind == leak));
        let errors = NamedTempFile::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child::process", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(SCRIPT, script)
            .env(LEAK, leak.map_or(String::new(), |leak| leak.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout, errors, secrets: Secrets::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has gone through a phase.
    pub fn until(&mut self, phase: &str) {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it ended before {phase}");
            // The test runner's own line may stand before it.
            let Some((_, said)) = line.trim_end().split_once(MARK) else { continue };
            match said.split(' ').collect::<Vec<_>>()[..] {
                ["secret", kind, masked] => {
                    let kind = Kind::ALL[kind.parse::<usize>().unwrap()];
                    let mut secret: Vec<u8> = hex::decode(masked).unwrap().iter().map(|byte| byte ^ MASK).collect();
                    secret.truncate(32);
                    // Some hold it in one order of bytes, some in the other.
                    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
                    self.secrets.entry(secret.min(reversed)).or_insert(kind);
                }
                ["phase", reached] => {
                    assert_eq!(reached, phase);
                    return;
                }
                _ => panic!("{line}"),
            }
        }
    }

    /// Lets it go on to its next phase.
    pub fn go_on(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.errors.path()).unwrap_or_default());
        }
    }
}
