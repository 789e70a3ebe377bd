//! The command line: what the `quorate` program is told, and the exit code with which it answers.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; for `demo`: every step was verified |
//! | 1 | the work itself failed; the last line on standard error says why |
//! | 2 | the command line, a file or the configuration cannot be used; nothing was started |
//! | 130 | interrupted; for `start`: told twice to stop, so that running work was cut off |
//!
//! Answers go to standard output; errors, warnings and questions to standard error or the terminal. Secrets come from
//! files, from the environment or from the terminal, never from arguments: those are for everybody to see.

mod backup;
mod bench;
mod client;
mod cluster;
mod completions;
mod config_check;
mod demo;
mod failed;
mod generate_authorizer;
mod generate_identity;
mod generate_initiator;
mod generate_peers;
mod key_args;
mod passphrase;
mod protection;
mod register_peers;
mod request_key;
mod sealing;
mod start;
mod stop;
mod storage;
mod store_secret;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use backup::{BackupCommand, RecoverArgs};
use bench::BenchCommand;
use client::ClientCommand;
use cluster::ClusterCommand;
use completions::CompletionsArgs;
use config_check::ConfigCommand;
use demo::DemoArgs;
use failed::Failed;
use generate_authorizer::GenerateAuthorizerArgs;
use generate_identity::GenerateIdentityArgs;
use generate_initiator::GenerateInitiatorArgs;
use generate_peers::GeneratePeersArgs;
use register_peers::RegisterPeersArgs;
use sealing::{ReleaseArgs, SealArgs, StatusArgs, UnsealArgs};
use start::StartArgs;
use storage::StorageCommand;

/// What help says below the options.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 the command line, a file or the configuration cannot be \
                          used, 130 interrupted.";

/// A threshold-signature wallet node: keys that never exist in one place.
#[derive(Parser)]
#[command(name = "quorate", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log to standard error. RUST_LOG chooses what, as for example RUST_LOG=quorate=debug, and also works alone.
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the version.
    Version,
    /// Runs a node until it is told to stop.
    Start(StartArgs),
    /// Runs a whole cluster in this process: makes a wallet, signs, loses a node and takes it back.
    Demo(DemoArgs),
    /// Looks at a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Writes the list of nodes of a new cluster.
    GeneratePeers(GeneratePeersArgs),
    /// Makes the key pair of a node.
    GenerateIdentity(GenerateIdentityArgs),
    /// Makes the key whose signature every request needs.
    GenerateInitiator(GenerateInitiatorArgs),
    /// Makes a key that approves requests.
    GenerateAuthorizer(GenerateAuthorizerArgs),
    /// Checks that the peer book is complete.
    RegisterPeers(RegisterPeersArgs),
    /// Says how the node on this machine is.
    Status(StatusArgs),
    /// Closes the store of the running node, and wipes all that came out of it.
    Seal(SealArgs),
    /// Opens the store of a sealed node.
    Unseal(UnsealArgs),
    /// Lets restored wallets out of quarantine that no other member can confirm.
    Release(ReleaseArgs),
    /// Makes, lists, checks and restores backups of a node.
    #[command(subcommand)]
    Backup(Box<BackupCommand>),
    /// Restores the newest backup: mpcium's command.
    Recover(Box<RecoverArgs>),
    /// Changes what unlocks the store of a node.
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Runs a whole cluster on this machine, as processes.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Uses a cluster: has wallets made and messages signed.
    #[command(subcommand)]
    Client(Box<ClientCommand>),
    /// Measures a running cluster.
    #[command(subcommand)]
    Bench(Box<BenchCommand>),
    /// Prints a completion script for a shell.
    Completions(CompletionsArgs),
}

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; clap knows where each goes. If nobody reads it, so be it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let logs = log_to_stderr(cli.verbose);
    let done = match cli.command {
        Command::Version => tell(concat!("quorate ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Start(args) => args.run(logs),
        Command::Demo(args) => args.run(logs),
        Command::Config(command) => command.run(),
        Command::GeneratePeers(args) => args.run(),
        Command::GenerateIdentity(args) => args.run(),
        Command::GenerateInitiator(args) => args.run(),
        Command::GenerateAuthorizer(args) => args.run(),
        Command::RegisterPeers(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Seal(args) => args.run(),
        Command::Unseal(args) => args.run(),
        Command::Release(args) => args.run(),
        Command::Backup(command) => command.run(),
        Command::Recover(args) => args.run(),
        Command::Storage(command) => command.run(),
        Command::Cluster(command) => command.run(),
        Command::Client(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Completions(args) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            // If standard error is closed, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "quorate: {failed}");
            failed.exit_code()
        }
    }
}

/// Answers on standard output.
fn tell(text: &str) -> Result<(), Failed> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failed::Work(error.into()))
}

/// Switches the log on if it was asked for, and says whether it was.
fn log_to_stderr(verbose: bool) -> bool {
    let filter = match EnvFilter::try_from_default_env() {
        Ok(filter) => filter,
        Err(_) if verbose => EnvFilter::new("quorate=debug"),
        Err(_) => return false,
    };
    // It fails where a subscriber is set already: then that one has the log.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    true
}
