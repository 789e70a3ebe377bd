//! `quorate client sign`.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::super::Failed;
use super::connection::InitiatorArgs;
use super::keygen::scheme;
use super::{ConnectionArgs, show};
use crate::client::SignRequest;
use crate::ids::{RequestId, Scheme, WalletId};
use crate::keys::DerivationPath;
use crate::wire::native::Signed;
use crate::wire::request::Coverage;
use crate::wire::sheet::MAX_MESSAGE_BYTES;

/// Has a message or a digest signed, and waits for the signature.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub(in crate::cli) struct SignArgs {
    /// The wallet.
    wallet: WalletId,
    /// The scheme of the key that signs.
    #[arg(long, value_name = "SCHEME", value_parser = scheme)]
    key_type: Scheme,
    /// The name of this request. The same name and content lead to the same signature again.
    #[arg(long, value_name = "ID")]
    tx_id: RequestId,
    /// What to sign, in hex: secp256k1 takes a digest of up to 32 bytes, the others any message.
    #[arg(long, value_name = "HEX", group = "what")]
    hex: Option<String>,
    /// What to sign, as text.
    #[arg(long, value_name = "TEXT", group = "what")]
    text: Option<String>,
    /// A file with what to sign, as it is.
    #[arg(long, value_name = "FILE", group = "what")]
    file: Option<PathBuf>,
    /// The child key that signs: m/0/1, without hardened steps.
    #[arg(long, value_name = "PATH", value_parser = path, default_value = "m")]
    path: DerivationPath,
    /// The client's name of the chain, returned with the result.
    #[arg(long, value_name = "CODE", default_value = "")]
    network: String,
    /// Sign mpcium's form of the request, which leaves the path open. Clusters take it only where they allow it.
    #[arg(long)]
    legacy: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    initiator: InitiatorArgs,
}

impl SignArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let message = self.message().map_err(Failed::Usage)?;
        let key = self.initiator.load()?;
        let coverage = if self.legacy { Coverage::Legacy } else { Coverage::Complete };
        let builder = SignRequest::builder(self.key_type, self.wallet, self.tx_id, &message);
        let builder = builder.network_code(&self.network).coverage(coverage);
        let builder = if self.path.indices().is_empty() { builder } else { builder.path(self.path) };
        let request = builder.sign_with(&key).map_err(|error| Failed::Usage(error.into()))?;
        let signed = self.connection.connect().await?.sign(&request).await?;
        show(self.json, &signed, || describe(&signed))
    }

    fn message(&self) -> anyhow::Result<Vec<u8>> {
        let message = match (&self.hex, &self.text, &self.file) {
            (Some(text), _, _) => hex::decode(text.strip_prefix("0x").unwrap_or(text)).context("--hex is no hex")?,
            (_, Some(text), _) => text.clone().into_bytes(),
            (_, _, Some(file)) => std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?,
            (None, None, None) => return Err(anyhow!("there is nothing to sign")),
        };
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(anyhow!("what is to be signed is longer than {MAX_MESSAGE_BYTES} bytes"));
        }
        Ok(message)
    }
}

fn describe(signed: &Signed) -> String {
    let recovery = signed.recovery.map(|recovery| format!("recovery    {recovery}\n")).unwrap_or_default();
    let session = match &signed.session {
        Some(session) => format!("session     {session}\n"),
        None => "session     none: this request was answered before, and the signature is the same\n".to_owned(),
    };
    format!("signature   {}\n{recovery}public key  {}\n{session}", signed.signature, signed.public_key)
}

/// Parses `m/0/1`; `m` alone is the wallet's own key.
pub(super) fn path(text: &str) -> Result<DerivationPath, String> {
    let steps = text.strip_prefix('m').unwrap_or(text);
    let steps = steps.strip_prefix('/').unwrap_or(steps);
    let indices = steps
        .split('/')
        .filter(|_| !steps.is_empty())
        .map(|step| step.parse::<u32>().map_err(|_| "write it as m/0/1, with numbers below 2147483648".to_owned()));
    DerivationPath::try_from(indices.collect::<Result<Vec<_>, _>>()?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path__should_parse_what_wallets_write() {
        for (text, expected) in [("m", &[][..]), ("m/0/1", &[0, 1]), ("7", &[7]), ("m/2147483647", &[2_147_483_647])] {
            assert_eq!(path(text).unwrap().indices(), expected, "{text}");
        }
        for text in ["m/0'", "m/2147483648", "m//1", "x", "m/-1"] {
            path(text).unwrap_err();
        }
    }
}
