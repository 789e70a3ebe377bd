//! Files as mpcium's operators have them.

use super::*;

/// A development node's file.
const DEVELOPMENT: &str = r#"
environment: development
nats:
  url: nats://127.0.0.1:4222
consul:
  address: localhost:8500

mpc_threshold: 2
badger_password: "F))ysJp?E]ol&I;^"
event_initiator_pubkey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
event_initiator_algorithm: "ed25519"
db_path: ./db
backup_enabled: true
backup_period_seconds: 300
backup_dir: ./backups
max_concurrent_keygen: 2
max_concurrent_signing: 10
"#;

/// A production node's file, with everything in it.
const PRODUCTION: &str = r#"
environment: production
nats:
  url: "nats://nats-1.internal:4222,tls://nats-2.internal:4223"
  username: "mpcium"
  password: "5ec3e7-nats"
  tls:
    client_cert: "certs/client-cert.pem"
    client_key: "certs/client-key.pem"
    ca_cert: "certs/rootCA.pem"
consul:
  address: consul.internal:8500
  username: "c"
  password: "5ec3e7-consul"
  token: "5ec3e7-token"
mpc_threshold: "1"
badger_password: 5ec3e7-badger
event_initiator_pubkey: "3059301306072a8648ce3d020106082a8648ce3d0301070342000466cd4edbaa3450ef65990cd5ee07cdb3b34f1b8af05f7974821b6369e15a101967b04dae256987352344ff728244a676b9593712461e8a82a9fa413a1f707a3e"
event_initiator_algorithm: p256
chain_code: "5ec3e75ec3e75ec3e75ec3e75ec3e75ec3e75ec3e75ec3e75ec3e75ec3e70000"
db_path: "/var/lib/mpcium"
backup_enabled: false
max_concurrent_keygen: "4"
max_concurrent_signing: 0
healthcheck:
  enabled: true
  address: ":8081"
authorization:
  enabled: true
  required_authorizers:
    - alice
  authorizer_public_keys:
    alice:
      public_key: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
      algorithm: ed25519
    Bob: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
"#;

struct Sample {
    folder: tempfile::TempDir,
}

impl Sample {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// As `start -n node0` and `config check -n node0` load it.
    fn load(&self) -> Result<Config, ConfigError> {
        self.load_with(&[], Flags::default())
    }

    fn load_with(&self, variables: &[(&str, &str)], flags: Flags) -> Result<Config, ConfigError> {
        Config::load(Some(&self.path()), &environment(variables), &flags.with("node.name", "node0"))
    }
}

fn has(config: &Config, expected: &Warning) -> bool {
    config.warnings.contains(expected)
}

fn ignored(config: &Config) -> Vec<&str> {
    let ignored = |warning| if let &Warning::Ignored { key, .. } = warning { Some(key) } else { None };
    config.warnings.iter().filter_map(ignored).collect()
}

#[test]
fn development__should_be_taken_as_it_is() {
    let sample = Sample::new(DEVELOPMENT);
    let config = sample.load().unwrap();
    assert_eq!(config.cluster.signers, 3, "mpcium's t means t + 1");
    assert_eq!(config.node.data_dir, PathBuf::from("./db/quorate/node0"));
    assert_eq!((config.keygen.max_concurrent, config.signing.max_concurrent), (2, 10));
    assert_eq!((config.nats.servers.len(), &config.nats.auth), (1, &NatsAuth::None));
    assert!(!config.nats.tls.required);
    assert!(config.gateway.mpcium);
    let StorageSecret::Passphrase(passphrase) = config.storage_key.read(&environment(&[])).unwrap() else {
        panic!("a key")
    };
    assert_eq!(passphrase.expose(), b"F))ysJp?E]ol&I;^");
    assert_eq!(ignored(&config), ["consul"]);
    assert_eq!(config.backup.period, Some(Duration::from_secs(300)));
    assert_eq!(config.backup.dir, PathBuf::from("./backups"));
    let Some(BackupSeal::Passphrase(passphrase)) = &config.backup.seal else { panic!("no passphrase") };
    assert_eq!(passphrase.read(&environment(&[])).unwrap().expose(), b"F))ysJp?E]ol&I;^", "as mpcium does");
    for warning in [
        Warning::OwnStore,
        Warning::LegacyPathAllowed,
        Warning::ThresholdConverted { mpc_threshold: 2, signers: 3 },
        Warning::SecretInFile { key: "badger_password", instead: "storage.passphrase_file" },
    ] {
        assert!(has(&config, &warning), "{warning}");
    }
    assert_eq!(config.warnings.len(), 5);
}

#[test]
fn production__should_be_taken_as_it_is() {
    let sample = Sample::new(PRODUCTION);
    let config = sample.load().unwrap();
    let servers: Vec<(&str, u16)> = config.nats.servers.iter().map(|server| (server.host(), server.port())).collect();
    assert_eq!(servers, [("nats-1.internal", 4222), ("nats-2.internal", 4223)]);
    let NatsAuth::User { user, password } = &config.nats.auth else { panic!("{:?}", config.nats.auth) };
    assert_eq!(user, "mpcium");
    assert_eq!(password.read(&environment(&[])).unwrap().expose(), b"5ec3e7-nats");
    let client =
        ClientCertificate { cert_file: "certs/client-cert.pem".into(), key_file: "certs/client-key.pem".into() };
    let tls = NatsTls { required: true, ca_file: Some("certs/rootCA.pem".into()), client: Some(client) };
    assert_eq!(config.nats.tls, tls);
    assert_eq!(config.cluster.signers, 2);
    assert!(config.cluster.chain_code.is_some());
    assert_eq!((config.keygen.max_concurrent, config.signing.max_concurrent), (4, 256));
    assert_eq!((config.health.enabled, config.health.address.to_string()), (true, "0.0.0.0:8081".to_owned()));
    assert_eq!(config.node.data_dir, PathBuf::from("/var/lib/mpcium/quorate/node0"));
    let policy = format!("{:?}", config.policy);
    assert!(policy.contains("p256 3059") && policy.contains("\"Bob\"") && policy.contains("\"alice\""), "{policy}");
    assert_eq!(ignored(&config), ["consul"]);
    assert_eq!(config.backup.period, None);
    let printed = format!("{config}\n{config:?}\n{:?}", config.warnings);
    assert!(!printed.contains("5ec3e7"), "{printed}");
    assert!(printed.contains("nats.password = \"(set)\"") && printed.contains("storage.passphrase = \"(set)\""));
}

#[test]
fn policy__should_take_the_requests_of_mpciums_clients() {
    let initiator = key(Algorithm::Ed25519);
    let text = format!("event_initiator_pubkey: \"{}\"\nbadger_password: pass\n", initiator.public());
    let sample = Sample::new(&text);
    let request = SignRequest::builder(Scheme::Ecdsa, "w".parse().unwrap(), "t".parse().unwrap(), &[1; 32])
        .coverage(Coverage::Legacy)
        .sign_with(&initiator)
        .unwrap();
    let config = sample.load().unwrap();
    config.policy.check_sign(&request).unwrap();
    assert!(has(&config, &Warning::LegacyPathAllowed));

    let strict = sample.load_with(&[("QUORATE_POLICY__ALLOW_LEGACY_PATH", "false")], Flags::default()).unwrap();
    assert_eq!(strict.policy.check_sign(&request), Err(PolicyError::PathNotCovered));
    assert!(!has(&strict, &Warning::LegacyPathAllowed), "there is nothing to warn of any more");
}

#[test]
fn authorizers__should_count_only_where_authorization_is_on() {
    let sample =
        Sample::new(&PRODUCTION.replace("authorization:\n  enabled: true", "authorization:\n  enabled: false"));
    let policy = format!("{:?}", sample.load().unwrap().policy);
    assert!(!policy.contains("alice"), "{policy}");
}

#[test]
fn environment_and_flags__should_override_the_file() {
    let sample = Sample::new(PRODUCTION);
    let variables = [
        ("QUORATE_CLUSTER__THRESHOLD", "3"),
        ("QUORATE_STORAGE__PASSPHRASE_ENV", "STORE"),
        ("QUORATE_NATS__PASSWORD_ENV", "NATS"),
        ("STORE", "of the environment"),
        ("NATS", "another"),
    ];
    let config = sample.load_with(&variables, Flags::default().with("node.data_dir", "elsewhere")).unwrap();
    assert_eq!(config.cluster.signers, 3);
    assert_eq!(config.node.data_dir, PathBuf::from("elsewhere"));
    assert!(!config.warnings.iter().any(|warning| matches!(warning, Warning::ThresholdConverted { .. })));
    let StorageSecret::Passphrase(passphrase) = config.storage_key.read(&environment(&variables)).unwrap() else {
        panic!("a key")
    };
    assert_eq!(passphrase.expose(), b"of the environment");
    let NatsAuth::User { password, .. } = &config.nats.auth else { panic!("{:?}", config.nats.auth) };
    assert_eq!(password.read(&environment(&variables)).unwrap().expose(), b"another");
}

#[test]
fn keys__should_be_found_in_any_case_and_with_dots() {
    let text = format!(
        "MPC_Threshold: 1\nnats.url: nats://a:1\nNATS:\n  UserName: u\n  Password: p\n\
         badger_password: x\nevent_initiator_pubkey: \"{KEY}\"\ndb_path: \"\"\nchain_code:\n"
    );
    let config = Sample::new(&text).load().unwrap();
    assert_eq!(config.cluster.signers, 2);
    assert_eq!(config.nats.servers.first().map(|server| server.host()), Some("a"));
    assert!(matches!(config.nats.auth, NatsAuth::User { .. }));
    assert_eq!(config.node.data_dir, PathBuf::from("data/node0"), "an empty text is no path");
    assert_eq!(config.cluster.chain_code, None);
}

#[test]
fn unknown_keys__should_be_warned_of_and_not_more() {
    let text = PRODUCTION.replace("chain_code:", "signing_mode: fast\nextra:\n  deep: 1\nchain_code:");
    let text = text.replace("algorithm: ed25519\n", "algorithm: ed25519\n      since: 2024\n");
    let config = Sample::new(&text).load().unwrap();
    let mut unknown: Vec<String> = config
        .warnings
        .iter()
        .filter_map(|warning| if let Warning::UnknownKey(key) = warning { Some(key.clone()) } else { None })
        .collect();
    unknown.sort();
    assert_eq!(unknown, ["authorization.authorizer_public_keys.alice.since", "extra.deep", "signing_mode"]);
}

#[test]
fn wrong_values__should_be_named_by_mpciums_keys() {
    for (from, to, says) in [
        ("mpc_threshold: 2", "mpc_threshold: two", "`mpc_threshold`"),
        ("mpc_threshold: 2", "mpc_threshold: -1", "`mpc_threshold`"),
        ("mpc_threshold: 2", "mpc_threshold: 0", "mpc_threshold of "),
        ("mpc_threshold: 2", "mpc_threshold: 18446744073709551615", "mpc_threshold of "),
        ("max_concurrent_signing: 10", "max_concurrent_signing: 5000", "max_concurrent_signing of "),
        ("max_concurrent_keygen: 2", "max_concurrent_keygen: many", "max_concurrent_keygen of "),
        ("event_initiator_pubkey: \"d7", "event_initiator_pubkey: \"", "event_initiator_pubkey of "),
        ("event_initiator_algorithm: \"ed25519\"", "event_initiator_algorithm: rsa", "event_initiator_algorithm of "),
        ("badger_password: \"F))ysJp?E]ol&I;^\"", "badger_password: 12345", "`badger_password`"),
        ("url: nats://127.0.0.1:4222", "url: nats://u:5ec3e7@a", "nats.url of "),
        ("db_path: ./db", "db_path: [a]", "`db_path`"),
    ] {
        assert!(DEVELOPMENT.contains(from), "{from}");
        let error = Sample::new(&DEVELOPMENT.replace(from, to)).load().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("config.yaml"), "{to}: {error}");
        assert!(!error.contains("12345") && !error.contains("5ec3e7"), "{error}");
    }
}

#[test]
fn missing_values__should_be_asked_for() {
    let without = |key: &str| {
        let text: String =
            DEVELOPMENT.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        key_of(&Sample::new(&text).load().unwrap_err()).to_owned()
    };
    assert_eq!(without("badger_password"), "storage");
    assert_eq!(without("event_initiator_pubkey"), "policy.initiator.public_key");
    let sample = Sample::new(DEVELOPMENT);
    let unnamed = Config::load(Some(&sample.path()), &environment(&[]), &Flags::default()).unwrap_err();
    assert_eq!(key_of(&unnamed), "node.name");
}

#[test]
fn secret__should_be_missed_when_the_file_lost_it() {
    let sample = Sample::new(DEVELOPMENT);
    let config = sample.load().unwrap();
    for text in ["mpc_threshold: 2", "badger_password: 5", ": : :"] {
        fs::write(sample.path(), text).unwrap();
        let error = config.storage_key.read(&environment(&[])).unwrap_err();
        assert!(matches!(&error, ConfigError::Secret { key: "badger_password", .. }), "{error}");
    }
}

#[test]
fn our_own_yaml__should_not_be_taken_for_mpciums() {
    let sample = Sample::new("cluster:\n  threshold: 3\nnats:\n  url: nats://a\n");
    assert_eq!(key_of(&sample.load().unwrap_err()), "nats.url");
    let broken = Sample::new("mpc_threshold: [1\n");
    assert!(matches!(broken.load(), Err(ConfigError::Syntax { .. })));
}
