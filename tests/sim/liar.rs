//! A member that lies: whatever its node says to others is bent, or joined by what no honest node says, before its links
//! seal it. What is bent is signed again, as the member would.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate::error::Code;
use quorate::identity::NodeIdentity;
use quorate::ids::{NodeId, PartyIndex, SessionId, SheetHash, Threshold};
use quorate::session::{PAYLOAD_DOMAIN, SHEET_DOMAIN};
use quorate::transport::{Forgery, Told};
use quorate::wire::codec;
use quorate::wire::message::{MAX_PEER_MESSAGE_BYTES, PeerMessage, SecretPayload, Service, SessionBody};
use quorate::wire::sheet::{Sheet, Task};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::plan::ASIDE;

/// How many messages a flood has.
const FLOOD: usize = 100;
/// How long a message is that is too long for every round.
const OVERSIZE: usize = 200 * 1024;

/// The least chance of a lie in a proposal, for who lies in proposals.
const PROPOSALS: f64 = 0.7;

/// A way to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// The message is not sent.
    Drop,
    /// It comes up to three seconds later.
    Delay,
    /// It comes three times.
    Duplicate,
    /// What is for everybody says something else to some.
    Equivocate,
    /// A bit of a protocol message flips.
    Garble,
    /// Half of a protocol message is missing.
    Truncate,
    /// A protocol message is very long.
    Oversize,
    /// A protocol message says that it is of another round.
    WrongRound,
    /// A message says that it is of another session.
    WrongSession,
    /// A protocol message for one party is passed off as one for another.
    WrongRecipient,
    /// A protocol message has a signature that is not the member's: somebody else's message.
    WrongSender,
    /// A protocol message is that of an earlier session, and that one comes again, too.
    Stale,
    /// A proposal is for another wallet.
    OtherWallet,
    /// Something in a proposal is not what honest coordinators write.
    WrongSheet,
    /// All sessions have the same id.
    PredictableId,
    /// A hundred messages of no session come with it.
    Flood,
    /// It also says that the session is over, through an honest member's fault.
    FalseAbort,
    /// It also refuses.
    FalseRefusal,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Drop,
        Self::Delay,
        Self::Duplicate,
        Self::Equivocate,
        Self::Garble,
        Self::Truncate,
        Self::Oversize,
        Self::WrongRound,
        Self::WrongSession,
        Self::WrongRecipient,
        Self::WrongSender,
        Self::Stale,
        Self::OtherWallet,
        Self::WrongSheet,
        Self::PredictableId,
        Self::Flood,
        Self::FalseAbort,
        Self::FalseRefusal,
    ];

    /// Whether it bends proposals and nothing else.
    fn is_of_proposals(self) -> bool {
        matches!(self, Self::OtherWallet | Self::WrongSheet | Self::PredictableId)
    }
}

/// Which member lies, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Liar {
    pub node: usize,
    pub lies: Vec<Lie>,
    /// The chance that a message is met by a lie.
    pub chance: f64,
    pub seed: u64,
}

/// What a liar has told so far: how often each lie.
pub type Lies = Arc<Mutex<BTreeMap<Lie, u64>>>;

/// The member's mouth.
struct Mouth {
    liar: Liar,
    identity: Arc<NodeIdentity>,
    /// Everybody, by index in the committee of all.
    everybody: Vec<NodeId>,
    random: StdRng,
    /// The last message of each round, of whatever session.
    earlier: BTreeMap<u8, PeerMessage>,
}

impl Liar {
    /// Bends what the node says as long as `lying` says so, and counts it in `told`.
    pub fn forgery(
        &self,
        identity: Arc<NodeIdentity>,
        everybody: Vec<NodeId>,
        lying: Arc<AtomicBool>,
        told: Lies,
    ) -> Forgery {
        let random = StdRng::seed_from_u64(self.seed);
        let mouth = Mouth { liar: self.clone(), identity, everybody, random, earlier: BTreeMap::new() };
        let mouth = Mutex::new(mouth);
        Forgery::by(move |to, message| {
            if !lying.load(Ordering::Relaxed) {
                return vec![plain(to, message)];
            }
            let mut mouth = mouth.lock().unwrap_or_else(PoisonError::into_inner);
            let (lie, messages) = mouth.say(to, message);
            if let Some(lie) = lie {
                *told.lock().unwrap_or_else(PoisonError::into_inner).entry(lie).or_default() += 1;
            }
            messages
        })
    }
}

fn plain(to: NodeId, message: PeerMessage) -> Told {
    Told { to, message, after: Duration::ZERO }
}

fn copy(message: &PeerMessage) -> PeerMessage {
    let bytes = codec::encode_secret(message, MAX_PEER_MESSAGE_BYTES).unwrap();
    codec::decode(&bytes, MAX_PEER_MESSAGE_BYTES).unwrap()
}

impl Mouth {
    /// What is said in place of a message, and by which lie, if it is one.
    fn say(&mut self, to: NodeId, message: PeerMessage) -> (Option<Lie>, Vec<Told>) {
        let before = match &message {
            PeerMessage::Session { body: SessionBody::Round { round, .. }, .. } => {
                self.earlier.insert(*round, copy(&message))
            }
            _ => None,
        };
        let proposes = matches!(message, PeerMessage::Session { body: SessionBody::Propose { .. }, .. });
        let of_proposals: Vec<Lie> = self.liar.lies.iter().copied().filter(|lie| lie.is_of_proposals()).collect();
        // There are few proposals among all messages: who lies in those, mostly does.
        let (lies, chance) = match proposes && !of_proposals.is_empty() {
            true => (of_proposals, self.liar.chance.max(PROPOSALS)),
            false => (self.liar.lies.clone(), self.liar.chance),
        };
        if !self.random.random_bool(chance) {
            return (None, vec![plain(to, message)]);
        }
        let lie = lies[self.random.random_range(0..lies.len())];
        let told = match lie {
            Lie::Drop => Vec::new(),
            Lie::Delay => {
                let after = Duration::from_millis(self.random.random_range(1..3000));
                vec![Told { to, message, after }]
            }
            Lie::Duplicate => {
                let late = Told { to, message: copy(&message), after: Duration::from_millis(50) };
                vec![plain(to, copy(&message)), plain(to, message), late]
            }
            Lie::Flood => {
                let mut flood: Vec<Told> = (0..FLOOD).map(|number| plain(to, self.junk(number))).collect();
                flood.push(plain(to, message));
                flood
            }
            _ => match message {
                PeerMessage::Session { service, session, body } => match self.bend(lie, service, session, body, before)
                {
                    Ok(bent) => bent.into_iter().map(|message| plain(to, message)).collect(),
                    Err(truth) => return (None, vec![plain(to, *truth)]),
                },
                other => return (None, vec![plain(to, other)]),
            },
        };
        (Some(lie), told)
    }

    /// Bends a message of a session. Gives it back where that lie does not fit it.
    fn bend(
        &mut self,
        lie: Lie,
        service: Service,
        session: SheetHash,
        body: SessionBody,
        earlier: Option<PeerMessage>,
    ) -> Result<Vec<PeerMessage>, Box<PeerMessage>> {
        let message = |body| PeerMessage::Session { service, session, body };
        match (lie, body) {
            (Lie::WrongSession, body) => {
                let session = SheetHash(std::array::from_fn(|_| self.random.next_u32() as u8));
                Ok(vec![PeerMessage::Session { service, session, body }])
            }
            (Lie::FalseAbort, body) => {
                let culprits = vec![self.honest()];
                let abort = SessionBody::Abort { code: Code::ProtocolViolation, culprits, round: 1 };
                Ok(vec![message(body), message(abort)])
            }
            (Lie::FalseRefusal, body) => {
                let code =
                    [Code::RequestConflict, Code::Internal, Code::ConcurrencyLimit][self.random.random_range(0..3)];
                Ok(vec![message(body), message(SessionBody::Refuse { code, answer: None })])
            }
            (Lie::OtherWallet | Lie::WrongSheet | Lie::PredictableId, SessionBody::Propose { sheet, .. }) => {
                let mut sheet = Sheet::open(&sheet).unwrap().0;
                self.bend_sheet(lie, &mut sheet);
                let (sheet, hash) = sheet.seal().unwrap();
                let signature = self.identity.sign(SHEET_DOMAIN, &[&hash.0]);
                let body = SessionBody::Propose { sheet, signature };
                Ok(vec![PeerMessage::Session { service, session: hash, body }])
            }
            (lie, SessionBody::Round { mut round, mut to, payload: SecretPayload(mut payload), mut signature }) => {
                let mut sign = true;
                let mut more = Vec::new();
                match (lie, earlier) {
                    (Lie::Equivocate, _) if to.is_some() || self.random.random_bool(0.5) => sign = false,
                    (Lie::Equivocate | Lie::Garble, _) => {
                        let at = self.random.random_range(0..payload.len());
                        payload[at] ^= 1 << self.random.random_range(0..8);
                    }
                    (Lie::Truncate, _) => {
                        let half = payload.len() / 2;
                        payload.truncate(half);
                    }
                    (Lie::Oversize, _) => payload = vec![0xee; OVERSIZE].into(),
                    (Lie::WrongRound, _) => round = if self.random.random_bool(0.5) { round + 1 } else { 200 },
                    (Lie::WrongRecipient, _) => {
                        let other = self.random.random_range(1..=self.everybody.len()) as u8;
                        to = Some(PartyIndex::try_from(other).unwrap());
                    }
                    (Lie::WrongSender, _) => {
                        signature[7] ^= 1;
                        sign = false;
                    }
                    (
                        Lie::Stale,
                        Some(PeerMessage::Session {
                            session: of, body: SessionBody::Round { payload: old, .. }, ..
                        }),
                    ) if of != session => {
                        payload.clone_from(&old.0);
                        more.extend(self.earlier.get(&round).map(copy));
                    }
                    _ => {
                        let payload = SecretPayload(payload);
                        return Err(Box::new(message(SessionBody::Round { round, to, payload, signature })));
                    }
                }
                if sign {
                    let me = self.everybody.iter().position(|node| *node == self.identity.id()).unwrap() as u8 + 1;
                    let header = [round, me, to.map_or(0, PartyIndex::get)];
                    signature = self.identity.sign(PAYLOAD_DOMAIN, &[&session.0, &header, &payload]);
                }
                more.push(message(SessionBody::Round { round, to, payload: SecretPayload(payload), signature }));
                Ok(more)
            }
            (_, body) => Err(Box::new(message(body))),
        }
    }

    fn bend_sheet(&mut self, lie: Lie, sheet: &mut Sheet) {
        match lie {
            Lie::PredictableId => sheet.session = SessionId([7; 32]),
            Lie::OtherWallet => {
                if let Task::Sign { wallet, .. } | Task::Keygen { wallet, .. } = &mut sheet.task {
                    *wallet = ASIDE.parse().unwrap();
                }
            }
            _ => match self.random.random_range(0..10) {
                0 => sheet.version = 2,
                1 => sheet.cluster = "other".parse().unwrap(),
                2 => sheet.deadline_ms += 3_600_000,
                3 => sheet.deadline_ms = 1,
                4 => sheet.participants.reverse(),
                5 => drop(sheet.participants.pop()),
                6 => sheet.coordinator = self.honest(),
                7 => sheet.participants.iter_mut().for_each(|one| one.node = self.everybody[0]),
                _ => match &mut sheet.task {
                    Task::Sign { message, request, threshold, .. } => match self.random.random_range(0..3) {
                        0 => message.iter_mut().for_each(|byte| *byte ^= 1),
                        1 => request.truncate(request.len() / 2),
                        _ => *threshold = Threshold::new(2, threshold.parties()).unwrap(),
                    },
                    Task::Keygen { schemes, request, .. } => {
                        schemes.truncate(1);
                        request.clear();
                    }
                    Task::PairSetup { epoch } => epoch.0 += 1000,
                    // Runs with a liar have no reshares and no check-ups.
                    Task::Reshare { .. } | Task::Prove { .. } | Task::Checkup { .. } => {}
                },
            },
        }
    }

    /// An honest member.
    fn honest(&mut self) -> NodeId {
        let others: Vec<NodeId> = self.everybody.iter().copied().filter(|node| *node != self.identity.id()).collect();
        others[self.random.random_range(0..others.len())]
    }

    /// A message of no session, properly signed where messages are.
    fn junk(&mut self, number: usize) -> PeerMessage {
        let session = SheetHash(std::array::from_fn(|_| self.random.next_u32() as u8));
        let service = [Service::Signing, Service::Keygen, Service::Pairing][number % 3];
        let body = match number % 4 {
            0 => SessionBody::Propose { sheet: vec![0x81; 500], signature: [1; 64] },
            1 => {
                let payload = SecretPayload(vec![3; 300].into());
                SessionBody::Round { round: 1, to: None, payload, signature: [2; 64] }
            }
            2 => SessionBody::Abort { code: Code::Internal, culprits: vec![self.honest(); 32], round: 255 },
            _ => SessionBody::RecordSigned { signature: [4; 64] },
        };
        PeerMessage::Session { service, session, body }
    }
}
