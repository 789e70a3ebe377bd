//! `quorate start`: a node, from its configuration to its end.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::config_check::ConfigArgs;
use super::passphrase::typed;
use super::stop::Stop;
use super::{Failed, protection};
use crate::config::{Config, Environment, Flags, LogConfig, LogFormat, StorageKeySource, read_passphrase_file};
use crate::node::NodeHandle;
use crate::runtime;
use crate::service::{LaunchError, Typed, launch};
use crate::supervision::STUCK_AFTER;

/// How long threads may take to end when the node has.
const LEAVE: Duration = Duration::from_secs(1);

/// Runs a node until SIGINT or SIGTERM. The first lets running work end, within shutdown.drain_ms; a second one stops the
/// node at once.
#[derive(Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask for the passphrase of the node's private key.
    #[arg(long)]
    decrypt_private_key: bool,
    /// A file with that passphrase.
    #[arg(long, value_name = "FILE", conflicts_with = "decrypt_private_key")]
    identity_password_file: Option<PathBuf>,
    /// Ask for the passphrase of the store.
    #[arg(long)]
    prompt_credentials: bool,
    /// A file with that passphrase.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_credentials")]
    password_file: Option<PathBuf>,
    /// The list of nodes, instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Log everything.
    #[arg(long)]
    debug: bool,
}

impl StartArgs {
    /// `logs` says that the log goes to standard error already.
    pub(super) fn run(self, logs: bool) -> Result<(), Failed> {
        protection::close()?;
        let environment = Environment::of_process();
        let config = self.config.load_with(&environment, self.flags())?;
        if !logs {
            start_log(config.log);
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        protection::settle(config.process)?;
        let secrets = self.secrets(&config)?;
        let runtime = runtime::build().map_err(|error| Failed::Work(error.into()))?;
        runtime::watch(runtime.handle().clone(), STUCK_AFTER * 2, hung).map_err(|error| Failed::Work(error.into()))?;
        let done = runtime.block_on(serve(&config, &environment, secrets));
        // A thread that hangs, as on a disk that does not answer, must not keep the process from ending.
        runtime.shutdown_timeout(LEAVE);
        done
    }

    /// What the command line says about keys of the configuration.
    fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        if let Some(peers) = &self.peers {
            flags = flags.with("node.peers_file", &*peers.to_string_lossy());
        }
        if self.prompt_credentials || self.password_file.is_some() {
            flags = flags.with("storage.prompt", true);
        }
        if self.debug {
            flags = flags.with("log.level", "debug");
        }
        flags
    }

    fn secrets(&self, config: &Config) -> Result<Typed, Failed> {
        let identity = match &self.identity_password_file {
            Some(file) => Some(read_passphrase_file("--identity-password-file", file)?),
            None if self.decrypt_private_key => Some(typed("Passphrase of the node's private key: ")?),
            None => None,
        };
        let storage = match &self.password_file {
            Some(file) => Some(read_passphrase_file("--password-file", file)?),
            None if config.storage_key == StorageKeySource::Prompt => Some(typed("Passphrase of the store: ")?),
            None => None,
        };
        Ok(Typed { identity, storage })
    }
}

/// The log of a node goes to standard output, as containers expect it.
fn start_log(LogConfig { level, format }: LogConfig) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let filter = match level {
        // The libraries below say much that no operator of a node asks for.
        LevelFilter::DEBUG | LevelFilter::TRACE => EnvFilter::new(format!("info,quorate={level}")),
        _ => filter,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stdout().is_terminal());
    // It fails where a subscriber is set already: then that one has the log.
    let _ = match format {
        LogFormat::Pretty => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// No thread is left that could run an actor, and none to end the node in good order.
fn hung() {
    tracing::error!("no actor has run for {} s: the process ends", STUCK_AFTER.as_secs() * 2);
    std::process::exit(1);
}

async fn serve(config: &Config, environment: &Environment, secrets: Typed) -> Result<(), Failed> {
    let mut stop = Stop::listen()?;
    let node = tokio::select! {
        node = launch(config, environment, secrets) => node?,
        () = stop.asked() => return Err(Failed::Interrupted),
    };
    tracing::info!(node = %node.id(), name = %config.node.name, cluster = %config.cluster.id, "node started");
    if let Some(address) = node.health_address() {
        tracing::info!(%address, "health and metrics are served over HTTP");
    }
    run(node, stop).await
}

/// Until it is told to stop, or fails.
async fn run(mut node: NodeHandle, mut stop: Stop) -> Result<(), Failed> {
    tokio::select! {
        () = stop.asked() => {}
        () = node.ended() => return Err(Failed::Work(anyhow!("the node failed; its log says more"))),
    }
    tracing::info!("stopping: running work may end; a second signal stops at once");
    tokio::select! {
        () = node.shutdown() => {
            tracing::info!("stopped");
            Ok(())
        }
        () = stop.asked() => Err(Failed::Interrupted),
    }
}

impl From<LaunchError> for Failed {
    fn from(error: LaunchError) -> Self {
        if error.is_setup() { Self::Usage(error.into()) } else { Self::Work(error.into()) }
    }
}
