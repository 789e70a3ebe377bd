//! The broker, discovery, and what a node offers.

use super::*;

const SECRET: &str = "5ec3e7";

fn nats(text: &str) -> NatsConfig {
    from_toml(&format!("[nats]\n{text}")).unwrap().nats
}

#[test]
fn defaults__should_serve_from_a_local_broker() {
    let config = from_toml("").unwrap();
    let servers: Vec<&str> = config.nats.servers.iter().map(async_nats::ServerAddr::as_url_str).collect();
    assert_eq!(servers, ["nats://127.0.0.1:4222"]);
    assert_eq!((config.nats.auth, config.nats.tls), (NatsAuth::None, NatsTls::default()));
    assert_eq!((config.discovery.backend, config.discovery.bucket), (DiscoveryBackend::Nats, None));
    assert_eq!((config.discovery.lease_ttl, config.drain), (Duration::from_secs(6), Duration::from_secs(20)));
    assert!(config.gateway.mpcium && config.gateway.native && config.health.enabled);
    assert!(config.health.address.ip().is_loopback());
    assert_eq!(config.warnings, []);
}

#[test]
fn servers__should_be_a_list_or_a_text() {
    let of_list = nats("servers = [\"nats://a:1\", \"b\", \"tls://c\"]").servers;
    let hosts: Vec<(&str, &str, u16)> =
        of_list.iter().map(|server| (server.scheme(), server.host(), server.port())).collect();
    assert_eq!(hosts, [("nats", "a", 1), ("nats", "b", 4222), ("tls", "c", 4222)]);
    assert_eq!(nats("servers = \"nats://a:1, b,tls://c\"").servers, of_list);
    let variables = environment(&[("QUORATE_NATS__SERVERS", "nats://a:1,b,tls://c")]);
    assert_eq!(Config::load(None, &variables, &required()).unwrap().nats.servers, of_list);
}

#[test]
fn auth__should_be_the_one_way_that_is_given() {
    let file = |key, path: &str| SecretSource::file(key, path.into());
    for (text, auth) in [
        (
            "user = \"u\"\npassword_file = \"p\"",
            NatsAuth::User { user: "u".to_owned(), password: file("nats.password_file", "p") },
        ),
        (
            "user = \"u\"\npassword_env = \"P\"",
            NatsAuth::User {
                user: "u".to_owned(),
                password: SecretSource::variable("nats.password_env", "P".to_owned()),
            },
        ),
        ("token_file = \"t\"", NatsAuth::Token(file("nats.token_file", "t"))),
        ("token_env = \"T\"", NatsAuth::Token(SecretSource::variable("nats.token_env", "T".to_owned()))),
        ("nkey_file = \"n\"", NatsAuth::Nkey(file("nats.nkey_file", "n"))),
        ("credentials_file = \"c\"", NatsAuth::Credentials("c".into())),
    ] {
        assert_eq!(nats(text).auth, auth);
    }
}

#[test]
fn tls__should_take_a_certificate_with_its_key() {
    let tls =
        nats("[nats.tls]\nrequired = true\nca_file = \"a\"\nclient_cert_file = \"c\"\nclient_key_file = \"k\"").tls;
    let client = ClientCertificate { cert_file: "c".into(), key_file: "k".into() };
    assert_eq!(tls, NatsTls { required: true, ca_file: Some("a".into()), client: Some(client) });
}

#[test]
fn network__should_be_checked_key_by_key() {
    let too_many = format!("[nats]\nservers = [{}]", "\"a\",".repeat(17));
    let long_bucket = format!("[discovery]\nbucket = \"{}\"", "b".repeat(65));
    for (text, key) in [
        ("[nats]\nservers = []", "nats.servers"),
        ("[nats]\nservers = 4222", "nats.servers"),
        (&too_many, "nats.servers"),
        ("[nats]\nservers = [\"a\", \"\"]", "nats.servers"),
        ("[nats]\nservers = \"http://a\"", "nats.servers"),
        ("[nats]\nservers = \"ws://a\"", "nats.servers"),
        ("[nats]\nservers = \"nats://u:5ec3e7@a\"", "nats.servers"),
        ("[nats]\nservers = \"nats://5ec3e7@a\"", "nats.servers"),
        ("[nats]\npassword = \"5ec3e7\"", "nats.password"),
        ("[nats]\ntoken = \"5ec3e7\"", "nats.token"),
        ("[nats]\nuser = \"u\"", "nats.user"),
        ("[nats]\npassword_file = \"p\"", "nats.user"),
        ("[nats]\nuser = \"u\"\npassword_file = \"p\"\npassword_env = \"P\"", "nats.password_file"),
        ("[nats]\ntoken_file = \"t\"\ntoken_env = \"T\"", "nats.token_file"),
        ("[nats]\ntoken_file = \"t\"\nnkey_file = \"n\"", "nats"),
        ("[nats]\nuser = \"u\"\npassword_file = \"p\"\ncredentials_file = \"c\"", "nats"),
        ("[nats.tls]\nclient_cert_file = \"c\"", "nats.tls.client_key_file"),
        ("[nats.tls]\nclient_key_file = \"c\"", "nats.tls.client_cert_file"),
        ("[discovery]\nbackend = \"etcd\"", "discovery.backend"),
        ("[discovery]\nlease_ttl_ms = 999", "discovery.lease_ttl_ms"),
        ("[discovery]\nlease_ttl_ms = 300001", "discovery.lease_ttl_ms"),
        ("[discovery]\nbucket = \"\"", "discovery.bucket"),
        ("[discovery]\nbucket = \"a.b\"", "discovery.bucket"),
        (&long_bucket, "discovery.bucket"),
        ("[gateway]\nmax_in_flight_keygen = 0", "gateway.max_in_flight_keygen"),
        ("[gateway]\nmax_in_flight_keygen = 33", "gateway.max_in_flight_keygen"),
        ("[signing]\nmax_concurrent = 5\n[gateway]\nmax_in_flight_signing = 6", "gateway.max_in_flight_signing"),
        ("[gateway]\nmpcium = \"maybe\"", "gateway.mpcium"),
        ("[health]\naddress = \"somewhere:80\"", "health.address"),
        ("[health]\naddress = \"127.0.0.1\"", "health.address"),
        ("[shutdown]\ndrain_ms = 600001", "shutdown.drain_ms"),
    ] {
        let error = from_toml(text).unwrap_err();
        assert_eq!(key_of(&error), key, "{error}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

#[test]
fn gateway__should_take_no_more_than_runs_at_once() {
    let config =
        from_toml("[signing]\nmax_concurrent = 5\n[gateway]\nmpcium = false\nmax_in_flight_keygen = 3").unwrap();
    let expected = GatewayConfig { mpcium: false, native: true, max_in_flight_keygen: 3, max_in_flight_signing: 5 };
    assert_eq!(config.gateway, expected);
}

#[test]
fn secrets__should_be_read_when_they_are_needed_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let config = from_toml(&format!("[nats]\nuser = \"u\"\npassword_file = \"{}\"", path.display())).unwrap();
    let NatsAuth::User { password, .. } = &config.nats.auth else { panic!("{:?}", config.nats.auth) };
    let missing = password.read(&environment(&[])).unwrap_err();
    assert!(missing.to_string().contains("nats.password_file"), "{missing}");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    assert_eq!(password.read(&environment(&[])).unwrap().expose(), SECRET.as_bytes());
    assert!(!format!("{config}{config:?}").contains(SECRET));
}
