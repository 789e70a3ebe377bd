//! How a client reaches its cluster, and whose requests it sends.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::Failed;
use super::super::passphrase::typed;
use crate::client::{Client, ConnectError, Credentials, Options, Tls};
use crate::config::read_passphrase_file;
use crate::identity::{RequestKey, RequestKeyFiles};
use crate::ids::{ClusterId, NodeName};
use crate::nats::{self, Connection};

/// How to reach the cluster.
#[derive(Args)]
pub(in crate::cli) struct ConnectionArgs {
    /// The NATS server, or several of one cluster.
    #[arg(
        long,
        value_name = "URL",
        env = "QUORATE_CLIENT_NATS",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    nats: Vec<String>,
    /// The cluster's name (cluster.id in the nodes' configuration).
    #[arg(long, value_name = "NAME", env = "QUORATE_CLIENT_CLUSTER", default_value = "quorate")]
    cluster: ClusterId,
    /// The user for NATS.
    #[arg(long, value_name = "USER", env = "QUORATE_CLIENT_NATS_USER", requires = "nats_password_file")]
    nats_user: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", env = "QUORATE_CLIENT_NATS_PASSWORD_FILE", requires = "nats_user")]
    nats_password_file: Option<PathBuf>,
    /// A credentials file for NATS.
    #[arg(long, value_name = "FILE", env = "QUORATE_CLIENT_NATS_CREDENTIALS", conflicts_with = "nats_user")]
    nats_credentials: Option<PathBuf>,
    /// The certificate authority of the NATS server (PEM); with it, TLS is required.
    #[arg(long, value_name = "FILE", env = "QUORATE_CLIENT_NATS_CA")]
    nats_ca: Option<PathBuf>,
    /// A client certificate for NATS (PEM).
    #[arg(long, value_name = "FILE", env = "QUORATE_CLIENT_NATS_CERT", requires = "nats_key")]
    nats_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", env = "QUORATE_CLIENT_NATS_KEY", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

impl ConnectionArgs {
    pub(in crate::cli) async fn connect(&self) -> Result<Client, Failed> {
        Client::connect(&self.options()?, self.cluster.clone()).await.map_err(unconnected)
    }

    /// The broker alone, and whose it is.
    pub(in crate::cli) async fn connect_broker(&self) -> Result<(Connection, &ClusterId), Failed> {
        Ok((nats::connect(&self.options()?).await.map_err(unconnected)?, &self.cluster))
    }

    fn options(&self) -> Result<Options, Failed> {
        let mut options = Options::new(self.nats.clone(), "quorate client");
        if let (Some(user), Some(file)) = (&self.nats_user, &self.nats_password_file) {
            let password = read_passphrase_file("--nats-password-file", file)?;
            options.credentials = Credentials::UserPassword { user: user.clone(), password };
        } else if let Some(file) = &self.nats_credentials {
            options.credentials = Credentials::File(file.clone());
        }
        let client = self.nats_cert.clone().zip(self.nats_key.clone());
        if self.nats_ca.is_some() || client.is_some() {
            options.tls = Some(Tls { ca: self.nats_ca.clone(), client, required: true });
        }
        Ok(options)
    }
}

fn unconnected(error: ConnectError) -> Failed {
    match error {
        ConnectError::Unreachable(_) => Failed::Work(error.into()),
        unusable => Failed::Usage(unusable.into()),
    }
}

/// Whose requests are sent.
#[derive(Args)]
pub(in crate::cli) struct InitiatorArgs {
    /// The directory with the initiator's key.
    #[arg(long, value_name = "DIR", env = "QUORATE_CLIENT_INITIATOR_DIR", default_value = ".")]
    initiator_dir: PathBuf,
    /// The initiator's name: <name>.identity.json, and <name>.key or <name>.key.age.
    #[arg(long, value_name = "NAME", env = "QUORATE_CLIENT_INITIATOR", default_value = RequestKeyFiles::DEFAULT_INITIATOR)]
    initiator: NodeName,
    /// A file with the passphrase of an encrypted key. Without it, the passphrase is asked for.
    #[arg(long, value_name = "FILE", env = "QUORATE_CLIENT_INITIATOR_PASSWORD_FILE")]
    initiator_password_file: Option<PathBuf>,
}

impl InitiatorArgs {
    pub(in crate::cli) fn load(&self) -> Result<RequestKey, Failed> {
        let files = RequestKeyFiles::initiator(&self.initiator_dir, &self.initiator);
        let passphrase = match &self.initiator_password_file {
            Some(file) => Some(read_passphrase_file("--initiator-password-file", file)?),
            None if is_encrypted(&self.initiator_dir, &self.initiator) => {
                Some(typed("Passphrase of the initiator's key: ")?)
            }
            None => None,
        };
        Ok(files.load(passphrase.as_ref())?)
    }
}

fn is_encrypted(directory: &Path, name: &NodeName) -> bool {
    directory.join(format!("{name}.key.age")).exists()
}
