//! A node as a process: its files read, its broker connected, its actors running.
//!
//! ```text
//!  Config ──▶ identity · peer book · policy · storage key ──▶ NATS (links and leases) ──┐
//!                                                        └──▶ NATS (clients) ───────────┴─▶ NodeHandle
//! ```
//!
//! Whatever an operator can get wrong is found before anything is started, and is a [`LaunchError::Setup`].

use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::{AdminEndpoint, AdminError, socket_path};
use crate::backup::{BackupError, BackupSettings, Seal};
use crate::clock::Clock;
use crate::config::{
    BackupSeal, ClientCertificate, Config, ConfigError, Environment, HealthConfig, NatsAuth, StorageKeySource,
    StorageSecret, read_passphrase_file,
};
use crate::gateway::GatewaySettings;
use crate::health::{BindError, Endpoint};
use crate::identity::{IdentityError, NodeIdentity, PeerBook};
use crate::ids::NodeId;
use crate::nats::{self, Credentials, Options, Tls};
use crate::node::{Backups, Gateway, NodeArgs, NodeHandle, Settings, StartError};
use crate::registry::{KvDiscovery, KvOptions};
use crate::secret::SecretBytes;
use crate::session::CryptoPool;
use crate::storage::{Argon2Params, KeySource, Owner, StorageArguments, StorageError, StoreOptions};
use crate::transport::Forgery;
use crate::transport::nats::NatsBroker;

/// A node was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A file, a secret or a setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An identity or the peer book cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Nobody could ask for the node's health.
    #[error("health.address: {0}")]
    Health(#[from] BindError),
    /// Its operator could not reach it.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// What was given does not fit together.
    #[error("{0}")]
    Setup(String),
    /// The broker cannot be used.
    #[error(transparent)]
    Nats(#[from] nats::ConnectError),
    /// The store does not open.
    #[error("{error} (in {})", folder.display())]
    Store {
        /// The store's folder.
        folder: PathBuf,
        /// The reason.
        error: StorageError,
    },
    /// Something failed to start.
    #[error("{0}")]
    Failed(String),
}

impl LaunchError {
    /// Whether an operator has to change something first. Otherwise another try may do.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        match self {
            Self::Config(_) | Self::Identity(_) | Self::Health(_) | Self::Setup(_) => true,
            Self::Nats(error) => !error.is_transient(),
            Self::Admin(error) => !matches!(error, AdminError::InUse { .. }),
            Self::Store { error, .. } => matches!(
                error,
                StorageError::WrongKey
                    | StorageError::WrongKeyKind { .. }
                    | StorageError::InvalidKey { .. }
                    | StorageError::NewerFormat { .. }
                    | StorageError::OtherNode { .. }
                    | StorageError::OtherCluster { .. }
                    | StorageError::FolderUnusable { .. }
            ),
            Self::Failed(_) => false,
        }
    }
}

/// Passphrases that somebody typed; each goes before what the configuration says.
#[derive(Default)]
pub struct Typed {
    /// Of the node's private key.
    pub identity: Option<SecretBytes>,
    /// Of the store.
    pub storage: Option<SecretBytes>,
}

/// Reads what the configuration names, connects, and starts the node. Waits for a broker that is not there yet.
///
/// # Errors
/// See [`LaunchError`].
pub async fn launch(config: &Config, environment: &Environment, typed: Typed) -> Result<NodeHandle, LaunchError> {
    let setup = |problem: &dyn std::fmt::Display| LaunchError::Setup(problem.to_string());
    let passphrase = match (typed.identity, &config.node.identity_passphrase_file) {
        (Some(passphrase), _) => Some(passphrase),
        (None, Some(file)) => Some(read_passphrase_file("node.identity_passphrase_file", file)?),
        (None, None) => None,
    };
    let identity = NodeIdentity::load(&config.node.identity_dir, &config.node.name, passphrase.as_ref())?;
    let identity = Arc::new(identity);
    let peers = PeerBook::load(&config.node.peers_file, &config.node.identity_dir)?;
    peers.confirm(&identity)?;
    let threshold = config.cluster.threshold(peers.members().len()).map_err(|error| setup(&error))?;
    config.policy.check_threshold(threshold).map_err(|error| setup(&error))?;
    let options = store_options(config, identity.id());
    let store = options.folder.clone();
    let backup = backups(config, environment, &identity)?;
    let storage = match (typed.storage, &config.storage_key) {
        (None, StorageKeySource::Sealed) => StorageArguments::sealed(options),
        (typed, _) => StorageArguments::new(options, storage_key(config, environment, typed)?),
    };
    let health = match config.health {
        HealthConfig { enabled: true, address } => Some(Endpoint::bind(address).await?),
        HealthConfig { enabled: false, .. } => None,
    };
    let name = format!("quorate {}", config.node.name);
    let links = nats::connect(&nats_options(config, environment, name.clone())?).await?;
    let clients = nats::connect(&nats_options(config, environment, format!("{name} clients"))?).await?;
    let broker = NatsBroker::new(links.clone()).await.map_err(|error| LaunchError::Failed(error.to_string()))?;
    let mut leases = KvOptions::new(&config.cluster.id, config.discovery.lease_ttl, peers.ids());
    if let Some(bucket) = &config.discovery.bucket {
        leases.bucket.clone_from(bucket);
    }
    let args = NodeArgs {
        settings: Settings::from_config(config, threshold),
        identity,
        peers: Arc::new(peers),
        policy: Arc::new(config.policy.clone()),
        storage,
        broker: Arc::new(broker),
        discovery: Arc::new(KvDiscovery::new(links, leases)),
        pool: CryptoPool::for_this_machine(),
        forgery: Forgery::default(),
        clock: Clock::start(),
        gateway: Some(Gateway { settings: gateway_settings(config), connection: clients }),
        health,
        backup,
        admin: Some(AdminEndpoint::bind(socket_path(&config.node.data_dir, &config.node.name))?),
    };
    NodeHandle::start(args).await.map_err(|error| match error {
        StartError::Storage(error) => LaunchError::Store { folder: store, error },
        StartError::Failed(problem) => LaunchError::Failed(format!("failed to start the node: {problem}")),
    })
}

/// Where a node's store is, and whose.
#[must_use]
pub fn store_options(config: &Config, node: NodeId) -> StoreOptions {
    StoreOptions {
        folder: config.node.data_dir.join(config.node.name.as_str()),
        owner: Owner { cluster: config.cluster.id.clone(), node },
        argon2: Argon2Params::default(),
    }
}

/// What unlocks a node's store: what was typed, or else what the configuration names.
///
/// # Errors
/// When the secret cannot be read, or is none.
pub fn storage_key(
    config: &Config,
    environment: &Environment,
    typed: Option<SecretBytes>,
) -> Result<KeySource, LaunchError> {
    let key = match typed {
        Some(passphrase) => KeySource::passphrase(passphrase),
        None => match config.storage_key.read(environment)? {
            StorageSecret::Passphrase(passphrase) => KeySource::passphrase(passphrase),
            StorageSecret::Key(key) => KeySource::key(key),
        },
    };
    key.map_err(|error| LaunchError::Setup(error.to_string()))
}

/// How a node is backed up, if the configuration says what backups are encrypted with.
///
/// # Errors
/// When a secret cannot be read.
pub fn backups(
    config: &Config,
    environment: &Environment,
    signer: &Arc<NodeIdentity>,
) -> Result<Option<Backups>, LaunchError> {
    let seal: Box<dyn Fn() -> Result<Seal, BackupError> + Send + Sync> = match config.backup.seal.clone() {
        None => return Ok(None),
        Some(BackupSeal::Recipients(recipients)) => {
            Box::new(move || Seal::recipients(recipients.iter().map(String::as_str)))
        }
        Some(BackupSeal::Passphrase(source)) => {
            // Found out now, not when the first backup is due.
            source.read(environment)?;
            Box::new(move || {
                let passphrase = source.read(&Environment::of_process());
                Seal::passphrase(passphrase.map_err(|error| BackupError::Secret(error.to_string()))?)
            })
        }
    };
    let (folder, name) = (&config.node.identity_dir, &config.node.name);
    let files = [format!("{name}_identity.json"), format!("{name}_private.key"), format!("{name}_private.key.age")];
    let files = files.map(|file| folder.join(file)).into_iter();
    let settings = BackupSettings {
        folder: config.backup.dir.clone(),
        owner: store_options(config, signer.id()).owner,
        name: name.clone(),
        signer: Arc::clone(signer),
        seal,
        keep: config.backup.keep,
        files: files.filter(|file| config.backup.include_identity && file.exists()).collect(),
    };
    Ok(Some(Backups { settings: Arc::new(settings), period: config.backup.period }))
}

fn gateway_settings(config: &Config) -> GatewaySettings {
    GatewaySettings {
        mpcium: config.gateway.mpcium,
        native: config.gateway.native,
        keygen_in_flight: config.gateway.max_in_flight_keygen,
        signing_in_flight: config.gateway.max_in_flight_signing,
    }
}

/// The connection that a configuration describes, with its secrets.
fn nats_options(config: &Config, environment: &Environment, name: String) -> Result<Options, ConfigError> {
    let (auth, tls) = (&config.nats.auth, &config.nats.tls);
    let servers = config.nats.servers.iter().map(|server| server.clone().into_inner().to_string());
    let mut options = Options::new(servers, name);
    options.retry = true;
    options.credentials = match auth {
        NatsAuth::None => Credentials::None,
        NatsAuth::User { user, password } => {
            Credentials::UserPassword { user: user.clone(), password: password.read(environment)? }
        }
        NatsAuth::Token(token) => Credentials::Token(token.read(environment)?),
        NatsAuth::Nkey(seed) => Credentials::Nkey(seed.read(environment)?),
        NatsAuth::Credentials(path) => Credentials::File(path.clone()),
    };
    let client = tls.client.clone().map(|ClientCertificate { cert_file, key_file }| (cert_file, key_file));
    if tls.required || tls.ca_file.is_some() || client.is_some() {
        options.tls = Some(Tls { ca: tls.ca_file.clone(), client, required: tls.required });
    }
    Ok(options)
}
