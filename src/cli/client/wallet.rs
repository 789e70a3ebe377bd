//! `quorate client wallet`.

use clap::Args;

use super::super::Failed;
use super::keygen::{describe, scheme};
use super::sign::path;
use super::{ConnectionArgs, addresses, show};
use crate::ids::{Scheme, WalletId};
use crate::keys::DerivationPath;

/// Prints the keys and addresses of a wallet, or of one of its child keys.
#[derive(Args)]
pub(in crate::cli) struct WalletArgs {
    /// The wallet.
    wallet: WalletId,
    /// The scheme of the child key.
    #[arg(long, value_name = "SCHEME", value_parser = scheme, requires = "path")]
    key_type: Option<Scheme>,
    /// The child key: m/0/1, without hardened steps.
    #[arg(long, value_name = "PATH", value_parser = path, requires = "key_type")]
    path: Option<DerivationPath>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl WalletArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let client = self.connection.connect().await?;
        let (Some(key_type), Some(path)) = (self.key_type, self.path) else {
            let wallet = client.wallet(self.wallet).await?;
            return show(self.json, &wallet, || describe(&wallet));
        };
        let key = client.derive(self.wallet, key_type, &path).await?;
        show(self.json, &key, || {
            let steps: String = key.derivation_path.iter().map(|index| format!("/{index}")).collect();
            format!("{:<12}{}  m{steps}\n{}", key.key_type.as_str(), key.public_key, addresses(&key.addresses))
        })
    }
}
