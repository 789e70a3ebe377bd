//! `quorate client destroy` and `certificate`.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::super::passphrase::typed;
use super::super::{Failed, tell};
use super::connection::InitiatorArgs;
use super::{ConnectionArgs, show};
use crate::client::{AuthorizerId, DestroyRequest};
use crate::config::read_passphrase_file;
use crate::identity::{PeerBook, RequestKey, RequestKeyFiles};
use crate::ids::{NodeName, WalletId};
use crate::keys::PublicKey;
use crate::wallet::{DestructionCertificate, MAX_DESTRUCTION_BYTES};
use crate::wire::native::{Destruction, Wallet};

/// Has a wallet destroyed. Nothing brings its keys back but backups of enough nodes from before, and nodes that are restored
/// from those erase it again. The nodes' configuration must allow it, and authorizers must approve.
#[derive(Args)]
pub(in crate::cli) struct DestroyArgs {
    /// The wallet.
    wallet: WalletId,
    /// The wallet's id once more: that it is meant.
    #[arg(long, value_name = "WALLET")]
    yes: WalletId,
    /// An authorizer that approves, by name: <name>.authorizer.identity.json and <name>.authorizer.key or .key.age. May be
    /// given several times.
    #[arg(long, value_name = "NAME")]
    authorizer: Vec<NodeName>,
    /// The directory with the authorizers' keys.
    #[arg(long, value_name = "DIR", default_value = ".")]
    authorizer_dir: PathBuf,
    /// A file with the passphrase of the authorizers' keys, where they are encrypted. Without it, each is asked for.
    #[arg(long, value_name = "FILE")]
    authorizer_password_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    initiator: InitiatorArgs,
}

/// Fetches the certificate of a wallet's destruction, or reads it from a file, and checks every signature of a node in it.
/// Fails if a member has not stated yet that it holds no share any more.
#[derive(Args)]
pub(in crate::cli) struct CertificateArgs {
    /// The wallet.
    wallet: WalletId,
    /// Reads the certificate from this file instead of asking the cluster.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Writes the certificate to this file, too.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    output: Option<PathBuf>,
    /// The list of nodes.
    #[arg(short, long, value_name = "FILE", default_value = "peers.json")]
    peers: PathBuf,
    /// The directory with the identity file of every node.
    #[arg(long, value_name = "DIR", default_value = "identity")]
    identity_dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl DestroyArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        if self.yes != self.wallet {
            return Err(Failed::Usage(anyhow!("--yes names another wallet than the one to be destroyed")));
        }
        let authorizers = self.authorizers()?;
        let initiator = self.initiator.load()?;
        let client = self.connection.connect().await?;
        let keys = public_keys(&client.wallet(self.wallet.clone()).await?)?;
        let mut request = DestroyRequest::builder(self.wallet, &keys);
        for (id, key) in &authorizers {
            request = request.approved_by(id.clone(), key);
        }
        let request = request.sign_with(&initiator).map_err(|error| Failed::Usage(error.into()))?;
        let destruction = client.destroy(&request).await?;
        show(self.json, &destruction, || describe(&destruction))?;
        whole(&destruction)
    }

    fn authorizers(&self) -> Result<Vec<(AuthorizerId, RequestKey)>, Failed> {
        let load = |name: &NodeName| {
            let id = AuthorizerId::try_from(name.to_string()).map_err(|error| Failed::Usage(error.into()))?;
            let is_encrypted = self.authorizer_dir.join(format!("{name}.authorizer.key.age")).exists();
            let passphrase = match &self.authorizer_password_file {
                Some(file) => Some(read_passphrase_file("--authorizer-password-file", file)?),
                None if is_encrypted => Some(typed(&format!("Passphrase of the key of authorizer {name}: "))?),
                None => None,
            };
            Ok((id, RequestKeyFiles::authorizer(&self.authorizer_dir, name).load(passphrase.as_ref())?))
        };
        self.authorizer.iter().map(load).collect()
    }
}

impl CertificateArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let peers = PeerBook::load(&self.peers, &self.identity_dir)?;
        let bytes = match &self.file {
            Some(file) => read(file)?,
            None => {
                let destruction = self.connection.connect().await?.certificate(self.wallet.clone()).await?;
                STANDARD.decode(&destruction.certificate).map_err(|error| Failed::Work(error.into()))?
            }
        };
        let certificate = DestructionCertificate::decode(&bytes, &peers).map_err(|error| Failed::Work(error.into()))?;
        if certificate.record().wallet != self.wallet {
            return Err(Failed::Work(anyhow!("the certificate is of another wallet, {}", certificate.record().wallet)));
        }
        if let Some(file) = &self.output {
            std::fs::write(file, &bytes)
                .with_context(|| format!("failed to write {}", file.display()))
                .map_err(Failed::Work)?;
        }
        let destruction = Destruction {
            wallet_id: self.wallet,
            complete: certificate.is_complete(),
            missing: certificate.missing().into_iter().collect(),
            certificate: STANDARD.encode(&bytes),
        };
        if self.json {
            show(true, &destruction, String::new)?;
        } else {
            tell(&(describe(&destruction) + &statements(&certificate)))?;
        }
        whole(&destruction)
    }
}

/// Reads a certificate, of which none is longer than its limit.
fn read(file: &PathBuf) -> Result<Vec<u8>, Failed> {
    let failed = || format!("failed to read {}", file.display());
    let length = std::fs::metadata(file).with_context(failed).map_err(Failed::Usage)?.len();
    if length > u64::try_from(MAX_DESTRUCTION_BYTES).unwrap_or(u64::MAX) {
        return Err(Failed::Usage(anyhow!("{} is longer than a certificate can be", file.display())));
    }
    std::fs::read(file).with_context(failed).map_err(Failed::Usage)
}

/// All keys of a wallet, as requests name them.
fn public_keys(wallet: &Wallet) -> Result<Vec<PublicKey>, Failed> {
    let key = |key: &crate::wire::native::Key| {
        let bytes = hex::decode(&key.public_key).map_err(|error| Failed::Work(error.into()))?;
        PublicKey::new(key.key_type, &bytes).map_err(|error| Failed::Work(error.into()))
    };
    let mut keys = wallet.keys.iter().map(key).collect::<Result<Vec<_>, Failed>>()?;
    keys.sort_by_key(PublicKey::scheme);
    Ok(keys)
}

fn describe(destruction: &Destruction) -> String {
    if destruction.complete {
        return format!(
            "wallet {} is destroyed: every member states that it holds no share of it any more\n",
            destruction.wallet_id
        );
    }
    let missing = destruction.missing.iter().map(|node| format!("  {node}\n"));
    format!(
        "wallet {} is destroyed, but not on these nodes yet:\n{}",
        destruction.wallet_id,
        missing.collect::<String>()
    )
}

fn statements(certificate: &DestructionCertificate) -> String {
    let request = format!("request     {}\n", hex::encode(certificate.request().content_hash()));
    let key = |key: &PublicKey| format!("{:<12}{}\n", key.scheme().as_str(), hex::encode(key.as_bytes()));
    let keys = certificate.request().public_keys().iter().map(key);
    let approved = certificate.request().authorization().approvals.iter();
    let approved =
        approved.map(|approval| format!("approved by {} (that signature is not checked here)\n", approval.authorizer));
    let statements = certificate.statements().map(|statement| {
        let erased = statement.erased.iter().map(|(scheme, generation)| format!(" {scheme} {}", generation.0));
        format!("  {}  at {} ms: erased{}\n", statement.node, statement.destroyed_ms, erased.collect::<String>())
    });
    request + &keys.chain(approved).chain(statements).collect::<String>()
}

/// A member still holds shares, as far as is known.
#[derive(Debug, thiserror::Error)]
#[error("not every member of wallet {0} has destroyed it yet; those that are away do so when they are back")]
struct NotEverywhere(WalletId);

fn whole(destruction: &Destruction) -> Result<(), Failed> {
    if destruction.complete { Ok(()) } else { Err(Failed::Work(NotEverywhere(destruction.wallet_id.clone()).into())) }
}
