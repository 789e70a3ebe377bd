//! The files of initiators and authorizers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::key_file::{read_json, read_private, refuse_existing, write_json, write_private};
use super::timestamp::now_rfc3339;
use super::{Algorithm, Existing, IdentityError, Protection, RequestKey, RequestPublicKey, SavedFiles};
use crate::ids::NodeName;
use crate::secret::SecretBytes;

/// Where an initiator's or an authorizer's two files lie: `<stem>.identity.json` and `<stem>.key`, or encrypted
/// `<stem>.key.age`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKeyFiles {
    directory: PathBuf,
    stem: String,
    name: String,
    authorizer: bool,
}

impl RequestKeyFiles {
    /// The name that an initiator has if it is given none.
    pub const DEFAULT_INITIATOR: &'static str = "event_initiator";

    /// The files of the initiator `name`.
    #[must_use]
    pub fn initiator(directory: &Path, name: &NodeName) -> Self {
        Self { directory: directory.to_owned(), stem: name.to_string(), name: name.to_string(), authorizer: false }
    }

    /// The files of the authorizer `name`: their stem is `<name>.authorizer`.
    #[must_use]
    pub fn authorizer(directory: &Path, name: &NodeName) -> Self {
        Self {
            directory: directory.to_owned(),
            stem: format!("{name}.authorizer"),
            name: name.to_string(),
            authorizer: true,
        }
    }

    /// Loads the public key.
    ///
    /// # Errors
    /// When the identity file is missing or breaks its rules.
    pub fn load_public(&self) -> Result<RequestPublicKey, IdentityError> {
        let path = self.public_path();
        let file: IdentityFile = read_json(&path)?;
        let algorithm = file.algorithm.unwrap_or_default();
        RequestPublicKey::parse(algorithm, &file.public_key).map_err(|error| IdentityError::Content {
            path,
            problem: format!("its public_key is wrong: {error}"),
            fix: "generate the key again or restore the file",
        })
    }

    /// Loads the private key, with a passphrase from its encrypted form.
    ///
    /// # Errors
    /// When a file is missing, breaks its rules or does not decrypt, or when the two do not belong together.
    pub fn load(&self, passphrase: Option<&SecretBytes>) -> Result<RequestKey, IdentityError> {
        let public = self.load_public()?;
        let (path, text) = read_private(&self.private_path(), passphrase)?;
        let invalid = |problem: String| IdentityError::Content {
            path: path.clone(),
            problem,
            fix: "restore the key file that belongs to the identity file",
        };
        let key = RequestKey::parse(public.algorithm(), &text).map_err(|error| invalid(error.to_string()))?;
        if key.public() != public {
            return Err(invalid("it belongs to another public key than the identity file's".to_owned()));
        }
        Ok(key)
    }

    /// Writes both files, the private one first.
    ///
    /// # Errors
    /// When a file exists and is to be kept, or writing or encrypting fails.
    pub fn save(
        &self,
        key: &RequestKey,
        protection: Protection<'_>,
        existing: Existing,
    ) -> Result<SavedFiles, IdentityError> {
        refuse_existing(&self.private_path(), existing)?;
        refuse_existing(&self.public_path(), existing)?;
        let text = key.to_text().map_err(|error| IdentityError::Encrypt(error.0))?;
        let private = write_private(&self.private_path(), &text, protection, existing)?;
        let named = |yes: bool| yes.then(|| self.name.clone());
        let file = IdentityFile {
            node_name: named(!self.authorizer),
            name: named(self.authorizer),
            algorithm: Some(key.algorithm()),
            public_key: key.public().to_string(),
            created_at: now_rfc3339(),
            created_by: concat!("quorate ", env!("CARGO_PKG_VERSION")).to_owned(),
            machine_os: std::env::consts::OS.to_owned(),
            machine_name: String::new(),
        };
        let public = self.public_path();
        write_json(&public, &file, existing)?;
        Ok(SavedFiles { public, private })
    }

    fn public_path(&self) -> PathBuf {
        self.directory.join(format!("{}.identity.json", self.stem))
    }

    fn private_path(&self) -> PathBuf {
        self.directory.join(format!("{}.key", self.stem))
    }
}

/// `<stem>.identity.json`. Only the algorithm and the key mean anything to a node; the rest is for people.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    algorithm: Option<Algorithm>,
    public_key: String,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    machine_os: String,
    /// Always written empty: a file that is copied around needs not tell where it was made.
    #[serde(default)]
    machine_name: String,
}
