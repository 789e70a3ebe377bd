//! What a run is to be: a pure function of its seed.

mod draw;

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::ids::{Scheme, Threshold};
use quorate::signing::OnPeerFailure;
use quorate::testing::ActorName;
use quorate::transport::memory::Conditions;

use crate::liar::{Liar, Lie};
use draw::{Draw, victims};

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
    /// Who lies until then.
    pub liar: Option<Liar>,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    Sign(SignAsk),
    Keygen {
        wallet: String,
        schemes: Vec<Scheme>,
    },
    /// New shares of [`SHARED`] for all nodes, under this name.
    Reshare {
        session: String,
        schemes: Vec<Scheme>,
        signers: u8,
    },
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
    /// The node's machine loses its power, and with it all that was not synced, and is started again later.
    PowerCut { node: usize, away: Duration },
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
    /// The node is backed up. That harms nobody.
    BackUp { node: usize },
    /// The node loses its disk, gets what its last backup holds on an empty one, and is started again later.
    Restore { node: usize, away: Duration },
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

impl Ask {
    /// The same under names of its own.
    fn renamed(self, name: &str) -> Self {
        let rename = |old: String| if [SHARED, ASIDE].contains(&old.as_str()) { old } else { format!("{old}-{name}") };
        match self {
            Self::Sign(SignAsk { wallet, request, scheme, path, content }) => {
                let request = format!("{request}-{name}");
                Self::Sign(SignAsk { wallet: rename(wallet), request, scheme, path, content })
            }
            Self::Keygen { wallet, schemes } => Self::Keygen { wallet: rename(wallet), schemes },
            Self::Reshare { session, schemes, signers } => {
                Self::Reshare { session: format!("{session}-{name}"), schemes, signers }
            }
        }
    }
}

impl Plan {
    /// The run of a seed.
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw::by(seed);
        let parties: u8 = draw.one_of(&[3, 3, 3, 3, 4, 4, 5, 5, 7]);
        let majority = parties / 2 + 1;
        let most = draw.one_of(&[majority, majority, parties]);
        let signers = draw.between(majority, most);
        let on_peer_failure = if draw.chance(0.5) { OnPeerFailure::Retry } else { OnPeerFailure::Abort };
        let bystanders = draw.chance(0.4);
        let network = draw.network();
        // In one run out of eight nothing goes wrong that a client could notice.
        let quiet = seed.is_multiple_of(8);
        let network = if quiet { draw.delayed(20) } else { network };
        let mut strikes = if quiet { Vec::new() } else { draw.strikes(parties, bystanders) };
        let mut asks = draw.asks(parties, bystanders);
        if quiet {
            draw.duels(parties, &mut asks);
        } else if draw.chance(0.6) {
            draw.ambush(&victims(parties, bystanders), parties, &mut asks, &mut strikes);
        }
        draw.power_cuts(&mut strikes);
        draw.reshares(parties, &mut asks);
        asks.sort();
        strikes.sort_by_key(|(at, _)| *at);
        let (length, seed) = (LENGTH, seed);
        Self { seed, parties, signers, on_peer_failure, network, bystanders, asks, strikes, length, liar: None }
    }

    /// The run of a seed in which nothing goes wrong but that a member lies.
    pub fn with_liar(seed: u64) -> Self {
        /// How many ways to lie a liar has.
        const LIES: usize = 3;
        let mut draw = Draw::by(seed);
        let parties: u8 = draw.one_of(&[3, 3, 4, 5]);
        let signers = draw.between(parties / 2 + 1, parties);
        let on_peer_failure = if draw.chance(0.5) { OnPeerFailure::Retry } else { OnPeerFailure::Abort };
        let network = if draw.chance(0.5) { Conditions::PERFECT } else { draw.delayed(1) };
        let mut asks = draw.asks(parties, true);
        asks.extend(draw.asks(parties, false).into_iter().map(|(at, node, ask)| (at, node, ask.renamed("more"))));
        asks.sort();
        let node = draw.one_of(&victims(parties, true));
        // Some tens of seeds have all of them.
        let first = usize::try_from(seed).unwrap() * LIES;
        let lies = (first..first + LIES).map(|at| Lie::ALL[at % Lie::ALL.len()]).collect();
        let liar = Some(Liar { node, lies, chance: draw.one_of(&[0.1, 0.3, 1.0]), seed });
        let (length, strikes) = (LENGTH, Vec::new());
        Self { seed, parties, signers, on_peer_failure, network, bystanders: true, asks, strikes, length, liar }
    }

    /// The run of a seed in which a node comes back out of a backup, which may be older than reshares of the shared wallet;
    /// in half of them, other things go wrong besides.
    ///
    /// Any t of the others can go on, so that what the backup does not hold can be dealt again. A restored node has
    /// forgotten what was made and answered since its backup: no wallets are made then, and each id is asked for once.
    pub fn with_restore(seed: u64) -> Self {
        let mut draw = Draw::by(seed);
        let parties: u8 = draw.one_of(&[3, 3, 4, 5]);
        let signers = draw.between(parties / 2 + 1, parties - 1);
        let on_peer_failure = if draw.chance(0.5) { OnPeerFailure::Retry } else { OnPeerFailure::Abort };
        let network = if draw.chance(0.5) { Conditions::PERFECT } else { draw.delayed(1) };
        let mut requests = BTreeSet::new();
        let mut is_taken = |ask: &Ask| match ask {
            Ask::Sign(sign) => sign.wallet == SHARED && requests.insert(sign.request.clone()),
            Ask::Keygen { .. } | Ask::Reshare { .. } => false,
        };
        let mut asks = draw.asks(parties, false);
        asks.retain(|(_, _, ask)| is_taken(ask));
        let mut strikes = if draw.chance(0.5) { draw.strikes(parties, false) } else { Vec::new() };
        draw.restore(parties, &mut asks, &mut strikes);
        asks.sort();
        strikes.sort_by_key(|(at, _)| *at);
        let (length, bystanders) = (LENGTH, false);
        Self { seed, parties, signers, on_peer_failure, network, bystanders, asks, strikes, length, liar: None }
    }

    /// Whether a node is to come back out of a backup.
    pub fn restores(&self) -> bool {
        self.strikes.iter().any(|(_, strike)| matches!(strike, Strike::Restore { .. }))
    }

    /// Its threshold.
    pub fn threshold(&self) -> Threshold {
        Threshold::new(self.signers, self.parties).unwrap()
    }
}

impl Strike {
    /// What kind of strike it is.
    pub fn kind(&self) -> String {
        let name = format!("{self:?}");
        name.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The nodes that it touches.
    pub fn nodes(&self, parties: u8) -> Vec<usize> {
        match *self {
            Self::Crash { node, .. }
            | Self::PowerCut { node, .. }
            | Self::Isolate { node, .. }
            | Self::Disconnect { node, .. }
            | Self::Store { node, .. }
            | Self::SlowDisk { node, .. }
            | Self::ClockJump { node, .. }
            | Self::Panic { node, .. }
            | Self::BackUp { node }
            | Self::Restore { node, .. }
            | Self::PanicSession { node } => vec![node],
            Self::Cut { from, to, .. } => vec![from, to],
            Self::PanicLink { node, peer } | Self::Ban { node, peer } => vec![node, peer],
            Self::Halt { .. } => (0..usize::from(parties)).collect(),
        }
    }
}

#[test]
fn plan__should_be_the_same_for_the_same_seed_and_keep_to_its_limits() {
    let mut kinds = BTreeSet::new();
    for seed in 0..300 {
        let plan = Plan::of(seed);
        assert_eq!(plan, Plan::of(seed));
        assert!((3..=7).contains(&plan.parties) && plan.signers > plan.parties / 2 && plan.signers <= plan.parties);
        let parties = usize::from(plan.parties);
        assert!(plan.asks.iter().all(|(at, node, _)| *at <= plan.length && *node < parties));
        for (at, strike) in &plan.strikes {
            kinds.insert(strike.kind());
            let nodes = strike.nodes(plan.parties);
            assert!(*at <= plan.length && nodes.iter().all(|&node| node < parties), "{strike:?}");
            let spared = plan.bystanders && BYSTANDERS.iter().all(|node| nodes.contains(node));
            assert!(!spared, "seed {seed}: {strike:?}");
        }
    }
    assert_eq!(kinds.len(), 13, "{kinds:?}");
}

#[test]
fn plan_with_a_restore__should_be_the_same_for_the_same_seed_and_back_up_before_it_restores() {
    for seed in 0..100 {
        let plan = Plan::with_restore(seed);
        assert_eq!(plan, Plan::with_restore(seed));
        assert!(plan.signers > plan.parties / 2 && plan.signers < plan.parties, "any t of the others can go on");
        let times = |of: fn(&Strike) -> bool| plan.strikes.iter().filter(move |(_, s)| of(s)).map(|(at, _)| *at);
        let backed_up = times(|strike| matches!(strike, Strike::BackUp { .. })).min().unwrap();
        let restored: Vec<Duration> = times(|strike| matches!(strike, Strike::Restore { .. })).collect();
        assert!(restored.len() == 1 && backed_up < restored[0] && restored[0] < plan.length);
        for (_, _, ask) in &plan.asks {
            let possible = |ask: &Ask| !matches!(ask, Ask::Reshare { signers, .. } if *signers >= plan.parties);
            assert!(possible(ask), "{ask:?}");
        }
    }
}
