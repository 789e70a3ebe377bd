//! Which configuration a command works with, and `quorate config check`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Failed, tell};
use crate::config::{Config, Environment, Flags};
use crate::ids::NodeName;

/// The configurations that are taken without being named: ours, and mpcium's.
const USUAL: [&str; 2] = ["quorate.toml", "config.yaml"];

/// Where the configuration of a node comes from.
#[derive(Args)]
pub(super) struct ConfigArgs {
    /// The configuration file: TOML or YAML, or mpcium's config.yaml as it is. Without it, quorate.toml or config.yaml of
    /// the working directory, if there is one. Variables named QUORATE_SECTION__KEY override it.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's name in the peer book, instead of the configuration's.
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    name: Option<NodeName>,
}

impl ConfigArgs {
    /// Whether a configuration was named, or is to be completed.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some() || self.name.is_some()
    }

    pub(super) fn load(&self, environment: &Environment) -> Result<Config, Failed> {
        self.load_with(environment, Flags::default())
    }

    /// With what other flags say about keys of the configuration.
    pub(super) fn load_with(&self, environment: &Environment, flags: Flags) -> Result<Config, Failed> {
        let flags = match &self.name {
            None => flags,
            Some(name) => flags.with("node.name", name.as_str()),
        };
        let usual = || USUAL.map(Path::new).into_iter().find(|path| path.is_file());
        Ok(Config::load(self.config.as_deref().or_else(usual), environment, &flags)?)
    }
}

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks the configuration of a node and prints what results, secrets masked. Warnings go to standard error.
    Check(ConfigArgs),
}

impl ConfigCommand {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let Self::Check(args) = self;
        let config = args.load(&Environment::of_process())?;
        for warning in &config.warnings {
            writeln!(std::io::stderr(), "warning: {warning}").map_err(|error| Failed::Work(error.into()))?;
        }
        tell(&config.to_string())
    }
}
