//! The command line: what the `quorate` program is told, and the exit code with which it answers.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; for `demo`: every step was verified |
//! | 1 | the work itself failed; the last line on standard error says why |
//! | 2 | the command line, a file or the configuration cannot be used; nothing was started |
//! | 130 | interrupted |

mod demo;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Environment, Flags};
use demo::DemoArgs;

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
    /// Runs a whole cluster in this process: makes a wallet, signs, loses a node and takes it back.
    Demo(DemoArgs),
    /// Looks at a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Checks the configuration of a node and prints what results, secrets masked.
    Check {
        /// The configuration file: TOML or YAML. Variables named QUORATE_SECTION__KEY override it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// How a command failed.
enum Failed {
    /// What it was given cannot be used.
    Usage(anyhow::Error),
    /// The work failed.
    Work(anyhow::Error),
    /// Somebody interrupted it.
    Interrupted,
}

impl Failed {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Work(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
        })
    }
}

/// The error and its causes in one line.
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) | Self::Work(error) => write!(f, "{error:#}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
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
        Command::Demo(args) => args.run(logs),
        Command::Config(ConfigCommand::Check { config }) => check_config(config.as_deref()),
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

fn load_config(file: Option<&Path>) -> Result<Config, Failed> {
    Config::load(file, &Environment::of_process(), &Flags::default()).map_err(|error| Failed::Usage(error.into()))
}

fn check_config(file: Option<&Path>) -> Result<(), Failed> {
    let config = load_config(file)?;
    write!(std::io::stdout(), "{config}").map_err(|error| Failed::Work(error.into()))
}
