//! `quorate seal`, `unseal`, `release` and `status`: commands to the node that runs on this machine.

use anyhow::anyhow;
use clap::Args;

use super::config_check::ConfigArgs;
use super::store_secret::{StoreSecretArgs, to_send};
use super::{Failed, protection, tell};
use crate::admin::{AskError, Command, Done, NodeState, ask, socket_path};
use crate::config::Environment;
use crate::ids::WalletId;

/// Closes the store of the running node and wipes all that came out of it. What is being signed is cut off.
#[derive(Args)]
pub(super) struct SealArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Opens the store of a sealed node.
#[derive(Args)]
pub(super) struct UnsealArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    secret: StoreSecretArgs,
}

/// Lets restored wallets out of quarantine, where too few members are left whose own stores say that they are current: then
/// nobody but you can know that nothing newer exists.
#[derive(Args)]
pub(super) struct ReleaseArgs {
    /// The wallets.
    #[arg(value_name = "WALLET", required_unless_present = "all")]
    wallets: Vec<WalletId>,
    /// All that are in quarantine.
    #[arg(long, conflicts_with = "wallets")]
    all: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Says how the node on this machine is.
#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl SealArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        match command(&self.config, &Command::Seal {})? {
            Done::Sealed => tell("The node is sealed.\n"),
            _ => Err(Failed::Work(anyhow!("the node answered something else"))),
        }
    }
}

impl UnsealArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        protection::close()?;
        let secret = to_send(&self.secret.read_or_ask()?)?;
        match command(&self.config, &Command::Unseal { secret })? {
            Done::Unsealed => tell("The node is unsealed.\n"),
            _ => Err(Failed::Work(anyhow!("the node answered something else"))),
        }
    }
}

impl ReleaseArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        match command(&self.config, &Command::Release { wallets: self.wallets })? {
            Done::Released(count) => tell(&format!("{count} wallets are out of quarantine.\n")),
            _ => Err(Failed::Work(anyhow!("the node answered something else"))),
        }
    }
}

impl StatusArgs {
    pub(super) fn run(self) -> Result<(), Failed> {
        let Done::Status(status) = command(&self.config, &Command::Status {})? else {
            return Err(Failed::Work(anyhow!("the node answered something else")));
        };
        if self.json {
            let text = serde_json::to_string(&status).map_err(|error| Failed::Work(error.into()))?;
            return tell(&(text + "\n"));
        }
        tell(&describe(&status))
    }
}

fn describe(status: &NodeState) -> String {
    let NodeState { name, node_id, version, sealed, uptime_seconds, quarantined, backup } = status;
    let sealed = if *sealed { "sealed" } else { "unsealed" };
    let backup = match backup {
        None => "none".to_owned(),
        Some(backup) => {
            let age = backup.age_seconds.map_or("none yet".to_owned(), |age| format!("the newest is {age} s old"));
            let problem = backup.last_problem.as_ref().map(|problem| format!("; the last try failed: {problem}"));
            format!("{age}; {} made, {} failed{}", backup.made, backup.failed, problem.unwrap_or_default())
        }
    };
    format!(
        "{name} ({node_id}), quorate {version}\n  store         {sealed}\n  up            {uptime_seconds} s\n  \
         quarantine    {} wallets\n  backups       {backup}\n",
        quarantined.len()
    )
}

fn command(config: &ConfigArgs, command: &Command) -> Result<Done, Failed> {
    let config = config.load(&Environment::of_process())?;
    let socket = socket_path(&config.node.data_dir, &config.node.name);
    ask(&socket, command).map_err(|error| match error {
        AskError::NotRunning => {
            Failed::Work(anyhow!("node {} is not running: nobody listens at {}", config.node.name, socket.display()))
        }
        error => Failed::Work(error.into()),
    })
}
