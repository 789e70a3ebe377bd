//! The report for people, of the smallest cluster: nobody is left to sign when a node is lost.

use crate::{quorate, text};

const CONFIG: &str = r#"
[node]
name = "any"
[cluster]
id = "of-the-file"
[link]
heartbeat_interval_ms = 200
[storage]
passphrase_env = "NOT_SET"
[policy.initiator]
public_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
"#;

#[test]
fn text__should_tell_the_steps_of_a_two_of_two_with_files_of_the_users() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    // The example, to a contract that it creates.
    let to = "94d8da6bf26964af9d7eed9e03e53415d37aa96045";
    let ethereum = std::fs::read_to_string(examples.join("ethereum-transfer.eip1559.hex")).unwrap();
    let creation = ethereum.trim().replace(to, "80").replace("0x02ef", "0x02db");
    std::fs::write(path("ethereum.hex"), creation).unwrap();
    std::fs::copy(examples.join("bitcoin-taproot-spend.json"), path("bitcoin.json")).unwrap();
    std::fs::copy(examples.join("solana-transfer.json"), path("solana.json")).unwrap();
    std::fs::write(path("quorate.toml"), CONFIG).unwrap();
    let (ethereum, bitcoin, solana) = (path("ethereum.hex"), path("bitcoin.json"), path("solana.json"));
    let (config, folder) = (path("quorate.toml"), path("stores"));
    let files = ["--ethereum", &ethereum, "--bitcoin", &bitcoin, "--solana", &solana];
    let args = [&["demo", "-n", "2", "-t", "2", "--config", &config, "--folder", &folder], &files[..]].concat();
    let output = quorate(&args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    for part in [
        "2 nodes in this process, 2 of them must sign",
        "to:               (creates a contract)",
        "PEER_UNAVAILABLE of node1",
        "NOT_MAJORITY",
        "node1 was started again on its folder",
        "Every step was verified.",
    ] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
    for (stream, name) in [(out, "output"), (err, "progress")] {
        assert!(!stream.contains('\u{1b}'), "there are escape codes in the {name}, and no terminal");
    }
    assert!(err.contains("pairs set up: 0 of 1"), "{err}");
    for node in ["node0", "node1"] {
        assert!(std::path::Path::new(&folder).join(node).is_dir(), "the folder does not hold the store of {node}");
    }
    let again = quorate(&["demo", "--folder", &folder]);
    assert_eq!(again.status.code(), Some(2), "a folder is used once");
    assert!(text(&again.stderr).contains("it is not empty"));
}
