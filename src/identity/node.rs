//! This node's own identity.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key_file::{read_json, read_private, refuse_existing, write_json, write_private};
use super::timestamp::now_rfc3339;
use super::{Existing, IdentityError, Member, Protection, SavedFiles};
use crate::ids::{NodeId, NodeName};
use crate::secret::SecretBytes;
use crate::stack::wiped_after;
#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};
use crate::wire::transcript::Transcript;

/// A node's name, id and Ed25519 signing key. The key lies on the heap and is wiped when dropped.
pub struct NodeIdentity {
    name: NodeName,
    id: NodeId,
    key: Box<SigningKey>,
}

impl NodeIdentity {
    /// A fresh identity from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn generate(name: NodeName, id: NodeId) -> Result<Self, IdentityError> {
        let seed = SecretBytes::random(32).map_err(|_| IdentityError::Random)?;
        let seed = <&[u8; 32]>::try_from(seed.expose()).map_err(|_| IdentityError::Random)?;
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::Identity, seed);
        Ok(Self { name, id, key: Box::new(SigningKey::from_bytes(seed)) })
    }

    /// Loads `<name>_identity.json` and `<name>_private.key`, or with a passphrase `<name>_private.key.age`.
    ///
    /// # Errors
    /// When a file is missing, breaks its rules or does not decrypt, or when the two do not belong together.
    pub fn load(directory: &Path, name: &NodeName, passphrase: Option<&SecretBytes>) -> Result<Self, IdentityError> {
        let member = load_public(directory, name)?;
        let (path, text) = read_private(&private_path(directory, name), passphrase)?;
        let invalid = |problem: &str| IdentityError::Content {
            path: path.clone(),
            problem: problem.to_owned(),
            fix: "restore the key file that belongs to the identity file",
        };
        let mut keypair = Zeroizing::new([0; 64]);
        hex::decode_to_slice(&*text, &mut *keypair)
            .map_err(|_| invalid("it is not 64 bytes of hex, the seed and then the public key"))?;
        let key = SigningKey::from_keypair_bytes(&keypair)
            .map_err(|_| invalid("its public half does not belong to its seed"))?;
        if key.verifying_key() != member.key {
            return Err(invalid("it belongs to another public key than the identity file's"));
        }
        Ok(Self { name: member.name, id: member.id, key: Box::new(key) })
    }

    /// Writes the two files of this identity into `directory`. The private key goes first, so that a public key is never
    /// published whose private key was not kept.
    ///
    /// # Errors
    /// When a file exists and is to be kept, or writing or encrypting fails.
    pub fn save(
        &self,
        directory: &Path,
        protection: Protection<'_>,
        existing: Existing,
    ) -> Result<SavedFiles, IdentityError> {
        let private = private_path(directory, &self.name);
        let public = public_path(directory, &self.name);
        refuse_existing(&private, existing)?;
        refuse_existing(&public, existing)?;
        let keypair = Zeroizing::new(self.key.to_keypair_bytes());
        let mut text = Zeroizing::new(vec![0; 128]);
        hex::encode_to_slice(keypair.as_slice(), &mut text)
            .map_err(|_| IdentityError::Encrypt("a key has 64 bytes"))?;
        let private = write_private(&private, &text, protection, existing)?;
        let file = IdentityFile {
            node_name: self.name.to_string(),
            node_id: self.id.to_string(),
            public_key: hex::encode(self.key.verifying_key().as_bytes()),
            created_at: now_rfc3339(),
        };
        write_json(&public, &file, existing)?;
        Ok(SavedFiles { public, private })
    }

    /// The node's name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// What a peer book says of this node.
    #[must_use]
    pub fn member(&self) -> Member {
        Member { name: self.name.clone(), id: self.id, key: self.key.verifying_key() }
    }

    /// Signs `parts` for the purpose that `domain` names: Ed25519 (RFC 8032) over a hash that binds the domain and the
    /// length of every part.
    #[must_use]
    pub fn sign(&self, domain: &str, parts: &[&[u8]]) -> [u8; 64] {
        wiped_after(|| self.key.sign(&signed_hash(domain, parts)).to_bytes())
    }

    /// The X25519 private key (32 bytes) that belongs to [`Member::link_key`]: the lower half of SHA-512 of the seed, as
    /// RFC 8032, section 5.1.5 takes the scalar; X25519 clamps it in the same way.
    #[must_use]
    pub fn link_secret(&self) -> SecretBytes {
        let secret = wiped_after(|| SecretBytes::copy_from(&*Zeroizing::new(self.key.to_scalar_bytes())));
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::Identity, secret.expose());
        secret
    }
}

/// What a node's signature is over. Shared by signing and verifying.
pub(super) fn signed_hash(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    parts
        .iter()
        .fold(Transcript::new("quorate/node-signature/v1").field(domain.as_bytes()), |all, part| all.field(part))
        .finish()
}

/// Loads `<name>_identity.json`.
pub(super) fn load_public(directory: &Path, name: &NodeName) -> Result<Member, IdentityError> {
    let path = public_path(directory, name);
    let file: IdentityFile = read_json(&path)?;
    let invalid = |problem: &str| IdentityError::Content {
        path: path.clone(),
        problem: problem.to_owned(),
        fix: "generate the identity again, or copy the file from its node",
    };
    if file.node_name != name.as_str() {
        return Err(invalid("its node_name is another than the file's"));
    }
    let id = file.node_id.parse().map_err(|_| invalid("its node_id is not a UUID"))?;
    let mut key = [0; 32];
    hex::decode_to_slice(&file.public_key, &mut key).map_err(|_| invalid("its public_key is not 32 bytes of hex"))?;
    let key = VerifyingKey::from_bytes(&key)
        .ok()
        .filter(|key| !key.is_weak())
        .ok_or_else(|| invalid("its public_key is no Ed25519 key"))?;
    Ok(Member { name: name.clone(), id, key })
}

/// `<name>_identity.json`.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    node_name: String,
    node_id: String,
    public_key: String,
    created_at: String,
}

fn public_path(directory: &Path, name: &NodeName) -> PathBuf {
    directory.join(format!("{name}_identity.json"))
}

fn private_path(directory: &Path, name: &NodeName) -> PathBuf {
    directory.join(format!("{name}_private.key"))
}
