//! The draws of a plan.

use std::time::Duration;

use quorate::ids::Scheme;
use quorate::testing::ActorName;
use quorate::transport::memory::Conditions;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::{ASIDE, Ask, BYSTANDERS, LENGTH, SHARED, SignAsk, StoreFault, StoreFaultKind, Strike};

/// The nodes that strikes may be aimed at.
pub(super) fn victims(parties: u8, bystanders: bool) -> Vec<usize> {
    let first = if bystanders { BYSTANDERS.len() } else { 0 };
    (first..parties.into()).collect()
}

/// Draws by a seed.
pub(super) struct Draw(StdRng);

impl Draw {
    pub(super) fn by(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(super) fn chance(&mut self, chance: f64) -> bool {
        self.0.random_bool(chance)
    }

    pub(super) fn between(&mut self, min: u8, max: u8) -> u8 {
        self.0.random_range(min..=max)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    fn ms(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(self.0.random_range(min..=max))
    }

    pub(super) fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        let at = self.below(of.len());
        of[at].clone()
    }

    pub(super) fn delayed(&mut self, at_least_ms: u64) -> Conditions {
        Conditions {
            duplication: 0.1,
            reordering: 0.1,
            late_by: Duration::from_millis(200),
            max_delay: self.ms(at_least_ms, 40),
            ..Conditions::PERFECT
        }
    }

    pub(super) fn network(&mut self) -> Conditions {
        let delayed = self.delayed(1);
        match self.below(10) {
            0..=2 => Conditions::PERFECT,
            3..=5 => delayed,
            _ => Conditions { loss: 0.01, corruption: 0.005, ..delayed },
        }
    }

    pub(super) fn asks(&mut self, parties: u8, bystanders: bool) -> Vec<(Duration, usize, Ask)> {
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

    /// Two clients ask two nodes for the same signature, so close together that both coordinate it. The node whose session
    /// prevails is asked second, when the other's is under way.
    pub(super) fn duels(&mut self, parties: u8, asks: &mut Vec<(Duration, usize, Ask)>) {
        for number in 0..8 {
            let (wallet, request, path) = (SHARED.to_owned(), format!("duel-{number}"), Vec::new());
            let ask = Ask::Sign(SignAsk { wallet, request, scheme: Scheme::Bip340, path, content: number });
            let at = self.ms(0, 11_000);
            let first = 1 + self.below(usize::from(parties) - 1);
            let second = self.below(first);
            asks.push((at, first, ask.clone()));
            asks.push((at + self.ms(0, 60), second, ask));
        }
    }

    /// Some of the clients have the shared wallet's keys dealt anew, with the same threshold or another; sometimes two at
    /// once, or the same request twice.
    pub(super) fn reshares(&mut self, parties: u8, asks: &mut Vec<(Duration, usize, Ask)>) {
        for number in 0..self.below(4) {
            let schemes = self.one_of(&[vec![Scheme::Ed25519], vec![Scheme::Bip340], Scheme::ALL.to_vec()]);
            let signers = self.between(parties / 2 + 1, parties);
            let (at, node) = (self.ms(0, 11_000), self.below(parties.into()));
            let ask = Ask::Reshare { session: format!("reshare-{number}"), schemes, signers };
            if self.chance(0.3) {
                let (later, other) = (self.ms(0, 300), self.below(parties.into()));
                asks.push((at + later, other, ask.clone()));
            }
            asks.push((at, node, ask));
        }
    }

    /// A node is backed up, once or twice, the shared wallet's keys are dealt anew or not, and the node loses its disk.
    pub(super) fn restore(
        &mut self,
        parties: u8,
        asks: &mut Vec<(Duration, usize, Ask)>,
        strikes: &mut Vec<(Duration, Strike)>,
    ) {
        let node = self.below(parties.into());
        let backed_up = self.ms(500, 4000);
        strikes.push((backed_up, Strike::BackUp { node }));
        if self.chance(0.3) {
            strikes.push((backed_up + self.ms(500, 3000), Strike::BackUp { node }));
        }
        let mut reshares = Vec::new();
        self.reshares(parties, &mut reshares);
        for (_, _, ask) in &mut reshares {
            if let Ask::Reshare { signers, .. } = ask {
                *signers = (*signers).min(parties - 1);
            }
        }
        asks.append(&mut reshares);
        let lost = backed_up + self.ms(1000, 6000);
        strikes.push((lost, Strike::Restore { node, away: self.ms(0, 3000) }));
    }

    /// A node dies while it takes part in a signature and its disk has not come to what it wrote; then somebody asks for
    /// another content under the same id.
    pub(super) fn ambush(
        &mut self,
        victims: &[usize],
        parties: u8,
        asks: &mut Vec<(Duration, usize, Ask)>,
        strikes: &mut Vec<(Duration, Strike)>,
    ) {
        let node = self.one_of(victims);
        let coordinator = (node + 1 + self.below(usize::from(parties) - 1)) % usize::from(parties);
        let began = self.ms(500, 7000);
        // Before its part of the signature may leave, or after.
        let at_most = self.one_of(&[300, 2000]);
        let crashed = began + self.ms(0, at_most);
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

    pub(super) fn strikes(&mut self, parties: u8, bystanders: bool) -> Vec<(Duration, Strike)> {
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

    /// Makes crashes losses of power. Drawn after them, it changes nothing that a seed decides otherwise.
    pub(super) fn power_cuts(&mut self, strikes: &mut [(Duration, Strike)]) {
        for (_, strike) in strikes {
            if let Strike::Crash { node, away, loses_waiting: true } = *strike
                && self.chance(0.5)
            {
                *strike = Strike::PowerCut { node, away };
            }
        }
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
