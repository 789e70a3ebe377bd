//! The built program, as its users run it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails should stop")]

mod cluster_files;
mod demo;
mod key_files;
mod start;
mod unusable;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program with these arguments, in an environment without any setting of ours.
fn quorate(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

/// The same in a folder, with file names that are relative to it.
fn quorate_in(folder: &Path, args: &[&str]) -> Output {
    program().current_dir(folder).args(args).output().unwrap()
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env_remove("RUST_LOG");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Ends with exit code 0; gives what it says.
fn done(folder: &Path, args: &[&str]) -> String {
    let output = quorate_in(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// Ends with exit code 2 before anything is started.
fn refused(args: &[&str], says: &str) {
    was_refused(&quorate(args), args, says);
}

fn refused_in(folder: &Path, args: &[&str], says: &str) {
    was_refused(&quorate_in(folder, args), args, says);
}

fn was_refused(output: &Output, args: &[&str], says: &str) {
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {err}");
    assert!(err.contains(says), "{args:?} does not say {says:?} but {err}");
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
}
