//! `quorate client checkup`.

use clap::Args;

use super::super::Failed;
use super::{ConnectionArgs, show};
use crate::ids::WalletId;
use crate::wire::native::CheckedKey;

/// Checks that the shares of all members of a wallet work. Fails if one does not.
#[derive(Args)]
pub(in crate::cli) struct CheckupArgs {
    /// The wallet.
    wallet: WalletId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl CheckupArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let checkup = self.connection.connect().await?.checkup(self.wallet).await?;
        show(self.json, &checkup, || checkup.keys.iter().map(describe).collect())?;
        if checkup.good { Ok(()) } else { Err(Failed::Work(NotGood(checkup.wallet_id).into())) }
    }
}

/// A member's share did not sign.
#[derive(Debug, thiserror::Error)]
#[error("not every share of wallet {0} works: a repair gives a member its share again")]
struct NotGood(WalletId);

fn describe(key: &CheckedKey) -> String {
    let members = key.members.iter().map(|member| {
        let state = member.problem.map_or_else(|| "works".to_owned(), |code| format!("FAILED: {code}"));
        format!("  {}  {state}\n", member.node_id)
    });
    format!("{} (generation {})\n{}", key.key_type, key.generation, members.collect::<String>())
}
