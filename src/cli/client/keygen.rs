//! `quorate client keygen`.

use clap::Args;

use super::super::Failed;
use super::connection::InitiatorArgs;
use super::{ConnectionArgs, addresses, show};
use crate::client::KeygenRequest;
use crate::ids::{Scheme, WalletId};
use crate::wire::native::{Key, Wallet};

/// Has a wallet made: one key for each scheme.
#[derive(Args)]
pub(in crate::cli) struct KeygenArgs {
    /// The new wallet's name. A name is used once.
    wallet: WalletId,
    /// The schemes of its keys.
    #[arg(long, value_name = "SCHEMES", value_delimiter = ',', value_parser = scheme,
          default_value = "secp256k1,ed25519,taproot")]
    key_types: Vec<Scheme>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    initiator: InitiatorArgs,
}

impl KeygenArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let key = self.initiator.load()?;
        let request = KeygenRequest::builder(self.wallet).key_types(&self.key_types).sign_with(&key);
        let request = request.map_err(|error| Failed::Usage(error.into()))?;
        let wallet = self.connection.connect().await?.keygen(&request).await?;
        show(self.json, &wallet, || describe(&wallet))
    }
}

/// A wallet, as people read it.
pub(super) fn describe(wallet: &Wallet) -> String {
    let first = wallet.keys.first();
    let members = first.map_or(0, |key| key.committee.len());
    let signers = first.map_or(0, |key| key.threshold);
    let keys: String = wallet.keys.iter().map(describe_key).collect();
    format!("wallet {}, {signers} of {members} sign\n{keys}", wallet.wallet_id)
}

fn describe_key(key: &Key) -> String {
    format!("{:<12}{}\n{}", key.key_type.as_str(), key.public_key, addresses(&key.addresses))
}

/// Parses a scheme's name.
pub(super) fn scheme(text: &str) -> Result<Scheme, String> {
    text.parse().map_err(|_| "it is none of secp256k1, ed25519, taproot".to_owned())
}
