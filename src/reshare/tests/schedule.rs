//! When keys are due, and whose turn it is to begin.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{RECORD, node, nodes};
use crate::error::Code;
use crate::ids::{NodeId, Scheme, SheetHash, Threshold};
use crate::reshare::schedule::{Together, admitted, look_every, pause_after, together};
use crate::wallet::WalletRecord;

const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: u64 = 3_600_000;
/// When the keys of the record were dealt.
const DEALT_MS: u64 = 1_000 * HOUR_MS;

fn dated() -> WalletRecord {
    RECORD.clone().dealt_by(DEALT_MS)
}

/// All keys of the record, which have one committee.
fn keys() -> Together {
    let mut all = together(&dated());
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn keys__should_be_refreshed_together_when_members_and_threshold_are_the_same() {
    let all = keys();
    assert_eq!((all.schemes.as_slice(), all.nodes.clone()), (&Scheme::ALL[..], nodes(&[1, 2, 3])));
    assert_eq!((all.threshold, all.dealt_ms), (Threshold::new(2, 3).unwrap(), Some(DEALT_MS)));
    let mut record = dated();
    record.keys[1].dealt_ms = Some(DEALT_MS - 5);
    assert_eq!(together(&record)[0].dealt_ms, Some(DEALT_MS - 5), "the oldest counts");
    record.keys[2].dealt_ms = None;
    assert_eq!(together(&record)[0].dealt_ms, None);
    record.keys[0].committee[2].node = node(4);
    let groups: Vec<_> = together(&record).into_iter().map(|keys| keys.schemes).collect();
    assert_eq!(groups, [vec![Scheme::ALL[0]], Scheme::ALL[1..].to_vec()]);
}

#[test]
fn keys__should_be_due_after_their_period_and_a_part_of_it() {
    let (keys, wallet) = (keys(), "w".parse().unwrap());
    let overdue = |now_ms| keys.overdue_ms(&wallet, HOUR, now_ms);
    assert_eq!(overdue(DEALT_MS), None);
    assert_eq!(overdue(DEALT_MS + HOUR_MS - 1), None);
    assert!(overdue(DEALT_MS + HOUR_MS * 11 / 10).is_some(), "within a tenth");
    assert_eq!(overdue(0), None, "clocks may step back");
    let undated = Together { dealt_ms: None, ..keys.clone() };
    assert_eq!(undated.overdue_ms(&wallet, HOUR, 7), Some(7), "from before dates were kept");
    assert_eq!((undated.age(7), keys.age(DEALT_MS + 9)), (None, Some(Duration::from_millis(9))));
}

#[test]
fn wallets__should_come_due_one_after_the_other() {
    let keys = keys();
    let due = |number: u32| {
        let wallet = format!("wallet-{number}").parse().unwrap();
        DEALT_MS + HOUR_MS * 2 - keys.overdue_ms(&wallet, HOUR, DEALT_MS + HOUR_MS * 2).unwrap()
    };
    let moments: BTreeSet<u64> = (0..200).map(|number| due(number) / (HOUR_MS / 100)).collect();
    // Ten hundredths of the period follow it.
    assert!(moments.len() >= 10 && moments.iter().all(|&part| (100_100..=100_110).contains(&part)), "{moments:?}");
}

#[test]
fn members__should_take_turns_in_an_order_of_each_generation() {
    let (keys, record, look) = (keys(), dated(), Duration::from_secs(60));
    let turn = |record: &WalletRecord, minutes: u64| keys.turn(record, look, minutes * 60_000).unwrap();
    let order: Vec<NodeId> = [0, 5, 10].map(|minutes| turn(&record, minutes)).to_vec();
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), nodes(&[1, 2, 3]), "everybody has one");
    for minutes in 0..30_u64 {
        let expected = order[usize::try_from(minutes / 5 % 3).unwrap()];
        assert_eq!(turn(&record, minutes), expected, "{minutes}");
    }
    let first_of = |session: u8| {
        let mut other = record.clone();
        other.session = SheetHash([session; 32]);
        turn(&other, 0)
    };
    let firsts: BTreeSet<NodeId> = (0..32).map(first_of).collect();
    assert_eq!(firsts.len(), 3, "the work is shared");
}

#[test]
fn member__should_take_part_only_when_its_own_schedule_says_so() {
    let (record, period) = (dated(), Some(HOUR));
    for (schemes, period, now_ms, expected) in [
        (&Scheme::ALL[..], period, DEALT_MS + HOUR_MS, None),
        (&Scheme::ALL, period, DEALT_MS + HOUR_MS / 2, None),
        (&Scheme::ALL, period, DEALT_MS + HOUR_MS / 2 - 1, Some(Code::RefreshNotDue)),
        (&Scheme::ALL, period, 0, Some(Code::RefreshNotDue)),
        (&Scheme::ALL, None, DEALT_MS + HOUR_MS, Some(Code::RefreshNotDue)),
        (&Scheme::ALL[..1], period, DEALT_MS + HOUR_MS, Some(Code::ProtocolViolation)),
        (&[], period, DEALT_MS + HOUR_MS, Some(Code::ProtocolViolation)),
    ] {
        let result = admitted(&record, schemes, period, now_ms);
        assert_eq!(result.as_ref().err().copied(), expected, "{schemes:?} {period:?} {now_ms}");
    }
    assert!(admitted(&RECORD, &Scheme::ALL, period, 0).is_ok(), "undated");
}

#[test]
fn refresh__should_be_the_same_request_whoever_begins_it_and_another_in_each_generation() {
    let record = dated();
    let request = keys().request(&record).unwrap();
    assert_eq!(request.content_hash(), keys().request(&record).unwrap().content_hash());
    let mut later = record;
    later.session = SheetHash([9; 32]);
    assert_ne!(request.content_hash(), keys().request(&later).unwrap().content_hash());
    assert!(request.bytes().is_empty() && request.authorization().signature.is_empty());
    assert_eq!((request.schemes(), request.threshold()), (Scheme::ALL.to_vec(), Threshold::new(2, 3).unwrap()));
    assert_eq!(request.committee().iter().map(|member| member.node).collect::<BTreeSet<_>>(), nodes(&[1, 2, 3]));
}

#[test]
fn looks_and_pauses__should_be_frequent_enough_and_not_too_frequent() {
    assert_eq!(look_every(HOUR * 24), Duration::from_secs(60));
    assert_eq!(look_every(Duration::from_secs(200)), Duration::from_secs(10));
    assert_eq!(look_every(Duration::ZERO), Duration::from_secs(1));
    let pauses: Vec<u64> = (1..=9).map(|failures| pause_after(failures, HOUR * 24).as_secs() / 60).collect();
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 128, 128]);
    assert_eq!(pause_after(u32::MAX, HOUR * 24), pause_after(7, HOUR * 24));
}
