//! The broker: where it is, and how this node proves itself to it.

use std::path::PathBuf;

use async_nats::ServerAddr;

use super::settings::{NatsSettings, NatsTlsSettings};
use super::{ConfigError, SecretSource};

/// The most servers that can be listed.
const MAX_SERVERS: usize = 16;

/// The connection to NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// 1 to 16 servers of one cluster, to be tried until one answers. None carries a user or a password.
    pub servers: Vec<ServerAddr>,
    /// How the node proves itself.
    pub auth: NatsAuth,
    /// What protects the connection.
    pub tls: NatsTls,
}

/// How a node proves itself to the broker. Secrets are read when a connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsAuth {
    /// Not at all, or by its TLS certificate only.
    None,
    /// A user with a password.
    User {
        /// The user.
        user: String,
        /// The password, UTF-8 text.
        password: SecretSource,
    },
    /// A token, UTF-8 text.
    Token(SecretSource),
    /// An nkey: its seed, `SU…`.
    Nkey(SecretSource),
    /// A credentials file: a JWT and the seed of its nkey.
    Credentials(PathBuf),
}

/// TLS towards the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// Never connect without it. Without this, the server decides.
    pub required: bool,
    /// Whom to believe instead of the system's certificate authorities (PEM).
    pub ca_file: Option<PathBuf>,
    /// This node's own certificate.
    pub client: Option<ClientCertificate>,
}

/// A certificate with its private key, for mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate chain (PEM).
    pub cert_file: PathBuf,
    /// Its private key (PEM).
    pub key_file: PathBuf,
}

/// Checks the section. `mpcium_password` is the password of a mpcium configuration, which an explicit one replaces.
///
/// # Errors
/// The first key whose value breaks its rules.
pub(super) fn check(settings: NatsSettings, mpcium_password: Option<SecretSource>) -> Result<NatsConfig, ConfigError> {
    Ok(NatsConfig {
        servers: servers(&settings.servers)?,
        tls: tls(&settings.tls)?,
        auth: auth(settings, mpcium_password)?,
    })
}

fn servers(texts: &[String]) -> Result<Vec<ServerAddr>, ConfigError> {
    const KEY: &str = "nats.servers";
    if !(1..=MAX_SERVERS).contains(&texts.len()) {
        return Err(ConfigError::key(KEY, "it does not list 1 to 16 servers", "list those of one NATS cluster"));
    }
    texts.iter().map(|text| server(text)).collect()
}

fn server(text: &str) -> Result<ServerAddr, ConfigError> {
    const KEY: &str = "nats.servers";
    let unusable = || ConfigError::key(KEY, "an address is not usable", "write nats://host:port or tls://host:port");
    let server: ServerAddr = text.parse().map_err(|_| unusable())?;
    if server.has_user_pass() || server.password().is_some() {
        let fix = "take it out, and use nats.user with nats.password_file or nats.password_env";
        return Err(ConfigError::key(KEY, "an address has a user or a password in it", fix));
    }
    if server.host().is_empty() || server.is_websocket() {
        return Err(unusable());
    }
    Ok(server)
}

fn auth(settings: NatsSettings, mpcium_password: Option<SecretSource>) -> Result<NatsAuth, ConfigError> {
    let NatsSettings { user, password_file, password_env, token_file, token_env, nkey_file, credentials_file, .. } =
        settings;
    let password = one_of(("nats.password_file", password_file), ("nats.password_env", password_env))?;
    let user = match (user.filter(|user| !user.is_empty()), password.or(mpcium_password)) {
        (Some(user), Some(password)) => Some(NatsAuth::User { user, password }),
        (None, None) => None,
        (Some(_), None) => {
            let fix = "give password_file or password_env";
            return Err(ConfigError::key("nats.user", "there is no password for it", fix));
        }
        (None, Some(_)) => {
            return Err(ConfigError::key("nats.user", "there is a password, but no user", "name the user"));
        }
    };
    let token = one_of(("nats.token_file", token_file), ("nats.token_env", token_env))?.map(NatsAuth::Token);
    let nkey = nkey_file.map(|path| NatsAuth::Nkey(SecretSource::file("nats.nkey_file", path)));
    let credentials = credentials_file.map(NatsAuth::Credentials);
    let mut given = [user, token, nkey, credentials].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(NatsAuth::None),
        (Some(auth), None) => Ok(auth),
        (Some(_), Some(_)) => Err(ConfigError::key(
            "nats",
            "more than one of user, token, nkey_file and credentials_file is given",
            "give the one that the broker asks for, in all sources together",
        )),
    }
}

fn one_of(
    (file_key, file): (&'static str, Option<PathBuf>),
    (variable_key, variable): (&'static str, Option<String>),
) -> Result<Option<SecretSource>, ConfigError> {
    match (file, variable) {
        (None, None) => Ok(None),
        (Some(path), None) => Ok(Some(SecretSource::file(file_key, path))),
        (None, Some(name)) => Ok(Some(SecretSource::variable(variable_key, name))),
        (Some(_), Some(_)) => {
            let problem = format!("{variable_key} is given too");
            Err(ConfigError::key(file_key, problem, "give one of the two, in all sources together"))
        }
    }
}

fn tls(settings: &NatsTlsSettings) -> Result<NatsTls, ConfigError> {
    let missing = |key, other| ConfigError::key(key, format!("it is missing, and {other} is given"), "give both");
    let client = match (&settings.client_cert_file, &settings.client_key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(ClientCertificate { cert_file: cert.clone(), key_file: key.clone() }),
        (Some(_), None) => return Err(missing("nats.tls.client_key_file", "client_cert_file")),
        (None, Some(_)) => return Err(missing("nats.tls.client_cert_file", "client_key_file")),
    };
    Ok(NatsTls { required: settings.required, ca_file: settings.ca_file.clone(), client })
}
