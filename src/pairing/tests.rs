//! Which setup a session uses while one takes the place of another, and when setups are renewed.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::PairBook;
use crate::ids::{Epoch, NodeId};
use crate::protocol::pair::{PairState, testbed};

const MINUTE_MS: u64 = 60_000;
const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// The epochs of the setups in these tests.
const FORMER: Epoch = Epoch(1_000 * HOUR_MS);
const LATER: Epoch = Epoch(1_001 * HOUR_MS);

fn node(number: u8) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number)))
}

/// One half of the setup of an epoch.
fn setup(epoch: Epoch) -> PairState {
    let [half, _] = &testbed::established()[0];
    // The encoded form begins with the version and the epoch, and ends with a hash over all before it.
    let mut body = half.to_secret_bytes().unwrap().expose().to_vec();
    body.truncate(body.len() - 32);
    body[1..9].copy_from_slice(&epoch.0.to_be_bytes());
    let hash = Sha256::new_with_prefix(b"quorate/pair-state/v1").chain_update(&body).finalize();
    PairState::from_secret_bytes(&[&body[..], &hash[..]].concat()).unwrap()
}

/// The book of node 2, which holds `FORMER` with nodes 1 and 3, as they do.
fn book() -> PairBook {
    let mut book = PairBook::new(node(2), [1, 2, 3].map(node));
    for peer in [1, 3] {
        book.restore(node(peer), setup(FORMER));
        book.announced(node(peer), true, [FORMER].into());
    }
    book
}

/// The epoch that a session with node 3 uses.
fn used(book: &PairBook, deadline_ms: u64) -> Option<Epoch> {
    let states = book.states(&[node(3)].into(), deadline_ms).ok()?;
    states.get(&node(3)).map(|state| state.epoch())
}

/// The same, after a new setup with node 3.
fn renewed() -> PairBook {
    let mut book = book();
    let kept = book.kept(node(3));
    assert!(kept.is_some());
    book.hold(node(3), setup(LATER), kept, Instant::now());
    book
}

#[test]
fn session__should_use_the_setup_that_both_sides_decide_on_by_its_deadline() {
    let mut book = renewed();
    let in_force_ms = LATER.0 + 20 * MINUTE_MS;
    assert_eq!(used(&book, u64::MAX), Some(FORMER), "the peer has not announced the later one");
    book.announced(node(3), true, [FORMER, LATER].into());
    for (deadline_ms, expected) in [(0, FORMER), (in_force_ms - 1, FORMER), (in_force_ms, LATER), (u64::MAX, LATER)] {
        assert_eq!(used(&book, deadline_ms), Some(expected), "{deadline_ms}");
    }
    // What a node that cannot be reached at the moment holds is what it held.
    book.lost(node(3));
    assert_eq!((used(&book, 0), used(&book, u64::MAX)), (Some(FORMER), Some(LATER)));
    // A peer that has only one of them has the other use it.
    book.announced(node(3), true, [LATER].into());
    assert_eq!(used(&book, 0), Some(LATER));
    assert_eq!(book.held()[&node(3)], [FORMER, LATER].into());
    book.retire(node(3));
    assert_eq!((used(&book, 0), book.held()[&node(3)].clone()), (Some(LATER), [LATER].into()));
}

#[test]
fn former_setup__should_be_kept_only_where_both_hold_it_and_nobody_wants_it_gone() {
    let mut wanted = book();
    wanted.want(node(3));
    assert!(wanted.kept(node(3)).is_none(), "an operator wants another one at once");
    let mut lost = book();
    lost.announced(node(3), true, BTreeSet::new());
    assert!(lost.kept(node(3)).is_none(), "the peer has lost it");
    let mut away = book();
    away.lost(node(3));
    assert!(away.kept(node(3)).is_none());
    let mut banned = renewed();
    banned.ban(node(3));
    assert!(used(&banned, 0).is_none() && !banned.held().contains_key(&node(3)) && banned.with_former().is_empty());
    assert!(banned.kept(node(3)).is_none());
}

#[test]
fn former_setup__should_be_replaced_once_the_later_one_is_in_force_on_both_sides() {
    let mut book = renewed();
    let over_ms = LATER.0 + 21 * MINUTE_MS;
    assert!(book.replaced(u64::MAX).is_empty(), "the peer has not announced the later one");
    book.announced(node(3), true, [FORMER, LATER].into());
    assert!(book.replaced(over_ms - 1).is_empty());
    assert_eq!(book.replaced(over_ms), [node(3)]);
    book.lost(node(3));
    assert!(book.replaced(over_ms).is_empty(), "nobody knows");
    book.announced(node(3), true, [LATER].into());
    book.retire(node(3));
    assert!(book.replaced(u64::MAX).is_empty(), "once");
}

#[test]
fn setup__should_be_renewed_at_its_age_by_the_lower_id_and_later_by_the_other() {
    let (mut book, now) = (book(), Instant::now());
    let late_ms = FORMER.0 + HOUR_MS * 11 / 10;
    assert_eq!(book.aged(now, FORMER.0 + HOUR_MS - 1, HOUR), None);
    assert_eq!(book.aged(now, late_ms, HOUR), Some(node(3)), "node 1 is to begin the other one");
    assert!(book.due(now).is_empty(), "their epochs do not differ");
    assert_eq!(book.aged(now, FORMER.0 + HOUR_MS * 12 / 10, HOUR), Some(node(1)), "it did not");
    book.started(node(1));
    assert_eq!(book.aged(now, late_ms, HOUR), None, "one at a time");
    book.failed(node(1), now);
    book.lost(node(3));
    assert_eq!(book.aged(now, u64::MAX, HOUR), None, "after a pause");
    assert_eq!(book.aged(now + HOUR, u64::MAX, HOUR), Some(node(1)));
    book.ban(node(1));
    assert_eq!(book.aged(now + HOUR, u64::MAX, HOUR), None);
    // What the pauses are for is forgotten with the next good one.
    book.announced(node(3), true, [FORMER].into());
    book.hold(node(3), setup(LATER), None, now);
    assert_eq!(book.aged(now + HOUR, LATER.0 + HOUR_MS / 2, HOUR), None);
}

#[test]
fn setups__should_differ_by_their_latest_epochs() {
    let now = Instant::now();
    let mut book = PairBook::new(node(1), [1, 2].map(node));
    book.restore(node(2), setup(FORMER));
    book.announced(node(2), true, [FORMER].into());
    assert!(book.due(now).is_empty());
    book.announced(node(2), true, [FORMER, LATER].into());
    assert_eq!(book.due(now), [node(2)], "this one has not stored the later one");
    assert!(book.next_epoch(node(2), 0) > LATER);
}
