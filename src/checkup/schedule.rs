//! Check-ups that nobody asked for: which wallets are due, and how old the others' are.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::CheckupArgs;
use super::actor::{CheckupMsg, CheckupState, Work};
use super::last::{LastCheckup, last_key};
use crate::error::Code;
use crate::ids::WalletId;
use crate::registry::View;
use crate::storage::{Family, Listing, MAX_PAGE_RECORDS, Record};
use crate::supervision::beside;
use crate::wallet::{is_tombstone, members, unverified_record};

/// How often wallets that are due are looked for, at most.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// And as a part of the time between two check-ups of a wallet.
const LOOKS_IN_TIME: u32 = 10;
/// The most wallets that one look finds: the next one finds the others.
const MAX_DUE: usize = 10_000;

/// How often wallets that are due are looked for.
pub(super) fn look_every(every: Duration) -> Duration {
    (every / LOOKS_IN_TIME).clamp(Duration::from_secs(1), LOOK_AT_MOST_EVERY)
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Due {
    pub wallets: Vec<WalletId>,
    pub ages: Ages,
}

/// The wallets that a node checks unasked: those of which it is the first ready member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ages {
    /// How many there are.
    pub wallets: u64,
    /// How many of them failed their last check-up.
    pub failing: u64,
    /// How many have never had a good one.
    pub never: u64,
    /// The time since the last good check-up of the one that waits longest; zero without any.
    pub oldest: Duration,
}

impl Ages {
    /// Counts a wallet. Says whether it is due.
    fn count(&mut self, last: Option<LastCheckup>, now_ms: u64, every: Duration) -> bool {
        let age = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
        self.wallets += 1;
        self.failing += u64::from(last.is_some_and(|last| last.is_bad()));
        match last.and_then(|last| last.good_ms) {
            Some(good_ms) => self.oldest = self.oldest.max(age(good_ms)),
            None => self.never += 1,
        }
        last.is_none_or(|last| age(last.at_ms) >= every)
    }
}

impl CheckupState {
    /// Looks for wallets that are due, unless that is being done.
    pub(super) fn look(&mut self, myself: &ActorRef<CheckupMsg>) {
        let Some(every) = self.args.every.filter(|_| !self.looking && self.due.is_empty()) else { return };
        self.looking = true;
        let (args, view) = (self.args.clone(), Arc::clone(&self.view));
        beside(myself, async move { Work::Due(args.due(&view, every).await) });
    }

    /// A look is over.
    pub(super) fn found(&mut self, myself: &ActorRef<CheckupMsg>, found: Result<Due, Code>) {
        self.looking = false;
        match found {
            Ok(Due { wallets, ages }) => {
                self.ages = ages;
                self.due = wallets.into();
                self.next_due(myself);
            }
            // The next look may find more.
            Err(code) => tracing::warn!(%code, "failed to look for wallets that are to be checked"),
        }
    }

    /// Checks the next wallet that is due, one at a time: clients come first.
    pub(super) fn next_due(&mut self, myself: &ActorRef<CheckupMsg>) {
        while self.runs.is_empty()
            && let Some(wallet) = self.due.pop_front()
        {
            self.begin(myself, wallet);
        }
    }
}

impl CheckupArgs {
    /// Goes through all wallets of which this node is the first ready member.
    async fn due(&self, view: &View, every: Duration) -> Result<Due, Code> {
        let (mut due, mut after) = (Due { wallets: Vec::new(), ages: Ages::default() }, None);
        loop {
            let listing = Listing { family: Family::Wallets, prefix: Vec::new(), after, limit: MAX_PAGE_RECORDS };
            let page = self.storage.list(listing).await.map_err(|error| error.code())?;
            after = page.records.last().filter(|_| page.more).map(|last| last.key.clone());
            for record in page.records.into_iter().filter(|record| !is_tombstone(&record.key)) {
                let Some(wallet) = self.first_of(view, &record) else { continue };
                let last = self.storage.get(Family::Results, last_key(&wallet)).await.map_err(|error| error.code())?;
                let last = last.and_then(|record| LastCheckup::decode(record.expose()).ok());
                if due.ages.count(last, self.clock.now_ms(), every) && due.wallets.len() < MAX_DUE {
                    due.wallets.push(wallet);
                }
            }
            if after.is_none() {
                return Ok(due);
            }
        }
    }

    /// The wallet of a certificate, if this node is the first of its ready members.
    fn first_of(&self, view: &View, record: &Record) -> Option<WalletId> {
        match unverified_record(record.value.expose()) {
            Ok(record) => {
                let ready = view.ready();
                let first = members(&record).into_iter().find(|member| ready.contains(member));
                (first == Some(self.identity.id())).then_some(record.wallet)
            }
            Err(error) => {
                tracing::error!(%error, "a stored wallet certificate does not decode");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn wallet__should_be_due_when_its_last_check_up_is_too_old() {
        let every = Duration::from_secs(3600);
        let mut ages = Ages::default();
        let now_ms = 10 * HOUR_MS;
        let last = |at_ms, good_ms| Some(LastCheckup { at_ms, good_ms });
        assert!(ages.count(None, now_ms, every));
        assert!(!ages.count(last(now_ms - 1, Some(now_ms - 1)), now_ms, every));
        assert!(ages.count(last(now_ms - HOUR_MS, Some(now_ms - HOUR_MS)), now_ms, every));
        assert!(!ages.count(last(now_ms - 1, Some(now_ms - 5 * HOUR_MS)), now_ms, every), "a bad one waits as well");
        assert!(!ages.count(last(now_ms + 7, None), now_ms, every), "clocks may step back");
        let oldest = Duration::from_secs(5 * 3600);
        assert_eq!(ages, Ages { wallets: 5, failing: 2, never: 2, oldest });
    }

    #[test]
    fn looks__should_be_frequent_enough_and_not_too_frequent() {
        assert_eq!(look_every(Duration::from_secs(86_400)), LOOK_AT_MOST_EVERY);
        assert_eq!(look_every(Duration::from_secs(100)), Duration::from_secs(10));
        assert_eq!(look_every(Duration::ZERO), Duration::from_secs(1));
    }
}
