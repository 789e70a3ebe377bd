//! What the program does with what it cannot use: an exit code, a message, and nothing else.

use std::path::Path;

use crate::{quorate, refused, text};

#[test]
fn transaction_file__should_be_refused_by_its_name_and_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let garbage = file("garbage", b"\xff\x00\xfe");
    let long = file("long", &vec![b'0'; 256 * 1024 + 1]);
    let empty = file("empty", b"");
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    let a_folder = folder.path().to_str().unwrap().to_owned();
    for option in ["--ethereum", "--bitcoin", "--solana"] {
        for (path, says) in [
            (&garbage, "it is not UTF-8 text"),
            (&long, "longer than 262144 bytes"),
            (&empty, "invalid"),
            (&missing, "No such file"),
            (&a_folder, "Is a directory"),
        ] {
            refused(&["demo", "--json", option, path], says);
            refused(&["demo", option, path], path);
        }
    }
    // Somebody else's output: no new wallet can spend it.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bitcoin-taproot-spend.json");
    let script = format!("\"5120{}\"", "79".repeat(32));
    let foreign = std::fs::read_to_string(example).unwrap().replace("\"wallet\"", &script);
    refused(&["demo", "--bitcoin", &file("foreign", foreign.as_bytes())], "spends an output of another key");
}

#[test]
fn cluster__should_be_refused_if_it_cannot_be() {
    for (args, says) in [
        (&["demo", "-n", "1"][..], "fewer than 2 signers"),
        (&["demo", "-n", "0"], "signers"),
        (&["demo", "-n", "33"], "more than 32 parties"),
        (&["demo", "-n", "3", "-t", "4"], "more signers than parties"),
        (&["demo", "-n", "3", "-t", "1"], "fewer than 2 signers"),
        (&["demo", "-n", "4", "-t", "2"], "policy.allow_minority_threshold"),
        (&["demo", "-n", "300"], "300"),
        (&["demo", "-n", "three"], "three"),
        (&["demo", "--folder", "/dev/null/below"], "/dev/null/below"),
        (&["demo", "--config", "/no-such-file.toml"], "/no-such-file.toml"),
        (&["conjure"], "conjure"),
        (&["generate-peers"], "--number"),
        (&["generate-peers", "-n", "1"], "between 2 and 32"),
        (&["generate-peers", "-n", "33"], "between 2 and 32"),
        (&["generate-peers", "-n", "-1"], "-1"),
        (&["generate-identity"], "--node"),
        (&["generate-identity", "--node", "a/b"], "node name"),
        (&["generate-identity", "--node", "n", "--password-file", "p"], "--encrypt"),
        (&["generate-initiator", "-a", "rsa"], "rsa"),
        (&["generate-authorizer"], "--name"),
        (&["register-peers", "--identity-dir"], "--identity-dir"),
        (&["config", "check", "-n", "a b"], "node name"),
        (&["completions", "csh"], "csh"),
        (&[], "Usage"),
    ] {
        refused(args, says);
    }
}

#[test]
fn config_check__should_name_the_faulty_key_or_print_the_rest_masked() {
    refused(&["config", "check"], "node.name");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let code = "0001".repeat(16);
    let config = format!(
        "[node]\nname = \"node0\"\n[cluster]\nchain_code = \"{code}\"\n[storage]\nkey_file = \"key\"\n\
         [policy.initiator]\npublic_key = \"{key}\"\n"
    );
    std::fs::write(&path, &config).unwrap();
    let path = path.to_str().unwrap();
    let output = quorate(&["config", "check", "--config", path]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.contains("cluster.threshold = 2") && out.contains(key), "{out}");
    assert!(!out.contains(&code), "{out}");
    std::fs::write(path, config.replace("node0", "no de")).unwrap();
    refused(&["config", "check", "--config", path], "node.name");
}

#[test]
fn version_and_help__should_be_answers() {
    for args in [["--version"], ["version"]] {
        let version = quorate(&args);
        assert!(version.status.success());
        assert_eq!(text(&version.stdout), format!("quorate {}\n", env!("CARGO_PKG_VERSION")));
    }
    let help = quorate(&["demo", "--help"]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("--ethereum"));
}

#[test]
fn completions__should_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = quorate(&["completions", shell]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        for command in ["generate-identity", "register-peers", "completions", "demo"] {
            assert!(text(&output.stdout).contains(command), "{shell} does not complete {command}");
        }
    }
}
