//! What is claimed: which secrets are in memory, and how often, in each phase of a cluster's life.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use quorate::testing::witness::Kind;

use crate::child::NONCES;
use crate::process::Process;
use crate::scan::{Copies, Places, scan};

/// How long what was dropped may take until it is gone: other threads do that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many secrets of a kind are in memory, and how many copies of all of them.
type Count = (usize, usize);

/// What was found.
struct Found {
    copies: Copies,
    counts: BTreeMap<Kind, Count>,
    kinds: BTreeMap<Vec<u8>, Kind>,
}

impl Found {
    fn of(process: &Process) -> Self {
        let copies = scan(process.id(), &process.secrets);
        let mut counts = BTreeMap::new();
        for (secret, addresses) in &copies {
            let count: &mut Count = counts.entry(process.secrets[secret]).or_default();
            *count = (count.0 + 1, count.1 + addresses.len());
        }
        Self { copies, counts, kinds: process.secrets.clone() }
    }

    fn of_kind(&self, kind: Kind) -> BTreeSet<Vec<u8>> {
        self.copies.keys().filter(|secret| self.kinds[*secret] == kind).cloned().collect()
    }

    /// Where all of it is, for whoever has to find out why.
    fn report(&self, process: u32) -> String {
        let places = Places::of(process);
        let mut text = String::new();
        for (secret, addresses) in &self.copies {
            for address in addresses {
                let _ = writeln!(text, "{}: {}", self.kinds[secret], places.name(*address));
            }
        }
        text
    }
}

/// The nodes of the cluster.
const NODES: usize = 3;
/// The kinds of records, each with a sealing key, which stands in the key schedules of both directions of its cipher.
const FAMILIES: usize = 7;

impl Found {
    fn count(&self, kind: Kind) -> Count {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// Compares with what must be there: of all other kinds, there must be nothing. Says what is different.
    fn differs_from(&self, expected: &[(Kind, Count)]) -> Option<String> {
        let expected: BTreeMap<Kind, Count> = expected.iter().copied().collect();
        let mut text = String::new();
        for kind in Kind::ALL {
            let (found, claimed) = (self.count(kind), expected.get(&kind).copied().unwrap_or_default());
            // A processor without instructions for AES holds its keys in slices.
            let sliced = kind == Kind::SealingKey && found == (0, 0);
            if found != claimed && !sliced {
                let _ = writeln!(text, "{kind}: {found:?} instead of {claimed:?}");
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// What a cluster holds when nothing is at work, while `running` of its nodes run and the harness knows all of them.
fn at_rest(running: usize) -> Vec<(Kind, Count)> {
    let (linked, alone) = (running * running.saturating_sub(1) / 2, running * (NODES - running));
    vec![
        // For the next life of the store.
        (Kind::KeySource, (NODES, NODES)),
        // The seed of a node, and of each that runs the key for its links.
        (Kind::Identity, (NODES + running, NODES + running)),
        // Two to a link, at both ends.
        (Kind::LinkKey, (2 * linked, 4 * linked)),
        (Kind::SealingKey, (FAMILIES * running, 2 * FAMILIES * running)),
        // Of the secrets of a pair that are looked for, a half holds seven; both have five of them.
        (Kind::PairState, (9 * linked + 7 * alone, 14 * linked + 7 * alone)),
    ]
}

/// Looks until what is found is what is claimed, or the time is up.
fn check(process: &mut Process, phase: &str, claimed: impl Fn(&Found) -> Option<String>) -> Found {
    process.until(phase);
    let begun = Instant::now();
    loop {
        let found = Found::of(process);
        match claimed(&found) {
            None => {
                process.go_on();
                return found;
            }
            Some(differs) if begun.elapsed() > PATIENCE => {
                panic!("{phase}: {differs}\n{}", found.report(process.id()));
            }
            Some(_) => {}
        }
    }
}

/// How many of the links' keys that were in memory are there no longer.
fn replaced(before: &Found, after: &Found) -> usize {
    before.of_kind(Kind::LinkKey).difference(&after.of_kind(Kind::LinkKey)).count()
}

#[test]
fn memory__should_hold_secrets_only_where_they_must_live() {
    let mut process = Process::start("everything", None);
    let resting = |found: &Found| found.differs_from(&at_rest(NODES));
    check(&mut process, "ready", resting);
    check(&mut process, "keygen", resting);
    check(&mut process, "signed", resting);
    check(&mut process, "reshared", resting);

    check(&mut process, "signing", |found| {
        // Three sessions of one node. The share of each key as it is stored, for another attempt; in FROST's key package,
        // tweaked for taproot; in ECDSA that of the session and the engine's. The nonces; a copy of one half of a pair.
        let at_work = [
            (Kind::KeyShare, (3, 3 + 3)),
            (Kind::SigningShare, (1, 1)),
            (Kind::Nonce, (NONCES, NONCES)),
            (Kind::PairState, (27, 42 + 7)),
        ];
        found.differs_from(&[at_rest(NODES).as_slice(), &at_work].concat())
    });
    for phase in ["peer-lost", "sessions-panicked", "ecdsa-panicked", "pair-setup-panicked", "signing-panicked"] {
        check(&mut process, phase, resting);
    }
    let before = check(&mut process, "keygen-panicked", resting);
    let linked_anew = check(&mut process, "link-panicked", resting);
    assert_eq!(replaced(&before, &linked_anew), 2, "the keys of one link");
    let after = check(&mut process, "others-panicked", resting);
    assert_eq!(replaced(&linked_anew, &after), 4, "the keys of the two links of one node");
    check(&mut process, "storage-panicked", resting);

    check(&mut process, "node-killed", |found| {
        // Whichever of the others begins the handshakes with it waits for an answer, with its own key, an ephemeral one and
        // one for what it has said. The latter two are known here if they are older than the phase's end.
        let (waiting, known) = (found.count(Kind::Identity).1.saturating_sub(5), found.count(Kind::Handshake).0);
        let mut expected = at_rest(NODES - 1);
        expected.extend([
            (Kind::Identity, (5, 5 + waiting)),
            (Kind::Handshake, (known, known)),
            (Kind::LinkKey, (2 + known, 4 + known)),
        ]);
        let too_many = known > waiting || waiting > NODES - 1;
        found.differs_from(&expected).or_else(|| too_many.then(|| format!("{waiting} handshakes, {known} known")))
    });
    check(&mut process, "stopped", |found| found.differs_from(&at_rest(0)));
    check(&mut process, "gone", |found| found.differs_from(&[]));
}

#[test]
fn scan__should_find_a_secret_of_any_kind_that_leaks() {
    for leak in [Kind::KeyShare, Kind::Dealt, Kind::LinkKey] {
        let mut process = Process::start("keygen", Some(leak));
        for phase in ["keygen", "gone"] {
            check(&mut process, phase, |found| {
                let secrets = found.kinds.values().filter(|kind| **kind == leak).count();
                let (leaked, copies) = found.count(leak);
                (secrets == 0 || leaked != secrets || copies < secrets).then(|| format!("{leaked} of {secrets} {leak}"))
            });
        }
    }
}
