//! `quorate client`: what a program that uses a cluster does, by hand.

mod checkup;
mod connection;
mod destroy;
mod keygen;
mod reshare;
mod sign;
mod status;
mod wallet;

use std::future::Future;

use clap::Subcommand;
use serde::Serialize;

use self::checkup::CheckupArgs;
pub(super) use self::connection::{ConnectionArgs, InitiatorArgs};
use self::destroy::{CertificateArgs, DestroyArgs};
use self::keygen::KeygenArgs;
use self::reshare::{RenewArgs, ReshareArgs};
use self::sign::SignArgs;
use self::status::StatusArgs;
use self::wallet::WalletArgs;
use super::{Failed, tell};
use crate::client::ClientError;

/// Uses a cluster.
#[derive(Subcommand)]
pub(super) enum ClientCommand {
    /// Has a wallet made, and prints its keys and addresses.
    Keygen(KeygenArgs),
    /// Has something signed, and prints the signature.
    Sign(SignArgs),
    /// Has a wallet's keys dealt to other nodes, under the same addresses.
    Reshare(ReshareArgs),
    /// Has a wallet's shares renewed: the old ones are of no use together with the new ones.
    Refresh(RenewArgs),
    /// Has a node that lost its disk get its shares of a wallet again, from the others.
    Repair(RenewArgs),
    /// Checks that the shares of all members of a wallet work: each takes part in a signature that is of no other use.
    Checkup(CheckupArgs),
    /// Has a wallet destroyed: all its shares are erased, on all nodes and for ever.
    Destroy(DestroyArgs),
    /// Checks and prints the certificate of a wallet's destruction.
    Certificate(CertificateArgs),
    /// Prints what a wallet is, or one of its child keys.
    Wallet(WalletArgs),
    /// Prints how the nodes are.
    Status(StatusArgs),
}

impl ClientCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Keygen(args) => run(args.run()),
            Self::Sign(args) => run(args.run()),
            Self::Reshare(args) => run(args.run()),
            Self::Refresh(args) | Self::Repair(args) => run(args.run()),
            Self::Checkup(args) => run(args.run()),
            Self::Destroy(args) => run(args.run()),
            Self::Certificate(args) => run(args.run()),
            Self::Wallet(args) => run(args.run()),
            Self::Status(args) => run(args.run()),
        }
    }
}

/// Runs a command to its end, or until it is interrupted.
pub(super) fn run(command: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failed::Work(error.into()))?;
    runtime.block_on(async {
        tokio::select! {
            done = command => done,
            _ = tokio::signal::ctrl_c() => Err(Failed::Interrupted),
        }
    })
}

/// An answer, for people or for programs.
fn show(json: bool, answer: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failed> {
    if json {
        let mut text = serde_json::to_string_pretty(answer).map_err(|error| Failed::Work(error.into()))?;
        text.push('\n');
        return tell(&text);
    }
    tell(&text())
}

/// Addresses, one per line.
fn addresses(addresses: &std::collections::BTreeMap<String, String>) -> String {
    addresses.iter().map(|(chain, address)| format!("  {chain:<10}{address}\n")).collect()
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Work(error.into())
    }
}
