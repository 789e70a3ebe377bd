//! A node that cannot be started says so before it connects to anything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::{done, refused_in};

#[test]
fn node__should_refuse_an_address_for_its_health_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    done(path, &["generate-peers", "-n", "2"]);
    for node in ["node0", "node1"] {
        done(path, &["generate-identity", "--node", node]);
    }
    let initiator = done(path, &["generate-initiator"]);
    let key = path.join("storage-key");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    // Nobody is there to connect to: a node that tried would wait.
    let config = format!(
        "[node]\nname = \"node0\"\n[storage]\nkey_file = \"storage-key\"\n[nats]\nservers = [\"nats://127.0.0.1:1\"]\n\
         [health]\naddress = \"{address}\"\n{}",
        initiator.split_once("\n\n").unwrap().1
    );
    fs::write(path.join("quorate.toml"), config).unwrap();
    // With its log where errors go, there is nothing else to be said.
    refused_in(path, &["start", "-v", "-c", "quorate.toml"], "health.address");
    refused_in(path, &["start", "-v", "-c", "quorate.toml"], &address.to_string());
}
