//! What a run is to be: a pure function of its seed.

use std::time::Duration;

use quorate::ids::{Scheme, Threshold};
use quorate::signing::OnPeerFailure;
use quorate::testing::ActorName;
use quorate::transport::memory::Conditions;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// How long clients ask and faults strike, in virtual time.
const LENGTH: Duration = Duration::from_secs(12);
/// The wallet that all nodes share from the beginning, with keys of all schemes.
pub const SHARED: &str = "shared";
/// The wallet that only the bystanders hold, of Ed25519.
pub const ASIDE: &str = "aside";
/// The nodes that hold [`ASIDE`].
pub const BYSTANDERS: [usize; 2] = [0, 1];

/// A run, before it is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    /// How many nodes there are: 3 to 7.
    pub parties: u8,
    /// How many must sign: a majority at least.
    pub signers: u8,
    pub on_peer_failure: OnPeerFailure,
    /// The network while faults strike.
    pub network: Conditions,
    /// The first two nodes and the way between them are spared from all faults.
    pub bystanders: bool,
    /// What clients ask, by the time at which they do.
    pub asks: Vec<(Duration, usize, Ask)>,
    /// What goes wrong, by the time at which it does.
    pub strikes: Vec<(Duration, Strike)>,
    /// When the faults end.
    pub length: Duration,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    Sign(SignAsk),
    Keygen { wallet: String, schemes: Vec<Scheme> },
}

/// A signature that a client wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignAsk {
    pub wallet: String,
    /// The request id.
    pub request: String,
    pub scheme: Scheme,
    pub path: Vec<u32>,
    /// Every byte of the message.
    pub content: u8,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// The node's process dies, with or without what its disk had not come to, and is started again later.
    Crash { node: usize, away: Duration, loses_waiting: bool },
    /// `to` hears nothing of `from`.
    Cut { from: usize, to: usize, lasts: Duration },
    /// Nobody hears the node, and it hears nobody.
    Isolate { node: usize, lasts: Duration },
    /// The node loses its broker, which knows it.
    Disconnect { node: usize, lasts: Duration },
    /// A write of the node's store goes wrong.
    Store { node: usize, fault: StoreFault },
    /// The node's disk takes this long for each group of writes.
    SlowDisk { node: usize, pause: Duration, lasts: Duration },
    /// The node is restarted with a clock that is wrong by this much.
    ClockJump { node: usize, by_ms: i64 },
    /// An actor panics when so many messages have been sent to its node.
    Panic { node: usize, actor: ActorName, after_messages: u32 },
    /// A link panics.
    PanicLink { node: usize, peer: usize },
    /// A signing session panics, if one runs.
    PanicSession { node: usize },
    /// The whole machine stands still, and nobody has noticed when it goes on.
    Halt { lasts: Duration },
    /// The node finds that it must not use its pair with the peer any more.
    Ban { node: usize, peer: usize },
}

/// How a write goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFault {
    /// The record is of the answers; of the shares otherwise.
    pub of_answers: bool,
    /// It strikes when all has been written, and before that otherwise.
    pub after_write: bool,
    /// How many such groups pass before.
    pub after_groups: u32,
    pub kind: StoreFaultKind,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFaultKind {
    /// The disk reports an error.
    Fail,
    /// The writer panics.
    Panic,
    /// The store's actor is killed, and answers nobody.
    Kill,
}

impl Plan {
    /// The run of a seed.
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(StdRng::seed_from_u64(seed));
        let parties: u8 = draw.one_of(&[3, 3, 3, 3, 4, 4, 5, 5, 7]);
        let majority = parties / 2 + 1;
        let most = draw.one_of(&[majority, majority, parties]);
        let signers = draw.between(majority, most);
        let on_peer_failure = if draw.chance(0.5) { OnPeerFailure::Retry } else { OnPeerFailure::Abort };
        let bystanders = draw.chance(0.4);
        let network = draw.network();
        // In one run out of eight nothing goes wrong that a client could notice.
        let quiet = seed % 8 == 0;
        let network = if quiet { Conditions { loss: 0.0, corruption: 0.0, ..network } } else { network };
        let mut strikes = if quiet { Vec::new() } else { draw.strikes(parties, bystanders) };
        let mut asks = draw.asks(parties, bystanders);
        if !quiet && draw.chance(0.6) {
            draw.ambush(&victims(parties, bystanders), parties, &mut asks, &mut strikes);
        }
        asks.sort();
        strikes.sort_by_key(|(at, _)| *at);
        let (length, seed) = (LENGTH, seed);
        Self { seed, parties, signers, on_peer_failure, network, bystanders, asks, strikes, length }
    }

    /// Its threshold.
    pub fn threshold(&self) -> Threshold {
        Threshold::new(self.signers, self.parties).unwrap()
    }

    /// Whether nothing but delays, duplicates and another order happens.
    pub fn is_quiet(&self) -> bool {
        self.strikes.is_empty() && self.network.loss == 0.0 && self.network.corruption == 0.0
    }
}

impl Strike {
    /// The nodes that it touches.
    pub fn nodes(&self, parties: u8) -> Vec<usize> {
        match *self {
            Self::Crash { node, .. }
            | Self::Isolate { node, .. }
            | Self::Disconnect { node, .. }
            | Self::Store { node, .. }
            | Self::SlowDisk { node, .. }
            | Self::ClockJump { node, .. }
            | Self::Panic { node, .. }
            | Self::PanicSession { node } => vec![node],
            Self::Cut { from, to, .. } => vec![from, to],
            Self::PanicLink { node, peer } | Self::Ban { node, peer } => vec![node, peer],
            Self::Halt { .. } => (0..usize::from(parties)).collect(),
        }
    }
}

/// The nodes that strikes may be aimed at.
fn victims(parties: u8, bystanders: bool) -> Vec<usize> {
    let first = if bystanders { BYSTANDERS.len() } else { 0 };
    (first..parties.into()).collect()
}

/// Draws by a seed.
struct Draw(StdRng);

impl Draw {
    fn chance(&mut self, chance: f64) -> bool {
        self.0.random_bool(chance)
    }

    fn between(&mut self, min: u8, max: u8) -> u8 {
        self.0.random_range(min..=max)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    fn ms(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(self.0.random_range(min..=max))
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        let at = self.below(of.len());
        of[at].clone()
    }

    fn network(&mut self) -> Conditions {
        let delayed = Conditions {
            duplication: 0.1,
            reordering: 0.1,
            late_by: Duration::from_millis(200),
            max_delay: self.ms(1, 40),
            ..Conditions::PERFECT
        };
        match self.below(10) {
            0..=2 => Conditions::PERFECT,
            3..=5 => delayed,
            _ => Conditions { loss: 0.01, corruption: 0.005, ..delayed },
        }
    }

    fn asks(&mut self, parties: u8, bystanders: bool) -> Vec<(Duration, usize, Ask)> {
        let mut asks: Vec<(Duration, usize, Ask)> = Vec::new();
        let mut wallets = vec![(SHARED.to_owned(), Scheme::ALL.to_vec())];
        let at_most = LENGTH.as_millis().try_into().unwrap();
        for number in 0..self.below(3) {
            let wallet = format!("made-{number}");
            let schemes = self.one_of(&[vec![Scheme::Ed25519], vec![Scheme::Bip340], Scheme::ALL.to_vec()]);
            let (at, node) = (self.ms(0, at_most / 2), self.below(parties.into()));
            asks.push((at, node, Ask::Keygen { wallet: wallet.clone(), schemes: schemes.clone() }));
            if self.chance(0.3) {
                let (later, other) = (self.ms(0, 500), self.below(parties.into()));
                asks.push((at + later, other, Ask::Keygen { wallet: wallet.clone(), schemes: schemes.clone() }));
            }
            wallets.push((wallet, schemes));
        }
        for _ in 0..self.below(9) + 6 {
            let signs: Vec<(Duration, SignAsk)> = asks
                .iter()
                .filter_map(|(at, _, ask)| match ask {
                    Ask::Sign(sign) if sign.wallet != ASIDE => Some((*at, sign.clone())),
                    _ => None,
                })
                .collect();
            let node = self.below(parties.into());
            if signs.is_empty() || self.chance(0.5) {
                let (wallet, schemes) = if self.chance(0.8) { wallets[0].clone() } else { self.one_of(&wallets) };
                // ECDSA costs the machine most.
                let scheme = if self.chance(0.3) { self.one_of(&schemes) } else { schemes[schemes.len() - 1] };
                let ask = SignAsk {
                    wallet,
                    request: format!("request-{}", asks.len()),
                    scheme,
                    path: (0..self.one_of(&[0, 0, 0, 1, 2])).map(|_| self.0.random_range(0..1 << 31)).collect(),
                    content: self.0.next_u32() as u8,
                };
                asks.push((self.ms(0, at_most), node, Ask::Sign(ask)));
            } else {
                let (at, mut ask) = self.one_of(&signs);
                if self.chance(0.5) {
                    ask.content = ask.content.wrapping_add(1);
                }
                let later = if self.chance(0.6) { self.ms(0, 60) } else { self.ms(0, 5000) };
                asks.push(((at + later).min(LENGTH), node, Ask::Sign(ask)));
            }
        }
        if bystanders {
            for number in 0..8 {
                let request = format!("aside-{number}");
                let (wallet, path, content) = (ASIDE.to_owned(), Vec::new(), number);
                let ask = SignAsk { wallet, request, scheme: Scheme::Ed25519, path, content };
                let (at, node) = (self.ms(0, at_most), self.one_of(&BYSTANDERS));
                asks.push((at, node, Ask::Sign(ask)));
            }
        }
        asks
    }

    /// A node dies while it takes part in a signature and its disk has not come to what it wrote; then somebody asks for
    /// another content under the same id.
    fn ambush(
        &mut self,
        victims: &[usize],
        parties: u8,
        asks: &mut Vec<(Duration, usize, Ask)>,
        strikes: &mut Vec<(Duration, Strike)>,
    ) {
        let node = self.one_of(victims);
        let coordinator = (node + 1 + self.below(usize::from(parties) - 1)) % usize::from(parties);
        let began = self.ms(500, 7000);
        let crashed = began + self.ms(0, 300);
        let away = self.ms(0, 500);
        let ask = |content| {
            let (wallet, request, path) = (SHARED.to_owned(), "ambush".to_owned(), Vec::new());
            Ask::Sign(SignAsk { wallet, request, scheme: Scheme::Ed25519, path, content })
        };
        let pause = self.ms(400, 1000);
        strikes.push((began, Strike::SlowDisk { node, pause, lasts: Duration::from_secs(1) }));
        asks.push((began + Duration::from_millis(1), coordinator, ask(1)));
        strikes.push((crashed + Duration::from_millis(2), Strike::Crash { node, away, loses_waiting: true }));
        asks.push((crashed + away + self.ms(1000, 2500), node, ask(2)));
    }

    fn strikes(&mut self, parties: u8, bystanders: bool) -> Vec<(Duration, Strike)> {
        let victims = victims(parties, bystanders);
        let at_most: u64 = LENGTH.as_millis().try_into().unwrap();
        let mut strikes = Vec::new();
        for _ in 0..self.below(5) + 1 {
            let at = self.ms(0, at_most);
            let node = self.one_of(&victims);
            let strike = self.strike(node, &victims, parties, bystanders);
            if matches!(strike, Strike::Ban { .. }) {
                // What a ban is worth shows in the next life.
                let crash = Strike::Crash { node, away: self.ms(0, 1000), loses_waiting: true };
                strikes.push(((at + self.ms(100, 3000)).min(LENGTH), crash));
            }
            strikes.push((at, strike));
        }
        strikes
    }

    fn strike(&mut self, node: usize, victims: &[usize], parties: u8, bystanders: bool) -> Strike {
        let other = (node + 1 + self.below(usize::from(parties) - 1)) % usize::from(parties);
        let lasts = self.ms(200, 6000);
        match self.below(if bystanders { 12 } else { 13 }) {
            0 | 1 => Strike::Crash { node, away: self.ms(0, 4000), loses_waiting: self.chance(0.7) },
            2 => Strike::Cut { from: node, to: other, lasts },
            3 => Strike::Isolate { node, lasts },
            4 => Strike::Disconnect { node, lasts },
            5 | 6 => Strike::Store { node, fault: self.store_fault() },
            7 => Strike::SlowDisk { node, pause: self.ms(50, 1000), lasts },
            8 => Strike::ClockJump { node, by_ms: self.one_of(&[-3_600_000, -2000, 2000, 86_400_000]) },
            9 => {
                let after_messages = self.0.random_range(0..200);
                Strike::Panic { node, actor: self.one_of(&ActorName::ALL), after_messages }
            }
            10 => self.between_victims(node, victims),
            11 => Strike::PanicSession { node },
            _ => Strike::Halt { lasts: self.ms(500, 5000) },
        }
    }

    /// A strike at a pair of nodes. A single victim has no other to pair with, and crashes.
    fn between_victims(&mut self, node: usize, victims: &[usize]) -> Strike {
        let others: Vec<usize> = victims.iter().copied().filter(|&other| other != node).collect();
        if others.is_empty() {
            return Strike::Crash { node, away: self.ms(0, 4000), loses_waiting: true };
        }
        let peer = self.one_of(&others);
        if self.chance(0.5) { Strike::PanicLink { node, peer } } else { Strike::Ban { node, peer } }
    }

    fn store_fault(&mut self) -> StoreFault {
        StoreFault {
            of_answers: self.chance(0.7),
            after_write: self.chance(0.4),
            after_groups: self.one_of(&[0, 0, 1, 2]),
            kind: self.one_of(&[StoreFaultKind::Fail, StoreFaultKind::Panic, StoreFaultKind::Kill]),
        }
    }
}

#[test]
fn plan__should_be_the_same_for_the_same_seed_and_keep_to_its_limits() {
    for seed in 0..300 {
        let plan = Plan::of(seed);
        assert_eq!(plan, Plan::of(seed));
        assert!((3..=7).contains(&plan.parties) && plan.signers > plan.parties / 2 && plan.signers <= plan.parties);
        let parties = usize::from(plan.parties);
        assert!(plan.asks.iter().all(|(at, node, _)| *at <= plan.length && *node < parties));
        for (at, strike) in &plan.strikes {
            let nodes = strike.nodes(plan.parties);
            assert!(*at <= plan.length && nodes.iter().all(|&node| node < parties), "{strike:?}");
            let spared = plan.bystanders && BYSTANDERS.iter().all(|node| nodes.contains(node));
            assert!(!spared, "seed {seed}: {strike:?}");
        }
    }
}
