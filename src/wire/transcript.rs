//! Hashing lists without ambiguity: every part is bound together with its length.

use sha2::{Digest, Sha256};

/// SHA-256 over a domain and a sequence of fields, each preceded by its length as 8 big-endian bytes. Two transcripts
/// have the same hash only if they have the same domain and the same fields.
pub struct Transcript(Sha256);

impl Transcript {
    /// Starts a transcript that is for `domain` and nothing else.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self(Sha256::new()).field(domain.as_bytes())
    }

    /// Adds one field.
    #[must_use]
    pub fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// The 32-byte hash of all that was added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    #[test]
    fn transcript__should_bind_the_borders_of_fields() {
        let hash = |fields: &[&str]| {
            fields.iter().fold(Transcript::new("test"), |all, field| all.field(field.as_bytes())).finish()
        };
        assert_eq!(hash(&["ab", "c"]), hash(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["abc"], &["ab", "c", ""], &["", "ab", "c"]] {
            assert_ne!(hash(&["ab", "c"]), hash(other), "{other:?}");
        }
        assert_ne!(Transcript::new("a").field(b"").finish(), Transcript::new("b").field(b"").finish());
    }
}
