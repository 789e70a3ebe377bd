//! The simulation bites: each flaw of [`Flaw`] makes a checker complain.
//!
//! What cannot be seen here is seen elsewhere:
//!
//! | flaw | why not here | seen by |
//! |---|---|---|
//! | the echo round compares nothing | all nodes here are honest | `tests/adversary/keygen.rs`, the equivocating dealer |
//! | a node whose share has left gives way to another session | it asks what became of the first before its share leaves again | `signing::requests`, the table of `contest` |
//! | an abort does not wipe | a history holds no secrets | a scan of the process's memory |
//! | nobody asks what became of a request's earlier session | hundreds of seeds pass before one shows it | `src/signing/tests/inquiries.rs` |
//! | nobody asks for a handshake that got lost | the peer begins another soon, and clients are told of the loss | `responder__should_ask_for_a_handshake_again_until_it_has_keys` |

use quorate::sabotage::{Flaw, choose};

use crate::{checks, plan::Plan, run};

/// How many seeds are tried before a flaw counts as unnoticed.
const TRIES: u64 = 25;

/// Each flaw, the checkers of which one must complain, and the first seed that is tried: one that is known to show it soon.
const FLAWS: [(Flaw, &[&str], u64); 13] = [
    (Flaw::TakesReplays, &["nothing_twice"], 0),
    (Flaw::ForgetsBans, &["bans"], 21),
    (Flaw::ForgetsAdmissions, &["one_signature"], 21),
    (Flaw::IgnoresConflicts, &["one_signature", "verifies"], 0),
    (Flaw::ReleasesEarly, &["one_signature"], 7),
    (Flaw::IgnoresDeadlines, &["deadlines", "recovery"], 17),
    (Flaw::DropsDuplicateWaiters, &["ends"], 0),
    (Flaw::CertifiesWithoutAll, &["one_generation", "recovery"], 50),
    (Flaw::SetsAsideTooEarly, &["one_generation", "recovery"], 20),
    (Flaw::BlamesNobody, &["blame"], 3),
    (Flaw::WaitsInHandler, &["bystanders"], 1),
    (Flaw::NeverLinksAgain, &["recovery"], 5),
    (Flaw::SyncsNothing, &["one_signature", "bans", "one_generation", "recovery"], 0),
];

#[test]
fn simulation__should_notice_every_flaw() {
    let _alone = crate::alone();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let only = std::env::var("FLAW").ok();
    let mut unnoticed = Vec::new();
    for (flaw, by, known) in FLAWS {
        if only.as_ref().is_some_and(|only| *only != format!("{flaw:?}")) {
            continue;
        }
        let first = number("FIRST").unwrap_or(known);
        let seeds = first..first + number("TRIES").unwrap_or(TRIES);
        match seeds.clone().find_map(|seed| notices(flaw, by, seed)) {
            Some(what) => println!("{flaw:?}: {what}"),
            None => unnoticed.push((flaw, seeds)),
        }
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

/// What one of these checkers says of a seed's run with the flaw.
fn notices(flaw: Flaw, by: &[&str], seed: u64) -> Option<String> {
    let _flawed = choose(flaw);
    let history = run::run(Plan::of(seed));
    let found = checks::all(&history).into_iter();
    found
        .filter(|(checker, _)| by.contains(checker))
        .map(|(checker, what)| format!("seed {seed}, {checker}: {what}"))
        .next()
}
