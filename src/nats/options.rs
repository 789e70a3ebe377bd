//! How to reach a NATS server, and as whom.

use std::fmt;
use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use zeroize::Zeroizing;

use super::ConnectError;
use crate::secret::SecretBytes;

/// How to reach a NATS server, and as whom.
#[derive(Debug)]
pub struct Options {
    /// The servers of one NATS cluster: `host:port`, `nats://host:port`, or `tls://host:port`, which requires TLS.
    pub servers: Vec<String>,
    /// What the server's operator sees the connection as.
    pub name: String,
    /// As whom to connect.
    pub credentials: Credentials,
    /// What TLS takes. Without it the connection uses TLS only where the server requires it, and then trusts the
    /// authorities of the operating system.
    pub tls: Option<Tls>,
    /// The prefix of the subjects that answers come back on: `_INBOX` by default. The user needs the right to subscribe
    /// *and publish* to what is below it.
    pub inbox: String,
    /// Whether to keep trying while no server answers, instead of failing. What cannot heal fails in any case.
    pub retry: bool,
}

/// As whom to connect.
pub enum Credentials {
    /// As nobody.
    None,
    /// By user name and password.
    UserPassword {
        /// The name.
        user: String,
        /// The password, UTF-8.
        password: SecretBytes,
    },
    /// By a token, UTF-8.
    Token(SecretBytes),
    /// By an nkey: its seed, as text (`SU…`).
    Nkey(SecretBytes),
    /// By a `.creds` file: a user's JWT and its seed.
    File(PathBuf),
}

/// What TLS takes. The files are PEM, and are read at each connect: a renewed certificate counts from the next one.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The certificate authorities to trust, and no others; without it, those of the operating system.
    pub ca: Option<PathBuf>,
    /// The certificate chain and the private key to show the server.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether to refuse a server that does not offer TLS. Without it, whoever controls the network can switch TLS off.
    pub required: bool,
}

impl Options {
    /// Options without credentials and TLS, which fail if no server answers.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>, name: impl Into<String>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            name: name.into(),
            credentials: Credentials::None,
            tls: None,
            inbox: "_INBOX".to_owned(),
            retry: false,
        }
    }

    /// The servers, parsed. An address with a password in it would show up in logs.
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, ConnectError> {
        if self.servers.is_empty() {
            return Err(ConnectError::NoServers);
        }
        let parse = |(number, server): (usize, &String)| {
            if server.contains('@') {
                return Err(ConnectError::CredentialsInServer(number));
            }
            server.parse().map_err(|_| ConnectError::InvalidServer(number))
        };
        (1..).zip(&self.servers).map(parse).collect()
    }

    /// What the NATS library is told of all this.
    pub(super) async fn to_library(&self) -> Result<ConnectOptions, ConnectError> {
        let is_subject = self
            .inbox
            .split('.')
            .all(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic() && c != '*' && c != '>'));
        if !is_subject {
            return Err(ConnectError::InvalidInbox);
        }
        let options = ConnectOptions::new().name(&self.name).custom_inbox_prefix(&self.inbox);
        let options = match &self.credentials {
            Credentials::None => options,
            Credentials::UserPassword { user, password } => options.user_and_password(user.clone(), text(password)?),
            Credentials::Token(token) => options.token(text(token)?),
            Credentials::Nkey(seed) => options.nkey(text(seed)?.trim().to_owned()),
            Credentials::File(path) => {
                let refused = |reason| ConnectError::CredentialsFile { path: path.clone(), reason };
                let creds = Zeroizing::new(tokio::fs::read_to_string(path).await.map_err(refused)?);
                options.credentials(&creds).map_err(refused)?
            }
        };
        let Some(tls) = &self.tls else { return Ok(options) };
        let options = options.require_tls(tls.required);
        let options = match &tls.ca {
            Some(ca) => options.add_root_certificates(ca.clone()),
            None => options,
        };
        Ok(match &tls.client {
            Some((certificate, key)) => options.add_client_certificate(certificate.clone(), key.clone()),
            None => options,
        })
    }
}

fn text(secret: &SecretBytes) -> Result<String, ConnectError> {
    std::str::from_utf8(secret.expose()).map(str::to_owned).map_err(|_| ConnectError::MalformedCredentials)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::UserPassword { user, .. } => write!(f, "UserPassword({user})"),
            Self::Token(_) => f.write_str("Token"),
            Self::Nkey(_) => f.write_str("Nkey"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(servers: &[&str]) -> Options {
        Options::new(servers.iter().copied(), "test")
    }

    #[test]
    fn servers__should_be_addresses_without_credentials() {
        assert!(options(&["127.0.0.1:4222", "nats://localhost", "tls://nats.example:4443"]).addresses().is_ok());
        let problem = |servers: &[&str]| options(servers).addresses().unwrap_err().to_string();
        assert!(problem(&[]).contains("no server"));
        assert!(problem(&["localhost", "gopher://localhost"]).contains("number 2"));
        let with_password = problem(&["nats://user:hunter2@localhost"]);
        assert!(with_password.contains("number 1") && !with_password.contains("hunter2"));
    }

    #[test]
    fn options__should_print_no_secret() {
        let secret = || SecretBytes::copy_from(b"hunter2");
        let all = [
            Credentials::UserPassword { user: "node0".to_owned(), password: secret() },
            Credentials::Token(secret()),
            Credentials::Nkey(secret()),
        ];
        for credentials in all {
            let shown = format!("{:?}", Options { credentials, ..options(&["localhost"]) });
            assert!(shown.contains("localhost") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[tokio::test]
    async fn options__should_refuse_what_the_library_cannot_use() {
        let inbox = |inbox: &str| Options { inbox: inbox.to_owned(), ..options(&["localhost"]) };
        for bad in ["", "a..b", "a.*", ">", "a b"] {
            assert!(matches!(inbox(bad).to_library().await, Err(ConnectError::InvalidInbox)), "{bad}");
        }
        assert!(inbox("quorate.inbox").to_library().await.is_ok());
        let credentials = Credentials::Token(SecretBytes::copy_from(&[0xff]));
        let refused = Options { credentials, ..options(&["localhost"]) }.to_library().await;
        assert!(matches!(refused, Err(ConnectError::MalformedCredentials)));
        let credentials = Credentials::File("no/such.creds".into());
        let refused = Options { credentials, ..options(&["localhost"]) }.to_library().await;
        assert!(matches!(refused, Err(ConnectError::CredentialsFile { .. })));
    }
}
