//! Consistent broadcast: have all parties seen the same from each dealer, and if not, who is to blame?
//!
//! A party that sends different values to different parties must not split them. So everybody tells everybody the digest
//! of what it saw from each party, itself included, and a run goes on only where all tables are equal.
//!
//! Links authenticate who said a thing to *us*, but nobody can prove to us what was said to somebody else. What a table
//! that differs from ours proves, and to whom:
//!
//! | the reporter's digest differs for | then | because |
//! |---|---|---|
//! | the reporter itself | the reporter is guilty | it told us one value and claims to have sent another |
//! | us | the reporter is guilty | we know what we sent |
//! | somebody else, the dealer | the reporter or the dealer is guilty | one lies, or the other sent two values |
//!
//! The last line leaves pairs of which at least one is guilty. At most t - 1 parties are corrupt (more of them hold the
//! key anyway), so a party that is in more such pairs than there can be corrupt parties left is guilty itself: else all
//! its opposites would be. Whoever is not named by these rules may be honest, and is not named. Then the list of culprits
//! is short, or empty, and the run still ends: with three parties, one of whom sends two values, no protocol without
//! transferable signatures can do better.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use super::{AbortReason, RunContext};
use crate::ids::PartyIndex;

/// SHA-256 of a broadcast, bound to its protocol, session and sender.
pub(super) type Digest = [u8; 32];

/// What one party saw from each dealer, itself included, in ascending order of the dealers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table(Vec<ByteArray<32>>);

/// Hashes `payload` as a broadcast of `sender`: `domain` must be unique to the protocol and the kind of value.
pub(super) fn digest(domain: &'static str, context: &RunContext, sender: PartyIndex, payload: &[u8]) -> Digest {
    Sha256::new()
        .chain_update((domain.len() as u64).to_be_bytes())
        .chain_update(domain)
        .chain_update(context.session.0)
        .chain_update([sender.get()])
        .chain_update((payload.len() as u64).to_be_bytes())
        .chain_update(payload)
        .finalize()
        .into()
}

impl Table {
    /// The table of what was seen.
    pub(super) fn new(seen: &BTreeMap<PartyIndex, Digest>) -> Self {
        Self(seen.values().copied().map(ByteArray::new).collect())
    }

    /// Whether it has one entry per dealer.
    pub(super) fn is_for(&self, dealers: &BTreeSet<PartyIndex>) -> bool {
        self.0.len() == dealers.len()
    }

    /// Whose entries differ from those of `own`.
    fn differences<'a>(
        &'a self,
        own: &'a Self,
        dealers: &'a BTreeSet<PartyIndex>,
    ) -> impl Iterator<Item = PartyIndex> + 'a {
        let entries = self.0.iter().zip(&own.0).zip(dealers);
        entries.filter_map(|((theirs, ours), &dealer)| (theirs != ours).then_some(dealer))
    }
}

/// Compares everybody's table of what the `dealers` sent with that of `me`. `corruptible` is the most parties that can be
/// corrupt: t - 1 of a committee.
///
/// # Errors
/// [`AbortReason::Equivocation`] when any table differs, with those who are certainly guilty.
pub(super) fn compare(
    own: &Table,
    reports: &BTreeMap<PartyIndex, Table>,
    dealers: &BTreeSet<PartyIndex>,
    me: PartyIndex,
    corruptible: usize,
) -> Result<(), Fault> {
    let mut guilty = BTreeSet::new();
    let mut suspects = BTreeSet::new();
    for (&reporter, table) in reports {
        for dealer in table.differences(own, dealers) {
            if dealer == reporter || dealer == me {
                guilty.insert(reporter);
            } else {
                suspects.insert((reporter, dealer));
            }
        }
    }
    if guilty.is_empty() && suspects.is_empty() {
        return Ok(());
    }
    while let Some(party) = overloaded(&suspects, &guilty, corruptible) {
        guilty.insert(party);
    }
    Err(Fault::by(AbortReason::Equivocation, guilty))
}

/// A party not yet found guilty that stands against more parties, not found guilty either, than can be corrupt besides
/// those found.
fn overloaded(
    suspects: &BTreeSet<(PartyIndex, PartyIndex)>,
    guilty: &BTreeSet<PartyIndex>,
    corruptible: usize,
) -> Option<PartyIndex> {
    let open = suspects.iter().filter(|(reporter, dealer)| !guilty.contains(reporter) && !guilty.contains(dealer));
    let mut opposites: BTreeMap<PartyIndex, BTreeSet<PartyIndex>> = BTreeMap::new();
    for &(reporter, dealer) in open {
        opposites.entry(reporter).or_default().insert(dealer);
        opposites.entry(dealer).or_default().insert(reporter);
    }
    let left = corruptible.saturating_sub(guilty.len());
    opposites.into_iter().find_map(|(party, against)| (against.len() > left).then_some(party))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testbed::contexts;

    fn party(index: u8) -> PartyIndex {
        PartyIndex::try_from(index).unwrap()
    }

    /// A table of the parties 1 to `n` in which the listed dealers sent something of their own.
    fn table(n: u8, odd: &[(u8, u8)]) -> Table {
        let entry = |index| odd.iter().find(|(dealer, _)| *dealer == index).map_or(0, |(_, value)| *value);
        Table::new(&(1..=n).map(|index| (party(index), [entry(index); 32])).collect())
    }

    /// What party 1 of `n` makes of the others' tables: who is guilty.
    fn verdict(n: u8, corruptible: usize, odd: &[(u8, &[(u8, u8)])]) -> Result<(), Fault> {
        let context = &contexts(1, &(1..=n).collect::<Vec<_>>())[0];
        let report = |index| {
            let differing = odd.iter().find(|(reporter, _)| *reporter == index).map_or(&[][..], |(_, odd)| odd);
            (party(index), table(n, differing))
        };
        compare(&table(n, &[]), &(2..=n).map(report).collect(), &context.parties, context.me, corruptible)
    }

    fn guilty(indices: &[u8]) -> Result<(), Fault> {
        Err(Fault::by(AbortReason::Equivocation, indices.iter().copied().map(party)))
    }

    #[test]
    fn echo__should_pass_equal_tables() {
        assert_eq!(verdict(3, 1, &[]), Ok(()));
    }

    #[test]
    fn echo__should_name_who_contradicts_itself_or_us() {
        assert_eq!(verdict(3, 1, &[(2, &[(2, 9)])]), guilty(&[2]));
        assert_eq!(verdict(3, 1, &[(3, &[(1, 9)])]), guilty(&[3]));
        // Once the one corrupt party is found, its accusation of another weighs nothing.
        assert_eq!(verdict(3, 1, &[(3, &[(1, 9), (2, 9)])]), guilty(&[3]));
    }

    #[test]
    fn echo__should_name_nobody_where_one_of_two_lies() {
        assert_eq!(verdict(3, 1, &[(2, &[(3, 9)])]), guilty(&[]));
        assert_eq!(verdict(5, 2, &[(2, &[(3, 9)]), (4, &[(3, 9)])]), guilty(&[]));
    }

    #[test]
    fn echo__should_name_who_stands_against_more_than_can_be_corrupt() {
        assert_eq!(verdict(4, 1, &[(2, &[(4, 9)]), (3, &[(4, 8)])]), guilty(&[4]));
        assert_eq!(verdict(5, 2, &[(2, &[(5, 9)]), (3, &[(5, 9)]), (4, &[(5, 8)])]), guilty(&[5]));
        // The liar's side of the same rule.
        assert_eq!(verdict(4, 1, &[(2, &[(3, 9), (4, 9)])]), guilty(&[2]));
        // Finding one of two lowers the number of those left.
        assert_eq!(verdict(5, 2, &[(2, &[(1, 9)]), (3, &[(5, 9)]), (4, &[(5, 9)])]), guilty(&[2, 5]));
    }

    #[test]
    fn echo__should_never_name_the_honest() {
        // Every way in which a corrupt party 3 of 4 can send two values and lie about anybody, seen by every honest one.
        let honest = [1, 2, 4];
        for split in 0..8_u8 {
            for lie in 0..16_u8 {
                let sent = |to: u8| honest.iter().position(|&h| h == to).map_or(0, |bit| split >> bit & 1);
                let tables: BTreeMap<_, _> = (1..=4)
                    .map(|index| {
                        let odd: Vec<_> = match index {
                            3 => (1..=4).filter(|bit| lie >> (bit - 1) & 1 == 1).map(|dealer| (dealer, 7)).collect(),
                            _ => vec![(3, sent(index))],
                        };
                        (party(index), table(4, &odd))
                    })
                    .collect();
                for context in contexts(1, &[1, 2, 3, 4]).iter().filter(|context| context.me != party(3)) {
                    let mut reports = tables.clone();
                    let own = reports.remove(&context.me).unwrap();
                    let consistent = reports.values().all(|table| *table == own);
                    match compare(&own, &reports, &context.parties, context.me, 1) {
                        Ok(()) => assert!(consistent),
                        Err(fault) => assert!([guilty(&[]), guilty(&[3])].contains(&Err(fault)) && !consistent),
                    }
                }
            }
        }
    }

    #[test]
    fn digest__should_bind_domain_session_sender_and_payload() {
        let (one, two) = (&contexts(1, &[1, 2])[0], &contexts(2, &[1, 2])[0]);
        let digests: BTreeSet<_> = [
            digest("a", one, party(1), b"x"),
            digest("b", one, party(1), b"x"),
            digest("a", two, party(1), b"x"),
            digest("a", one, party(2), b"x"),
            digest("a", one, party(1), b"y"),
        ]
        .into();
        assert_eq!(digests.len(), 5);
    }
}
