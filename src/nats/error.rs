//! Why there is no connection.

use std::error::Error as _;
use std::path::PathBuf;

use async_nats::ConnectErrorKind;
use async_nats::rustls;

use super::Version;
use crate::error::Code;

/// Why a connection to a NATS server was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options name no server.
    #[error("failed to connect to NATS: no server is named")]
    NoServers,
    /// A server is no `host:port`, `nats://host:port` or `tls://host:port`.
    #[error("failed to connect to NATS: server number {0} is no host:port, nats://host:port or tls://host:port")]
    InvalidServer(usize),
    /// A server's address holds a user or a password, which would show in logs.
    #[error("failed to connect to NATS: server number {0} holds credentials; give them as credentials instead")]
    CredentialsInServer(usize),
    /// The prefix of reply subjects is no subject.
    #[error("failed to connect to NATS: the inbox prefix is no subject")]
    InvalidInbox,
    /// The credentials cannot be used: a password or token that is no text, a seed that is none.
    #[error("failed to connect to NATS: the credentials are malformed")]
    MalformedCredentials,
    /// The credentials file cannot be read, or holds no credentials.
    #[error("failed to read NATS credentials from {path}: {reason}")]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: std::io::Error,
    },
    /// The server does not know these credentials, or wants some.
    #[error("failed to connect to NATS: the server refuses the credentials")]
    Unauthorized,
    /// The two sides do not agree on TLS: an unknown certificate authority, a missing certificate, an unreadable file.
    #[error("failed to connect to NATS: TLS: {0}")]
    Tls(String),
    /// No server answers.
    #[error("failed to connect to NATS: no server answers: {0}")]
    Unreachable(String),
    /// The server is older than [`Version::OLDEST`], or does not say what it is.
    #[error("failed to connect to NATS: the server is version {0}, and the oldest that works is {oldest}", oldest = Version::OLDEST)]
    TooOld(String),
}

impl ConnectError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unreachable(_) => Code::PeerUnavailable,
            _ => Code::Internal,
        }
    }

    /// Whether it may heal without anybody changing the options.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Sorts what the NATS library says.
    pub(super) fn sort(error: &async_nats::ConnectError) -> Self {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation => Self::Unauthorized,
            ConnectErrorKind::Authentication => Self::MalformedCredentials,
            ConnectErrorKind::Tls => Self::Tls(innermost(error)),
            _ => match tls_reason(error) {
                Some(reason) => Self::Tls(reason.to_string()),
                None => Self::Unreachable(innermost(error)),
            },
        }
    }
}

/// The handshake's error, if it is one: the library reports it as one of reading and writing.
fn tls_reason(error: &async_nats::ConnectError) -> Option<&rustls::Error> {
    let io: &std::io::Error = error.source()?.downcast_ref()?;
    io.get_ref()?.downcast_ref()
}

/// The text of the error at the bottom: the ones above only repeat what they wrap.
fn innermost(error: &async_nats::ConnectError) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
