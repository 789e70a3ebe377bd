//! A real NATS server, to be killed and restarted.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Runs a server for as long as standard input is open. Whatever ends the test's process closes it.
const LEASH: &str = r#""$@" & server=$!; cat >/dev/null; kill -9 "$server"; wait "$server" 2>/dev/null"#;

/// A server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is none on this machine, and none could be installed.
    #[error("no nats-server: {0}")]
    Missing(String),
    /// It does not start.
    #[error("nats-server does not start; its log:\n{0}")]
    Stuck(String),
    /// Its folder or process failed.
    #[error("failed to run nats-server: {0}")]
    Io(#[from] std::io::Error),
}

/// A server process with a store of its own, at a port of the loopback interface. It ends with this value, and with the
/// test's process however that ends.
pub struct NatsServer {
    folder: TempDir,
    config: String,
    port: u16,
    monitoring: Option<u16>,
    process: Option<Child>,
}

/// What the server listens at, as it writes it down.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
    #[serde(default)]
    monitoring: Vec<String>,
}

impl NatsServer {
    /// Starts a server that lets everybody do everything.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn start() -> Result<Self, ServerError> {
        Self::start_with("").await
    }

    /// Starts a server with `config` beside what it needs anyway: users, permissions, TLS, in the syntax of its
    /// configuration file.
    ///
    /// # Errors
    /// When there is none, or it does not start, which it does not on a configuration that it does not understand.
    pub async fn start_with(config: &str) -> Result<Self, ServerError> {
        let mut server =
            Self { folder: TempDir::new()?, config: config.to_owned(), port: 0, monitoring: None, process: None };
        server.launch().await?;
        Ok(server)
    }

    /// Where it listens: `127.0.0.1:port`, also after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it tells of itself over HTTP, as `127.0.0.1:port`: only if its configuration has it do so, with
    /// `http: "127.0.0.1:-1"`.
    #[must_use]
    pub fn monitoring(&self) -> Option<String> {
        self.monitoring.map(|port| format!("127.0.0.1:{port}"))
    }

    /// Kills it (SIGKILL), and returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            // One that is gone already needs no waiting for.
            let _ = process.wait();
        }
    }

    /// Starts it again at the same port, on its data, or without.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, keep_data: bool) -> Result<(), ServerError> {
        self.kill();
        if !keep_data {
            std::fs::remove_dir_all(self.folder.path().join("store"))?;
        }
        self.launch().await
    }

    /// Changes the configuration from the next restart on.
    pub fn reconfigure(&mut self, config: &str) {
        config.clone_into(&mut self.config);
    }

    /// The server's executable: what `NATS_SERVER` names, otherwise what the package's script finds or installs.
    ///
    /// # Errors
    /// When there is none.
    pub fn executable() -> Result<PathBuf, ServerError> {
        static FOUND: OnceLock<PathBuf> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let path = match std::env::var_os("NATS_SERVER").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.cargo/nats-server");
                let output = Command::new("sh").arg(script).output()?;
                if !output.status.success() {
                    return Err(ServerError::Missing(String::from_utf8_lossy(&output.stderr).into_owned()));
                }
                PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
            }
        };
        Ok(FOUND.get_or_init(|| path).clone())
    }

    async fn launch(&mut self) -> Result<(), ServerError> {
        let folder = self.folder.path();
        let (config, log, ports) = (folder.join("server.conf"), folder.join("log"), folder.join("ports"));
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let store = folder.join("store");
        std::fs::write(
            &config,
            format!(
                "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\nports_file_dir: {ports:?}\n{}\n",
                self.config
            ),
        )?;
        // What a killed server left behind.
        let _ = std::fs::remove_dir_all(&ports);
        std::fs::create_dir(&ports)?;
        let mut process = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .arg(Self::executable()?)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(&log)?)
            .stderr(std::fs::File::options().append(true).open(&log)?)
            .spawn()?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some((port, monitoring)) = ports_in(&ports).filter(|&(port, _)| answers(port)) {
                (self.port, self.monitoring) = (port, monitoring);
                self.process = Some(process);
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        drop(process.stdin.take());
        // Whether it was there at all does not matter any more.
        let _ = process.wait();
        Err(ServerError::Stuck(std::fs::read_to_string(&log)?))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The ports that the server wrote into its file, once it has: for its clients, and for those who look at it.
fn ports_in(folder: &std::path::Path) -> Option<(u16, Option<u16>)> {
    let file = std::fs::read_dir(folder).ok()?.next()?.ok()?.path();
    let ports: Ports = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let port = |addresses: &[String]| addresses.first()?.rsplit_once(':')?.1.parse().ok();
    Some((port(&ports.nats)?, port(&ports.monitoring)))
}

/// Whether a server at this port greets who connects.
fn answers(port: u16) -> bool {
    let greeting = TcpStream::connect(("127.0.0.1", port)).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    });
    greeting.is_ok_and(|line| line.starts_with("INFO "))
}
