//! The end of a wallet: what each member states when it has erased its shares, and the certificate of all statements.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{WalletCertificate, WalletRecord, members};
use crate::error::Code;
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, Generation, NodeId, Scheme, WalletId};
use crate::wire::codec::{self, CodecError};
use crate::wire::request::{DestroyRequest, RequestError};

/// The signature domain of statements.
const STATEMENT_DOMAIN: &str = "quorate/destruction/v1";
/// The only format of statements so far.
const STATEMENT_VERSION: u8 = 1;
/// The longest encoded statement, in bytes.
const MAX_STATEMENT_BYTES: usize = 1024;
/// The longest encoded certificate, in bytes: a request, the wallet's own certificate, and 32 statements.
pub const MAX_DESTRUCTION_BYTES: usize = 160 * 1024;

/// Why bytes are no certificate of a wallet's destruction.
#[derive(Debug, thiserror::Error)]
pub enum DestructionError {
    /// It does not decode, or is too long.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The request in it is none.
    #[error("failed to read the request to destroy the wallet: {0}")]
    Request(#[from] RequestError),
    /// The wallet's own certificate in it is not valid.
    #[error("failed to read the wallet's certificate: {0}")]
    Wallet(#[from] super::WalletError),
    /// The parts do not belong together.
    #[error("invalid certificate of destruction: {0}")]
    Rule(&'static str),
    /// A node's signature does not verify.
    #[error("the statement of node {0} does not verify")]
    Signature(NodeId),
}

impl DestructionError {
    /// Whose signature does not verify, where it is that.
    #[must_use]
    pub const fn signer(&self) -> Option<NodeId> {
        match self {
            Self::Signature(node) | Self::Wallet(super::WalletError::Signature(node)) => Some(*node),
            _ => None,
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Codec(_) => Code::DataCorruption,
            Self::Request(error) => error.code(),
            Self::Wallet(error) => error.code(),
            Self::Rule(_) | Self::Signature(_) => Code::ProtocolViolation,
        }
    }
}

/// What a node states: that it holds no share of the wallet any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    version: u8,
    /// The cluster.
    pub cluster: ClusterId,
    /// The wallet.
    pub wallet: WalletId,
    /// Names the request by its content.
    pub request: ByteArray<32>,
    /// Who states it.
    pub node: NodeId,
    /// The shares that it erased; none where it held none.
    pub erased: Vec<(Scheme, Generation)>,
    /// When, in milliseconds since the Unix epoch, by its own clock.
    pub destroyed_ms: u64,
}

/// A statement as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signed {
    statement: Statement,
    bytes: Vec<u8>,
    signature: [u8; 64],
}

/// A wallet's destruction: the request, what the wallet was, and the statements of the nodes that have carried it out. With
/// those of all members it is complete. It says everything that is needed to check it, but the keys of nodes, initiator and
/// authorizers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestructionCertificate {
    request: DestroyRequest,
    wallet: WalletCertificate,
    statements: BTreeMap<NodeId, Signed>,
}

/// The encoded form: everything byte for byte as it was signed.
#[derive(Serialize, Deserialize)]
struct Encoded {
    #[serde(with = "serde_bytes")]
    request: Vec<u8>,
    #[serde(with = "serde_bytes")]
    wallet: Vec<u8>,
    statements: Vec<EncodedStatement>,
}

#[derive(Serialize, Deserialize)]
struct EncodedStatement {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    signature: ByteArray<64>,
}

impl DestructionCertificate {
    /// The certificate without any statement yet.
    ///
    /// # Errors
    /// When the request is for another wallet, or for other keys than this one has.
    pub fn new(request: DestroyRequest, wallet: WalletCertificate) -> Result<Self, DestructionError> {
        let record = wallet.record();
        if record.wallet != *request.wallet() {
            return Err(DestructionError::Rule("the request is for another wallet"));
        }
        if !record.keys.iter().map(super::KeyRecord::public_key).eq(request.public_keys().iter().copied()) {
            return Err(DestructionError::Rule("the wallet has other keys than the request names"));
        }
        Ok(Self { request, wallet, statements: BTreeMap::new() })
    }

    /// The request.
    #[must_use]
    pub const fn request(&self) -> &DestroyRequest {
        &self.request
    }

    /// What the wallet was.
    #[must_use]
    pub fn record(&self) -> &WalletRecord {
        self.wallet.record()
    }

    /// What the nodes state, in the order of their ids.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements.values().map(|signed| &signed.statement)
    }

    /// Who has stated that it holds nothing of the wallet any more.
    #[must_use]
    pub fn stated(&self) -> BTreeSet<NodeId> {
        self.statements.keys().copied().collect()
    }

    /// The members of the wallet that have not.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<NodeId> {
        members(self.record()).into_iter().filter(|member| !self.statements.contains_key(member)).collect()
    }

    /// Whether all members have stated that they hold nothing of the wallet any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }

    /// Adds this node's statement.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn state(
        &mut self,
        identity: &NodeIdentity,
        erased: Vec<(Scheme, Generation)>,
        destroyed_ms: u64,
    ) -> Result<(), DestructionError> {
        let record = self.record();
        let statement = Statement {
            version: STATEMENT_VERSION,
            cluster: record.cluster.clone(),
            wallet: record.wallet.clone(),
            request: ByteArray::new(self.request.content_hash()),
            node: identity.id(),
            erased,
            destroyed_ms,
        };
        let bytes = codec::encode(&statement, MAX_STATEMENT_BYTES)?;
        let signature = identity.sign(STATEMENT_DOMAIN, &[&bytes]);
        self.statements.insert(identity.id(), Signed { statement, bytes, signature });
        Ok(())
    }

    /// Takes over what another certificate of the same destruction says and this one does not. Says whether anything was.
    pub fn merge(&mut self, other: &Self) -> bool {
        if other.request.content_hash() != self.request.content_hash()
            || other.record().cluster != self.record().cluster
        {
            return false;
        }
        let before = self.statements.len();
        for (&node, signed) in &other.statements {
            self.statements.entry(node).or_insert_with(|| signed.clone());
        }
        let later = other.record().succeeds(self.record());
        if later {
            self.wallet = other.wallet.clone();
        }
        later || self.statements.len() > before
    }

    /// Encodes the certificate.
    ///
    /// # Errors
    /// When it is too long.
    pub fn encode(&self) -> Result<Vec<u8>, DestructionError> {
        let statement =
            |signed: &Signed| EncodedStatement { bytes: signed.bytes.clone(), signature: signed.signature.into() };
        let encoded = Encoded {
            request: self.request.bytes().to_vec(),
            wallet: self.wallet.encode()?,
            statements: self.statements.values().map(statement).collect(),
        };
        Ok(codec::encode(&encoded, MAX_DESTRUCTION_BYTES)?)
    }

    /// The wallet that a certificate is of by its request, with no signature checked: for whoever has no peer book.
    ///
    /// # Errors
    /// When it does not decode.
    pub fn unverified_wallet(bytes: &[u8]) -> Result<WalletId, DestructionError> {
        let Encoded { request, .. } = codec::decode(bytes, MAX_DESTRUCTION_BYTES)?;
        Ok(DestroyRequest::parse(&request)?.wallet().clone())
    }

    /// Decodes a certificate, and checks every signature of a node in it. Whether the request is authorised is for a policy
    /// to say.
    ///
    /// # Errors
    /// When it is not one, or says what its parts do not.
    pub fn decode(bytes: &[u8], peers: &PeerBook) -> Result<Self, DestructionError> {
        let Encoded { request, wallet, statements } = codec::decode(bytes, MAX_DESTRUCTION_BYTES)?;
        let wallet = WalletCertificate::decode(&wallet, peers)?;
        let mut certificate = Self::new(DestroyRequest::parse(&request)?, wallet)?;
        for EncodedStatement { bytes, signature } in statements {
            certificate.add(bytes, signature.into_array(), peers)?;
        }
        Ok(certificate)
    }

    fn add(&mut self, bytes: Vec<u8>, signature: [u8; 64], peers: &PeerBook) -> Result<(), DestructionError> {
        let statement: Statement = codec::decode(&bytes, MAX_STATEMENT_BYTES)?;
        let (record, node) = (self.record(), statement.node);
        let is_of_this = statement.version == STATEMENT_VERSION
            && statement.cluster == record.cluster
            && statement.wallet == record.wallet
            && *statement.request == self.request.content_hash();
        if !is_of_this {
            return Err(DestructionError::Rule("a statement is of another destruction"));
        }
        if peers.verify(node, STATEMENT_DOMAIN, &[&bytes], &signature).is_err() {
            return Err(DestructionError::Signature(node));
        }
        if self.statements.insert(node, Signed { statement, bytes, signature }).is_some() {
            return Err(DestructionError::Rule("a node states it twice"));
        }
        Ok(())
    }
}

/// What the storage keys of destroyed wallets' certificates begin with, in the family of wallets. Wallet ids hold no NUL.
pub const TOMBSTONE_PREFIX: &[u8] = b"\0destroyed\0";

/// The storage key of a destroyed wallet's certificate of destruction, in the family of wallets.
#[must_use]
pub fn tombstone_key(wallet: &WalletId) -> Vec<u8> {
    [TOMBSTONE_PREFIX, wallet.as_str().as_bytes()].concat()
}

/// Whether a record of the family of wallets is that of a destroyed one.
#[must_use]
pub fn is_tombstone(key: &[u8]) -> bool {
    key.starts_with(TOMBSTONE_PREFIX)
}
