//! A step of a session, as it runs on a blocking thread: check payload signatures, feed the engine, sign the answers.
//!
//! The link has authenticated the sender already. The signature comes first all the same, since it is what may convict
//! him: a message that fails in an engine's oblivious-transfer checks tells its sender something of this node's secrets, and
//! bans him. Were the engine asked first, one who does not sign could ask it again and again, and never be banned.

use std::sync::Arc;

use crate::identity::{NodeIdentity, PeerBook};
use crate::ids::{NodeId, PartyIndex};
use crate::process::as_engine;
use crate::protocol::{Abort, Dropped, Outgoing, Party, Recipient};
use crate::secret::SecretBuffer;
use crate::session::SheetContext;

/// The signature domain of protocol payloads.
pub const PAYLOAD_DOMAIN: &str = "quorate/payload/v1";

/// What a payload signature covers besides its domain: session, round, sender, recipient (0 for everybody), payload.
#[must_use]
pub fn payload_digest_parts<'a>(sheet: &'a SheetContext, header: &'a [u8; 3], payload: &'a [u8]) -> [&'a [u8]; 3] {
    [&sheet.hash.0, header, payload]
}

/// The signed header of a payload.
fn header(round: u8, from: PartyIndex, to: Option<PartyIndex>) -> [u8; 3] {
    [round, from.get(), to.map_or(0, PartyIndex::get)]
}

/// A protocol message as it came out of a link.
pub(super) struct Incoming {
    pub from: NodeId,
    pub round: u8,
    pub to: Option<PartyIndex>,
    pub payload: SecretBuffer,
    pub signature: [u8; 64],
}

/// A message of the engine with this node's signature, ready to send.
pub(super) struct SignedOutgoing {
    pub message: Outgoing,
    pub signature: [u8; 64],
}

impl SignedOutgoing {
    /// The one party it is for, or everybody.
    pub fn recipient(&self) -> Option<PartyIndex> {
        match self.message.to {
            Recipient::All => None,
            Recipient::One(party) => Some(party),
        }
    }
}

/// Why a message had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("payload signature does not verify")]
    Signature,
    #[error("addressed to another party")]
    NotForUs,
    #[error(transparent)]
    Dropped(#[from] Dropped),
}

/// What a step led to.
pub(super) struct Stepped<O> {
    pub send: Vec<SignedOutgoing>,
    pub dropped: Vec<(NodeId, NotTaken)>,
    pub end: Option<Result<O, Abort>>,
}

/// An engine for a session, and what its first step led to, where it has taken that already.
pub struct Engine<O> {
    pub(super) party: Box<dyn Party<Output = O>>,
    pub(super) first: Option<Stepped<O>>,
}

impl<O> Engine<O> {
    /// Takes the first step of `party` here and now, for whoever has built it on the pool: the session, once it starts,
    /// need not go there for it. `None` where the node takes no part in the session of `sheet`.
    #[must_use]
    pub fn started(
        mut party: Box<dyn Party<Output = O>>,
        sheet: &Arc<SheetContext>,
        identity: &Arc<NodeIdentity>,
        peers: &Arc<PeerBook>,
    ) -> Option<Self> {
        let first = Seat::of(sheet, identity, peers)?.start(party.as_mut());
        Some(Self { party, first: Some(first) })
    }
}

impl<O> From<Box<dyn Party<Output = O>>> for Engine<O> {
    /// One that has not begun.
    fn from(party: Box<dyn Party<Output = O>>) -> Self {
        Self { party, first: None }
    }
}

/// Who this node is in the session, and whose messages it takes.
pub(super) struct Seat {
    pub me: PartyIndex,
    pub sheet: Arc<SheetContext>,
    pub identity: Arc<NodeIdentity>,
    pub peers: Arc<PeerBook>,
}

impl Seat {
    /// This node's seat, if it has one.
    pub fn of(sheet: &Arc<SheetContext>, identity: &Arc<NodeIdentity>, peers: &Arc<PeerBook>) -> Option<Self> {
        let me = sheet.sheet.index_of(identity.id())?;
        Some(Self { me, sheet: Arc::clone(sheet), identity: Arc::clone(identity), peers: Arc::clone(peers) })
    }

    /// Runs the engine's first step.
    pub fn start<O>(&self, party: &mut dyn Party<Output = O>) -> Stepped<O> {
        let mut stepped = Stepped { send: Vec::new(), dropped: Vec::new(), end: None };
        self.absorb(as_engine(|| party.start()), &mut stepped);
        stepped
    }

    /// Feeds messages to the engine until they are used up or the run ends.
    pub fn receive<O>(&self, party: &mut dyn Party<Output = O>, messages: Vec<Incoming>) -> Stepped<O> {
        let mut stepped = Stepped { send: Vec::new(), dropped: Vec::new(), end: None };
        for message in messages {
            if stepped.end.is_some() {
                break;
            }
            match self.admit(&message) {
                Ok(index) => match as_engine(|| party.receive(index, message.round, &message.payload)) {
                    Ok(progress) => {
                        if let Some(reason) = progress.dropped {
                            stepped.dropped.push((message.from, reason.into()));
                        }
                        self.absorb(Ok(progress), &mut stepped);
                    }
                    Err(abort) => stepped.end = Some(Err(abort)),
                },
                Err(reason) => stepped.dropped.push((message.from, reason)),
            }
        }
        stepped
    }

    /// Checks what the link cannot: that the sender sits in this session, speaks to us, and signed what it says.
    fn admit(&self, message: &Incoming) -> Result<PartyIndex, NotTaken> {
        let from = self.sheet.sheet.index_of(message.from).ok_or(Dropped::NotAParticipant)?;
        if message.to.is_some_and(|to| to != self.me) {
            return Err(NotTaken::NotForUs);
        }
        let header = header(message.round, from, message.to);
        let parts = payload_digest_parts(&self.sheet, &header, &message.payload);
        if self.peers.verify(message.from, PAYLOAD_DOMAIN, &parts, &message.signature).is_ok() {
            Ok(from)
        } else {
            Err(NotTaken::Signature)
        }
    }

    /// Adds what the engine answered.
    fn absorb<O>(&self, progress: Result<crate::protocol::Progress<O>, Abort>, stepped: &mut Stepped<O>) {
        match progress {
            Ok(progress) => {
                stepped.send.extend(progress.send.into_iter().map(|message| self.sign(message)));
                stepped.end = progress.output.map(Ok);
            }
            Err(abort) => stepped.end = Some(Err(abort)),
        }
    }

    fn sign(&self, message: Outgoing) -> SignedOutgoing {
        let to = match message.to {
            Recipient::All => None,
            Recipient::One(party) => Some(party),
        };
        let header = header(message.round, self.me, to);
        let parts = payload_digest_parts(&self.sheet, &header, &message.payload);
        let signature = self.identity.sign(PAYLOAD_DOMAIN, &parts);
        SignedOutgoing { message, signature }
    }
}
