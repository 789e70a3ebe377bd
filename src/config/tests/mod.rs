//! Configurations from every source, right and wrong.
#![expect(non_snake_case, reason = "a test is named subject__should_claim")]

mod mpcium;
mod network;

use std::fs;

use super::*;
use crate::error::Code;
use crate::identity::{Algorithm, RequestKey};
use crate::ids::Scheme;
use crate::policy::PolicyError;
use crate::wire::request::{AuthorizerId, Coverage, SignRequest};

const SAMPLE: &str = include_str!("../../../config/quorate.toml");
/// RFC 8032's first test key.
const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::of(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The flags of a configuration that has what is required.
fn required() -> Flags {
    Flags::default()
        .with("node.name", "node0")
        .with("policy.initiator.public_key", KEY)
        .with("storage.passphrase_env", "STORE")
}

fn from_toml(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    fs::write(&path, text).unwrap();
    Config::load(Some(&path), &environment(&[]), &required())
}

fn storage_passphrase(path: PathBuf) -> StorageKeySource {
    StorageKeySource::Passphrase(SecretSource::file("storage.passphrase_file", path))
}

fn key(algorithm: Algorithm) -> RequestKey {
    RequestKey::generate(algorithm).unwrap()
}

fn key_of(error: &ConfigError) -> &str {
    match error {
        ConfigError::Key { key, .. } => key,
        other => panic!("{other}"),
    }
}

#[test]
fn sample__should_show_the_defaults() {
    let settings: Settings = Figment::from(Toml::string(SAMPLE)).extract().unwrap();
    assert_eq!(settings, Settings::default());
}

/// The sample with its commented keys switched on, but for those that begin with one of `without`.
fn sample_with_examples(without: &[&str]) -> String {
    let switched_on =
        |line: &'static str| line.strip_prefix('#').filter(|key| !key.starts_with(' ') && !key.is_empty());
    SAMPLE
        .lines()
        .filter(|line| !without.iter().any(|key| switched_on(line).is_some_and(|found| found.starts_with(key))))
        .map(|line| switched_on(line).unwrap_or(line).to_owned() + "\n")
        .collect()
}

#[test]
fn sample__should_name_every_key() {
    let settings: Settings = Figment::from(Toml::string(&sample_with_examples(&[]))).extract().unwrap();
    let mut open = vec![("the file".to_owned(), serde_json::to_value(settings).unwrap())];
    while let Some((section, value)) = open.pop() {
        assert!(!value.is_null(), "{section} is not in the sample");
        if let Some(keys) = value.as_object() {
            open.extend(keys.iter().map(|(key, value)| (format!("{section}: {key}"), value.clone())));
        }
    }
}

#[test]
fn sample__should_be_valid_with_its_examples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    // Only one source of the storage secret, and one way to prove oneself to the broker, may stand.
    let others = [
        "passphrase_env",
        "passphrase_credential",
        "key_file",
        "key_credential",
        "password_env",
        "token",
        "nkey",
        "credentials",
    ];
    fs::write(&path, sample_with_examples(&others)).unwrap();
    let config = Config::load(Some(&path), &environment(&[]), &Flags::default()).unwrap();
    assert!(config.cluster.chain_code.is_some());
    assert_eq!(config.storage_key, storage_passphrase("secrets/storage-passphrase".into()));
    assert!(matches!(config.backup.seal, Some(BackupSeal::Passphrase(_))));
}

#[test]
fn backups__should_be_encrypted_with_exactly_one_thing() {
    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let load = |flags: Flags| Config::load(None, &environment(&[]), &flags).map(|config| config.backup);
    let wrong = |flags: Flags| match load(flags).unwrap_err() {
        ConfigError::Key { key, .. } => key,
        other => panic!("{other}"),
    };
    let none = load(required()).unwrap();
    assert_eq!((none.period, none.seal, none.keep), (None, None, 7));
    assert_eq!(wrong(required().with("backup.enabled", true)), "backup");
    let enabled = || required().with("backup.enabled", true).with("backup.recipients", RECIPIENT);
    let backup = load(enabled()).unwrap();
    assert_eq!(backup.period, Some(Duration::from_secs(3_600)));
    assert_eq!(backup.seal, Some(BackupSeal::Recipients(vec![RECIPIENT.to_owned()])));
    assert_eq!(wrong(enabled().with("backup.passphrase_file", "f")), "backup");
    let two = required().with("backup.passphrase_env", "E").with("backup.passphrase_file", "f");
    assert_eq!(wrong(two), "backup");
    for recipients in ["age1xyz", "", &vec![RECIPIENT; 17].join(",")] {
        assert_eq!(wrong(required().with("backup.recipients", recipients)), "backup.recipients");
    }
    assert_eq!(wrong(enabled().with("backup.period_seconds", 0)), "backup.period_seconds");
    assert_eq!(wrong(enabled().with("backup.keep", 0)), "backup.keep");
}

#[test]
fn sources__should_override_each_other_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let toml = folder.path().join("c.toml");
    let yaml = folder.path().join("c.yaml");
    fs::write(&toml, "[cluster]\nid = \"of-file\"\nthreshold = 3\n[signing]\nmax_concurrent = 5\n").unwrap();
    fs::write(&yaml, "cluster:\n  id: of-file\n  threshold: 3\nsigning:\n  max_concurrent: 5\n").unwrap();
    for file in [toml, yaml] {
        let environment = environment(&[
            ("QUORATE_CLUSTER__THRESHOLD", "4"),
            ("QUORATE_SIGNING__ON_PEER_FAILURE", "retry"),
            ("QUORATE_LOG__LEVEL", "debug"),
            ("QUORATE_PORT", "tcp://10.0.0.1:80"),
            ("OTHER__KEY", "x"),
        ]);
        let flags = required().with("cluster.threshold", 5);
        let config = Config::load(Some(&file), &environment, &flags).unwrap();
        assert_eq!(config.cluster.id.as_str(), "of-file");
        assert_eq!(config.cluster.signers, 5);
        assert_eq!(config.signing.max_concurrent, 5);
        assert_eq!(config.keygen.max_concurrent, 32, "a default");
        assert_eq!(config.on_peer_failure, OnPeerFailure::Retry);
        assert_eq!(config.log.level, LevelFilter::DEBUG);
    }
}

#[test]
fn load__should_name_key_and_origin_of_what_is_wrong() {
    for (text, key) in [
        ("[cluster]\nthreshold = \"two\"", "cluster.threshold"),
        ("[cluster]\nthreshold = 256", "cluster.threshold"),
        ("[cluster]\nthreshold = -1", "cluster.threshold"),
        ("[cluster]\nchain_code = 123456", "cluster.chain_code"),
        ("[signing]\non_peer_failure = \"wait\"", "signing.on_peer_failure"),
        ("[signing]\ndeadline = 5", "signing.deadline"),
        ("[nats]\nurl = \"x\"", "nats.url"),
        ("[consul]\naddress = \"x\"", "consul"),
        ("[log]\nlevel = 3", "log.level"),
        ("[policy.authorizers.bob]\nkey = \"x\"", "policy.authorizers.bob.key"),
        ("[policy.initiator]\nalgorithm = \"rsa\"", "policy.initiator.algorithm"),
    ] {
        let error = from_toml(text).unwrap_err();
        assert_eq!(key_of(&error), key, "{error}");
        assert!(error.to_string().contains("quorate.toml"), "{error}");
        assert!(!error.to_string().contains("123456"), "{error}");
    }
    let error = Config::load(None, &environment(&[("QUORATE_CLUSTER__THRESHOLD", "x")]), &required()).unwrap_err();
    assert_eq!(key_of(&error), "cluster.threshold");
    assert!(error.to_string().contains("environment variable QUORATE_CLUSTER__THRESHOLD"), "{error}");
}

#[test]
fn load__should_check_every_value() {
    for (text, key) in [
        ("[cluster]\nthreshold = 1", "cluster.threshold"),
        ("[cluster]\nthreshold = 33", "cluster.threshold"),
        ("[cluster]\nid = \"a b\"", "cluster.id"),
        ("[cluster]\nchain_code = \"5ec3e7\"", "cluster.chain_code"),
        ("[link]\nheartbeat_interval_ms = 0", "link.heartbeat_interval_ms"),
        ("[link]\nheartbeat_misses = 0", "link.heartbeat_misses"),
        ("[pairing]\ndeadline_ms = 5", "pairing.deadline_ms"),
        ("[checkup]\nevery_hours = 9000", "checkup.every_hours"),
        ("[keygen]\ndeadline_ms = 700000", "keygen.deadline_ms"),
        ("[keygen]\nmax_concurrent = 0", "keygen.max_concurrent"),
        ("[signing]\nmax_concurrent = 4097", "signing.max_concurrent"),
        ("[storage]\nkey_file = \"x\"", "storage"),
        ("[policy]\nrequired_authorizers = [\"carol\"]", "policy.required_authorizers"),
        ("[policy]\nrequired_authorizers = [\"\"]", "policy.required_authorizers"),
        ("[policy.authorizers.bob]", "policy.authorizers.bob.public_key"),
        ("[policy.authorizers.bob]\npublic_key = \"5ec3e7\"", "policy.authorizers.bob.public_key"),
        ("[policy.authorizers.\"\"]\npublic_key = \"5ec3e7\"", "policy.authorizers."),
    ] {
        let error = from_toml(text).unwrap_err();
        assert_eq!(key_of(&error), key, "{error}");
        assert!(!error.to_string().contains("5ec3e7"), "{error}");
        assert_eq!(error.code(), Code::Internal);
    }
    let missing = |flags: &Flags| key_of(&Config::load(None, &environment(&[]), flags).unwrap_err()).to_owned();
    assert_eq!(missing(&Flags::default()), "node.name");
    let named = Flags::default().with("node.name", "node0");
    assert_eq!(missing(&named), "storage");
    assert_eq!(missing(&named.clone().with("storage.key_file", "k")), "policy.initiator.public_key");
    assert_eq!(missing(&required().with("node.name", "a/b")), "node.name");
}

#[test]
fn load__should_not_quote_a_line_that_does_not_parse() {
    let error = from_toml("[cluster]\nchain_code = \"5ec3e7\n").unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
    assert!(!error.to_string().contains("5ec3e7"), "{error}");
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn load__should_refuse_files_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str| Config::load(Some(&folder.path().join(name)), &environment(&[]), &required());
    fs::write(folder.path().join("c.ini"), "").unwrap();
    fs::write(folder.path().join("long.toml"), vec![b'\n'; 1024 * 1024 + 1]).unwrap();
    for name in ["missing.toml", "c.ini", "long.toml"] {
        assert!(matches!(load(name), Err(ConfigError::File { .. })), "{name}");
    }
}

#[test]
fn printing__should_mask_secrets_and_show_the_rest() {
    let chain_code = "5ec3e7".repeat(10) + "0000";
    let config = from_toml(&format!("[cluster]\nchain_code = \"{chain_code}\"")).unwrap();
    let printed = format!("{config}\n{config:?}");
    assert!(!printed.contains("5ec3e7"), "{printed}");
    for line in ["cluster.chain_code = \"(set)\"", "node.name = \"node0\"", "signing.max_concurrent = 256"] {
        assert!(printed.lines().any(|found| found == line), "{line} is not in\n{printed}");
    }
}

#[test]
fn policy__should_be_what_the_section_says() {
    let (initiator, alice) = (key(Algorithm::P256), key(Algorithm::Ed25519));
    let alice_id = || AuthorizerId::try_from("alice".to_owned()).unwrap();
    let text = format!(
        "[policy]\nallow_legacy_path = true\nrequired_authorizers = [\"alice\"]\n\
         [policy.authorizers.alice]\npublic_key = \"{}\"",
        alice.public()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    fs::write(&path, text).unwrap();
    let flags = required()
        .with("policy.initiator.algorithm", "p256")
        .with("policy.initiator.public_key", initiator.public().to_string());
    let policy = Config::load(Some(&path), &environment(&[]), &flags).unwrap().policy;

    let request = || {
        SignRequest::builder(Scheme::Ecdsa, "w".parse().unwrap(), "t".parse().unwrap(), &[1; 32])
            .coverage(Coverage::Legacy)
    };
    policy.check_sign(&request().approved_by(alice_id(), &alice).sign_with(&initiator).unwrap()).unwrap();
    let unapproved = policy.check_sign(&request().sign_with(&initiator).unwrap());
    assert_eq!(unapproved, Err(PolicyError::ApprovalMissing(alice_id())));
    assert!(policy.check_threshold(Threshold::new(2, 4).unwrap()).is_err());
}

#[test]
fn refresh__should_have_classes_of_wallets_and_the_first_match_wins() {
    let text = "[refresh]\nevery_hours = 2160\n\
                [[refresh.classes]]\nwallets = [\"hot-frozen\"]\nevery_hours = 0\n\
                [[refresh.classes]]\nwallets = [\"hot-*\", \"till\"]\nevery_hours = 24\n";
    let schedule = from_toml(text).unwrap().refresh;
    let hours = |wallet: &str| schedule.period_of(&wallet.parse().unwrap()).map(|period| period.as_secs() / 3_600);
    assert_eq!(["cold", "hot-1", "till", "hot-frozen"].map(hours), [Some(2160), Some(24), Some(24), None]);
    assert_eq!(from_toml("").unwrap().refresh.shortest(), None, "nothing is refreshed unasked by default");
}

#[test]
fn refresh__should_refuse_classes_that_make_no_sense() {
    let class =
        |wallets: &str, hours: u32| format!("[[refresh.classes]]\nwallets = {wallets}\nevery_hours = {hours}\n");
    for (text, key) in [
        ("[refresh]\nevery_hours = 87601".to_owned(), "refresh.every_hours"),
        (class("[]", 1), "refresh.classes.0.wallets"),
        (class("[\"a*b\"]", 1), "refresh.classes.0.wallets"),
        (class("[\"\"]", 1), "refresh.classes.0.wallets"),
        (class("[\"a\"]", 99_999), "refresh.classes.0.every_hours"),
        (class("[\"a*\"]", 1) + &class("[\"b\", \"ab*\"]", 2), "refresh.classes.1.wallets"),
        (class("[\"a\"]", 1).repeat(65), "refresh.classes"),
        ("[pairing]\nrefresh_days = 3651".to_owned(), "pairing.refresh_days"),
    ] {
        let error = from_toml(&text).unwrap_err();
        assert!(matches!(&error, ConfigError::Key { key: at, .. } if at == key), "{key}: {error}");
    }
}

#[test]
fn destruction__should_be_allowed_only_with_approvals_that_can_be_given() {
    let key = RequestKey::generate(Algorithm::Ed25519).unwrap().public();
    let alice = format!("[policy.authorizers.alice]\npublic_key = \"{key}\"\n");
    for destroy in ["allowed = true", "approvals = 1", "allowed = true\napprovals = 2"] {
        let error = from_toml(&format!("[destroy]\n{destroy}\n{alice}")).unwrap_err();
        assert!(matches!(&error, ConfigError::Key { key, .. } if key == "destroy.approvals"), "{destroy}: {error}");
    }
    assert!(from_toml("[destroy]\nallowed = true\napprovals = 1").is_err(), "nobody could approve");
    from_toml(&format!("[destroy]\nallowed = true\napprovals = 1\n{alice}")).unwrap();
    from_toml("[destroy]\nallowed = false").unwrap();
}

#[test]
fn threshold__should_fit_the_number_of_nodes() {
    let config = from_toml("[cluster]\nthreshold = 3").unwrap();
    assert_eq!(config.cluster.threshold(5).unwrap(), Threshold::new(3, 5).unwrap());
    assert!(config.cluster.threshold(2).is_err());
    assert!(config.cluster.threshold(1_000).is_err());
}

#[test]
fn storage_key__should_be_read_from_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let environment = environment(&[("STORE", " pass word "), ("EMPTY", "")]);
    let passphrase = |source: StorageKeySource| match source.read(&environment).unwrap() {
        StorageSecret::Passphrase(secret) => secret.expose().to_vec(),
        StorageSecret::Key(_) => panic!("a key"),
    };
    let raw_key = |source: StorageKeySource| match source.read(&environment).unwrap() {
        StorageSecret::Key(secret) => secret.expose().to_vec(),
        StorageSecret::Passphrase(_) => panic!("a passphrase"),
    };
    let of_variable =
        |name: &str| StorageKeySource::Passphrase(SecretSource::variable("storage.passphrase_env", name.to_owned()));
    assert_eq!(passphrase(of_variable("STORE")), b" pass word ");
    assert_eq!(passphrase(storage_passphrase(file("p1", b" pass word \r\n"))), b" pass word ");
    assert_eq!(passphrase(storage_passphrase(file("p2", b"a\n\n"))), b"a\n");
    assert_eq!(raw_key(StorageKeySource::KeyFile(file("k1", &[7; 32]))), [7; 32]);
    assert_eq!(raw_key(StorageKeySource::KeyFile(file("k2", format!("{}\n", "0A".repeat(32)).as_bytes()))), [10; 32]);
    for bad in [
        of_variable("EMPTY"),
        of_variable("MISSING"),
        storage_passphrase(file("p3", b"\n")),
        storage_passphrase(file("p4", &[b'x'; 4097])),
        storage_passphrase(folder.path().join("missing")),
        StorageKeySource::KeyFile(file("k3", &[7; 31])),
        StorageKeySource::KeyFile(file("k4", "zz".repeat(32).as_bytes())),
    ] {
        assert!(matches!(bad.read(&environment), Err(ConfigError::Secret { .. })), "{bad:?}");
    }
}

#[test]
fn load__should_say_where_a_value_out_of_its_rules_came_from() {
    let error = from_toml("[cluster]\nthreshold = 1").unwrap_err();
    assert!(error.to_string().contains("quorate.toml"), "{error}");
    let environment = environment(&[("QUORATE_CLUSTER__THRESHOLD", "1")]);
    let error = Config::load(None, &environment, &required()).unwrap_err();
    assert!(error.to_string().contains("environment variable QUORATE_CLUSTER__THRESHOLD"), "{error}");
    let error = Config::load(None, &environment, &required().with("cluster.threshold", 0)).unwrap_err();
    assert!(error.to_string().contains("command line"), "{error}");
    // Nobody wrote a default.
    let error = Config::load(None, &Environment::of([]), &Flags::default()).unwrap_err();
    assert!(!error.to_string().contains("(in"), "{error}");
}
