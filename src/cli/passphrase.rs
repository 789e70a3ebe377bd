//! Passphrases for keys at rest: from a file, or asked for on the terminal.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::anyhow;
use zeroize::Zeroizing;

use super::Failed;
use crate::config::read_passphrase_file;
use crate::secret::SecretBytes;

/// Whoever has the file can try passphrases: below this, trying is quick.
const MIN_CHARS: usize = 12;
/// A passphrase of few different characters is guessed early.
const MIN_DIFFERENT_CHARS: usize = 5;
const MAX_BYTES: usize = 4_096;

/// Why a passphrase is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Weak {
    #[error("the passphrase is shorter than {MIN_CHARS} characters: take a longer one, such as five random words")]
    Short,
    #[error("the passphrase is longer than {MAX_BYTES} bytes")]
    Long,
    #[error("the passphrase has fewer than {MIN_DIFFERENT_CHARS} different characters: take one that is hard to guess")]
    Monotonous,
    #[error("the passphrase is not UTF-8 text: other tools could not open the key")]
    NotText,
}

/// The passphrase for a new key: what `file` holds, or else what is typed twice.
pub(super) fn new_passphrase(file: Option<&Path>) -> Result<SecretBytes, Failed> {
    new_passphrase_at("--password-file", file, "Passphrase for the new key: ")
}

/// A new passphrase: what `file` holds, which the flag `name` names, or else what is typed twice at `prompt`.
pub(super) fn new_passphrase_at(name: &'static str, file: Option<&Path>, prompt: &str) -> Result<SecretBytes, Failed> {
    let passphrase = match file {
        Some(path) => read_passphrase_file(name, path)?,
        None => typed_twice(prompt)?,
    };
    match check(&passphrase) {
        Ok(()) => Ok(passphrase),
        Err(weak) => Err(Failed::Usage(weak.into())),
    }
}

fn typed_twice(prompt: &str) -> Result<SecretBytes, Failed> {
    let passphrase = typed(prompt)?;
    // Said before it has to be typed again.
    check(&passphrase).map_err(|weak| Failed::Usage(weak.into()))?;
    let again = typed("The same again: ")?;
    if passphrase.expose() != again.expose() {
        return Err(Failed::Usage(anyhow!("the two passphrases differ: nothing was changed")));
    }
    Ok(passphrase)
}

/// What is typed at `prompt`, without showing it.
pub(super) fn typed(prompt: &str) -> Result<SecretBytes, Failed> {
    match rpassword::prompt_password(prompt) {
        Ok(text) => Ok(SecretBytes::copy_from(Zeroizing::new(text).as_bytes())),
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(Failed::Interrupted),
        Err(error) => {
            let advice = "failed to ask for a passphrase: without a terminal, use --password-file";
            Err(Failed::Usage(anyhow::Error::new(error).context(advice)))
        }
    }
}

fn check(passphrase: &SecretBytes) -> Result<(), Weak> {
    let text = std::str::from_utf8(passphrase.expose()).map_err(|_| Weak::NotText)?;
    if text.chars().count() < MIN_CHARS {
        return Err(Weak::Short);
    }
    if text.len() > MAX_BYTES {
        return Err(Weak::Long);
    }
    if text.chars().collect::<BTreeSet<_>>().len() < MIN_DIFFERENT_CHARS {
        return Err(Weak::Monotonous);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrase__should_be_long_enough_and_not_monotonous() {
        let check = |bytes: &[u8]| super::check(&SecretBytes::copy_from(bytes));
        for (bytes, expected) in [
            (&b"correct horse"[..], Ok(())),
            ("ÄÖÜßäöüéèêñç".as_bytes(), Ok(())),
            (b"elevenchars", Err(Weak::Short)),
            ("ÄÖÜßäö".as_bytes(), Err(Weak::Short)),
            (b"abcdabcdabcdabcd", Err(Weak::Monotonous)),
            (b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4", Err(Weak::NotText)),
            (&b"abcdefgh".repeat(513), Err(Weak::Long)),
        ] {
            assert_eq!(check(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
