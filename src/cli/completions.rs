//! `quorate completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failed, tell};

/// Prints a completion script, to be put where the shell looks for such.
#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// Whose script.
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "quorate", &mut script);
        tell(&String::from_utf8_lossy(&script))
    }
}
