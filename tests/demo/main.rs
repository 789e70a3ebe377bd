//! The built program's demonstration, checked with libraries that the program does not use for it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails should stop")]

mod report;
mod text;
mod unusable;

use std::process::{Command, Output};

/// Runs the program with these arguments, in an environment without any setting of ours.
fn quorate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env_remove("RUST_LOG").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
