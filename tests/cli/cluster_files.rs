//! From nothing to the files of a cluster, and what stands in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::{done, quorate_in, refused_in, text};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A folder with `peers.json` and the identities of three nodes.
fn cluster() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["generate-peers", "-n", "3"]);
    for node in ["node0", "node1", "node2"] {
        done(folder.path(), &["generate-identity", "--node", node]);
    }
    folder
}

#[test]
fn commands__should_lead_from_nothing_to_a_valid_configuration() {
    let folder = cluster();
    let path = folder.path();
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;

    let peers = json(&path.join("peers.json"));
    assert_eq!(peers.as_object().unwrap().keys().collect::<Vec<_>>(), ["node0", "node1", "node2"]);
    for node in ["node0", "node1", "node2"] {
        let identity = json(&path.join(format!("identity/{node}_identity.json")));
        assert_eq!((&identity["node_name"], &identity["node_id"]), (&node.into(), &peers[node]));
        assert_eq!(identity["public_key"].as_str().map(str::len), Some(64));
        assert_eq!(mode(&format!("identity/{node}_private.key")), 0o600);
    }
    assert_eq!(mode("identity"), 0o700);

    let book = done(path, &["register-peers", "-p", "peers.json", "--threshold", "2"]);
    for part in ["node0", "node2", peers["node1"].as_str().unwrap(), "3 nodes", "Fingerprint", "2 to 3"] {
        assert!(book.contains(part), "{part:?} is not in\n{book}");
    }

    let initiator = done(path, &["generate-initiator"]);
    let authorizer = done(path, &["generate-authorizer", "-n", "alice.of-risk", "-a", "p256", "-o", "approvers"]);
    let section = |answer: &str| answer.split_once("\n\n").unwrap().1.to_owned();
    assert!(path.join("approvers/alice.of-risk.authorizer.identity.json").exists());
    // What the commands say is what a configuration takes.
    let config = format!(
        "[node]\nname = \"node0\"\n[storage]\npassphrase_env = \"STORE\"\n{}\n{}",
        section(&initiator),
        section(&authorizer)
    );
    fs::write(path.join("quorate.toml"), &config).unwrap();
    let checked = done(path, &["config", "check", "--config", "quorate.toml"]);
    let key = json(&path.join("event_initiator.identity.json"))["public_key"].as_str().unwrap().to_owned();
    assert!(checked.contains(&key) && checked.contains("policy.authorizers.alice.of-risk.algorithm"), "{checked}");
    let renamed = done(path, &["config", "check", "-c", "quorate.toml", "-n", "node2"]);
    assert!(renamed.contains("node.name = \"node2\""), "{renamed}");
}

#[test]
fn files__should_be_replaced_only_when_that_is_asked_for() {
    let folder = cluster();
    let path = folder.path();
    done(path, &["generate-initiator"]);
    done(path, &["generate-authorizer", "-n", "alice"]);
    for (args, file) in [
        (&["generate-peers", "-n", "3"][..], "peers.json"),
        (&["generate-identity", "--node", "node1"], "identity/node1_private.key"),
        (&["generate-initiator"], "event_initiator.key"),
        (&["generate-initiator", "-a", "p256"], "event_initiator.key"),
        (&["generate-authorizer", "-n", "alice"], "alice.authorizer.key"),
    ] {
        let before = fs::read(path.join(file)).unwrap();
        refused_in(path, args, "exists already");
        assert_eq!(fs::read(path.join(file)).unwrap(), before, "{args:?}");
        for force in ["-f", "--force", "--overwrite"] {
            let before = fs::read(path.join(file)).unwrap();
            done(path, &[args, &[force]].concat());
            assert_ne!(fs::read(path.join(file)).unwrap(), before, "{args:?} {force}");
        }
    }
}

#[test]
fn identity__should_need_its_place_in_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    refused_in(path, &["generate-identity", "--node", "node0"], "peers.json");
    done(path, &["generate-peers", "-n", "2", "-o", "list.json"]);
    refused_in(path, &["generate-identity", "--node", "node2", "--peers", "list.json"], "no node named node2");
    fs::write(path.join("taken"), "").unwrap();
    let into_file = ["generate-identity", "--node", "node0", "--peers", "list.json", "-o", "taken/below"];
    refused_in(path, &into_file, "taken/below");
    assert!(!path.join("identity").exists());
}

#[test]
fn register_peers__should_name_what_does_not_agree() {
    let check = |folder: &tempfile::TempDir, says: &str| refused_in(folder.path(), &["register-peers"], says);
    let edit = |folder: &tempfile::TempDir, name: &str, change: &dyn Fn(&mut Value)| {
        let path = folder.path().join(name);
        let mut content = json(&path);
        change(&mut content);
        fs::write(path, content.to_string()).unwrap();
    };

    let folder = cluster();
    refused_in(folder.path(), &["register-peers", "-t", "4"], "4 of 3 nodes cannot sign");
    refused_in(folder.path(), &["register-peers", "-t", "1"], "1 of 3 nodes cannot sign");
    refused_in(folder.path(), &["register-peers", "--identity-dir", "elsewhere"], "elsewhere");
    edit(&folder, "peers.json", &|peers| peers["node9"] = peers["node0"].clone());
    check(&folder, "same id");

    let folder = cluster();
    edit(&folder, "peers.json", &|peers| peers["node1"] = "6b9b9d1e-4a9e-4c4b-8f0e-1b1f3b6f2a77".into());
    check(&folder, "node1 another id");

    let folder = cluster();
    fs::remove_file(folder.path().join("identity/node2_identity.json")).unwrap();
    check(&folder, "node2_identity.json");

    let folder = cluster();
    let key = json(&folder.path().join("identity/node0_identity.json"))["public_key"].clone();
    edit(&folder, "identity/node1_identity.json", &|identity| identity["public_key"] = key.clone());
    check(&folder, "same public key");

    let folder = cluster();
    let (name, other) = ("identity/node1_identity.json", "identity/node0_identity.json");
    fs::copy(folder.path().join(other), folder.path().join(name)).unwrap();
    check(&folder, "node_name");

    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["generate-peers", "-n", "5"]);
    (0..5).for_each(|node| drop(done(folder.path(), &["generate-identity", "--node", &format!("node{node}")])));
    refused_in(folder.path(), &["register-peers", "-t", "2"], "take 3 or more");
}

#[test]
fn mpcium_configuration__should_be_taken_with_warnings() {
    let folder = cluster();
    let path = folder.path();
    done(path, &["generate-initiator"]);
    let key = json(&path.join("event_initiator.identity.json"))["public_key"].as_str().unwrap().to_owned();
    let config = format!(
        "environment: development\nnats:\n  url: nats://127.0.0.1:4222\nconsul:\n  address: localhost:8500\n\
         mpc_threshold: 1\nbadger_password: \"5ec3e7-passphrase\"\nevent_initiator_pubkey: \"{key}\"\ndb_path: ./db\n"
    );
    fs::write(path.join("config.yaml"), config).unwrap();
    let output = quorate_in(path, &["config", "check", "-n", "node0", "-c", "config.yaml"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(out.contains("cluster.threshold = 2") && out.contains("policy.allow_legacy_path = true"), "{out}");
    for part in ["warning: mpc_threshold = 1", "derivation path", "consul", "badger_password"] {
        assert!(err.contains(part), "{part:?} is not in\n{err}");
    }
    assert!(!out.contains("5ec3e7") && !err.contains("5ec3e7"));
    refused_in(path, &["config", "check", "-c", "config.yaml"], "node.name");
}
