//! As whom nodes connect.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use quorate::nats::{self, ConnectError, Credentials, Options};
use quorate::secret::SecretBytes;
use quorate::testing::NatsServer;
use serde_json::{Value, json};

use crate::options;

async fn connect(server: &NatsServer, credentials: Credentials) -> Result<nats::Connection, ConnectError> {
    // What cannot heal is not tried for ever.
    nats::connect(&Options { credentials, retry: true, ..options(server) }).await
}

/// Connects with the right credentials, and is refused with wrong ones and with none.
async fn check(server: &NatsServer, right: Credentials, wrong: Credentials) {
    let connection = connect(server, right).await.unwrap();
    connection.client().flush().await.unwrap();
    for refused in [wrong, Credentials::None] {
        let error = connect(server, refused).await.err().unwrap();
        assert!(matches!(error, ConnectError::Unauthorized), "{error}");
    }
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

fn seed(user: &KeyPair) -> Credentials {
    Credentials::Nkey(secret(&user.seed().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn password__should_be_checked() {
    let config = "authorization { users = [ { user: node, password: secret } ] }";
    let server = NatsServer::start_with(config).await.unwrap();
    let with = |password| Credentials::UserPassword { user: "node".to_owned(), password: secret(password) };
    check(&server, with("secret"), with("other")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token__should_be_checked() {
    let server = NatsServer::start_with("authorization { token: secret }").await.unwrap();
    check(&server, Credentials::Token(secret("secret")), Credentials::Token(secret("other"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nkey__should_be_checked() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!("authorization {{ users = [ {{ nkey: {} }} ] }}", user.public_key());
    let server = NatsServer::start_with(&config).await.unwrap();
    check(&server, seed(&user), seed(&stranger)).await;
    let error = connect(&server, Credentials::Nkey(secret("no seed"))).await.err().unwrap();
    assert!(matches!(error, ConnectError::MalformedCredentials), "{error}");
}

/// A JWT of NATS, version 2: what `issuer` says of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body = encode(&json!({
        "jti": "test", "iat": 1_700_000_000, "name": "test",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    }));
    let signed = format!("{head}.{body}");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn write_creds(path: &Path, account: &KeyPair, user: &KeyPair) -> Credentials {
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let (jwt, seed) = (jwt(account, user, &claims), user.seed().unwrap());
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(path, text).unwrap();
    Credentials::File(path.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn creds_file__should_be_checked() {
    let (operator, account, stranger) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1 });
    let claims = json!({ "type": "account", "version": 2, "limits": limits });
    let (id, known) = (account.public_key(), jwt(&operator, &account, &claims));
    let system = KeyPair::new_account();
    let (system_id, system_known) = (system.public_key(), jwt(&operator, &system, &claims));
    let config = format!(
        "trusted_keys: {}\nsystem_account: {system_id}\nresolver: MEMORY\n\
         resolver_preload: {{ {id}: {known}, {system_id}: {system_known} }}",
        operator.public_key()
    );
    let server = NatsServer::start_with(&config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let user = KeyPair::new_user();
    let right = write_creds(&folder.path().join("right.creds"), &account, &user);
    let wrong = write_creds(&folder.path().join("wrong.creds"), &stranger, &user);
    check(&server, right, wrong).await;
    std::fs::write(folder.path().join("empty.creds"), "").unwrap();
    for unusable in ["empty.creds", "missing.creds"] {
        let error = connect(&server, Credentials::File(folder.path().join(unusable))).await.err().unwrap();
        assert!(matches!(error, ConnectError::CredentialsFile { .. }), "{error}");
    }
}
