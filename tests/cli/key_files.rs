//! Private keys under a passphrase.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use quorate::identity::{NodeIdentity, RequestKeyFiles};
use quorate::secret::SecretBytes;

use crate::{done, refused_in};

const PASSPHRASE: &str = "five words nobody would guess";

#[test]
fn encrypted_keys__should_open_with_the_passphrase_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    done(path, &["generate-peers", "-n", "2"]);
    let sealed = ["-e", "--password-file", "passphrase"];
    done(path, &[&["generate-identity", "--node", "node0"], &sealed[..]].concat());
    done(path, &[&["generate-initiator", "-a", "p256"], &sealed[..]].concat());
    done(path, &[&["generate-authorizer", "-n", "alice"], &sealed[..]].concat());

    let right = SecretBytes::copy_from(PASSPHRASE.as_bytes());
    let wrong = SecretBytes::copy_from(b"six words nobody would guess");
    let node = "node0".parse().unwrap();
    let identity = NodeIdentity::load(&path.join("identity"), &node, Some(&right)).unwrap();
    assert_eq!(identity.name(), &node);
    assert!(NodeIdentity::load(&path.join("identity"), &node, Some(&wrong)).is_err());
    let initiator = RequestKeyFiles::initiator(path, &"event_initiator".parse().unwrap());
    let authorizer = RequestKeyFiles::authorizer(path, &"alice".parse().unwrap());
    for files in [initiator, authorizer] {
        assert_eq!(files.load(Some(&right)).unwrap().public(), files.load_public().unwrap());
    }
    for (sealed, plain) in [
        ("identity/node0_private.key.age", "identity/node0_private.key"),
        ("event_initiator.key.age", "event_initiator.key"),
        ("alice.authorizer.key.age", "alice.authorizer.key"),
    ] {
        assert_eq!(fs::metadata(path.join(sealed)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read(path.join(sealed)).unwrap().starts_with(b"age-encryption.org/v1\n-> scrypt "));
        assert!(!path.join(plain).exists(), "{plain}");
    }
    // A key in either form stands in the way of another.
    refused_in(path, &["generate-initiator"], "event_initiator.key.age exists already");
}

#[test]
fn passphrase__should_be_good_enough_and_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (content, says) in [
        (&b"short"[..], "shorter than 12"),
        (b"aaaaaaaaaaaaaaaaaaaa", "different characters"),
        (b"\n", "empty"),
        (b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4", "not UTF-8"),
    ] {
        fs::write(path.join("passphrase"), content).unwrap();
        refused_in(path, &["generate-initiator", "-e", "--password-file", "passphrase"], says);
    }
    refused_in(path, &["generate-initiator", "-e", "--password-file", "nowhere"], "nowhere");
    let left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["passphrase"], "nothing was written");
}
