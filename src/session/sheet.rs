//! The agreement that a session runs on, as it is written, signed and opened.

use crate::error::{Code, Failure};
use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{ClusterId, NodeId, SessionId, SheetHash};
use crate::secret::SecretBytes;
use crate::wire::codec::CodecError;
use crate::wire::message::SessionBody;
use crate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};

/// The signature domain of sheets.
pub const SHEET_DOMAIN: &str = "quorate/sheet/v1";

/// What a coordinator decides of a new session.
pub struct Draft {
    /// What to do.
    pub task: Task,
    /// Who takes part, ascending by index.
    pub participants: Vec<Participant>,
    /// Counts the sessions for one request, from 1.
    pub attempt: u32,
    /// When it must be over, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
}

/// A sheet with its name, and the bytes and signature under which it was agreed.
#[derive(Debug)]
pub struct SheetContext {
    /// The sheet.
    pub sheet: Sheet,
    /// Its hash.
    pub hash: SheetHash,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// The coordinator's signature of it.
    pub signature: [u8; 64],
}

impl SheetContext {
    /// Writes and signs the sheet of a new session that this node coordinates, under a name that no other has.
    ///
    /// # Errors
    /// What the client is told: no randomness can be had, or the sheet is too long.
    pub fn draft(draft: Draft, cluster: &ClusterId, identity: &NodeIdentity) -> Result<Self, Failure> {
        let internal = || Failure::new(Code::Internal, "failed to draw a session id");
        let session = SecretBytes::random(32).map_err(|_| internal())?;
        let sheet = Sheet {
            version: SHEET_VERSION,
            cluster: cluster.clone(),
            session: SessionId(session.expose().try_into().map_err(|_| internal())?),
            task: draft.task,
            participants: draft.participants,
            coordinator: identity.id(),
            attempt: draft.attempt,
            deadline_ms: draft.deadline_ms,
        };
        Self::propose(sheet, identity).map_err(|error| Failure::new(Code::MsgValidation, error.to_string()))
    }

    /// Encodes and signs a sheet that this node coordinates.
    ///
    /// # Errors
    /// When it is too long.
    pub fn propose(sheet: Sheet, identity: &NodeIdentity) -> Result<Self, CodecError> {
        sheet.validate()?;
        let (bytes, hash) = sheet.seal()?;
        let signature = identity.sign(SHEET_DOMAIN, &[&hash.0]);
        Ok(Self { sheet, hash, bytes, signature })
    }

    /// Opens a proposal of `from`: it must be for the hash it came under, and signed by its coordinator, who must be
    /// the sender.
    ///
    /// # Errors
    /// The code to refuse with.
    pub fn open(
        from: NodeId,
        announced: SheetHash,
        bytes: Vec<u8>,
        signature: [u8; 64],
        peers: &PeerBook,
    ) -> Result<Self, Code> {
        let (sheet, hash) = Sheet::open(&bytes).map_err(|_| Code::MsgValidation)?;
        let genuine = hash == announced
            && sheet.coordinator == from
            && peers.verify(from, SHEET_DOMAIN, &[&hash.0], &signature).is_ok();
        if genuine { Ok(Self { sheet, hash, bytes, signature }) } else { Err(Code::ProtocolViolation) }
    }

    /// The proposal as it is sent.
    #[must_use]
    pub fn proposal(&self) -> SessionBody {
        SessionBody::Propose { sheet: self.bytes.clone(), signature: self.signature }
    }

    /// All participants but `me`.
    pub fn others(&self, me: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.sheet.participants.iter().map(|participant| participant.node).filter(move |&node| node != me)
    }
}
