//! Refreshes that nobody asked for: looking for wallets that are due, and renewing their shares one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use super::Reshared;
use super::actor::{ReshareMsg, ReshareState};
use super::args::ReshareArgs;
use super::prepare::Admitted;
use super::schedule::{Together, look_every, pause_after, together};
use super::work::Work;
use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme, WalletId};
use crate::registry::View;
use crate::storage::{Family, Listing, MAX_PAGE_RECORDS};
use crate::supervision::beside;
use crate::wallet::{WalletRecord, is_tombstone, unverified_record};

/// The most wallets that one look finds: the next one finds the others.
const MAX_DUE: usize = 10_000;

/// The wallets that are refreshed unasked and that this node is a member of, as of its last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefreshAges {
    /// How many there are.
    pub wallets: u64,
    /// How many of them are due, whoever is to begin.
    pub due: u64,
    /// How many of those wait for members that are away, or for pairs that cannot sign together.
    pub waiting: u64,
    /// How many have shares from before dates were kept.
    pub undated: u64,
    /// The age of the oldest shares; zero without any.
    pub oldest: Duration,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct DueRefreshes {
    /// Those that this node is to begin now.
    pub wallets: Vec<WalletId>,
    pub ages: RefreshAges,
}

/// A wallet whose refresh failed.
struct Pause {
    failures: u32,
    until: Instant,
}

/// The refreshes that this node begins unasked: one at a time.
#[derive(Default)]
pub(super) struct Refreshes {
    looking: bool,
    due: VecDeque<WalletId>,
    running: Option<WalletId>,
    pauses: BTreeMap<WalletId, Pause>,
    pub ages: RefreshAges,
    pub done: u64,
    pub postponed: u64,
    pub failed: u64,
}

impl Refreshes {
    /// Begins no more.
    pub fn stop(&mut self) {
        self.due.clear();
    }
}

impl ReshareState {
    /// Looks from time to time, where any wallet is refreshed unasked.
    pub(super) fn look_for_due(&self, myself: &ActorRef<ReshareMsg>) {
        if let Some(shortest) = self.args.refresh.shortest() {
            myself.send_interval(look_every(shortest), || ReshareMsg::LookForDue);
        }
    }

    /// Looks for wallets that are due, unless that is being done, or there is one at work.
    pub(super) fn look_now(&mut self, myself: &ActorRef<ReshareMsg>) {
        let refreshes = &mut self.refreshes;
        if refreshes.looking || refreshes.running.is_some() || !self.view.able {
            return;
        }
        refreshes.looking = true;
        let (args, view) = (self.args.clone(), Arc::clone(&self.view));
        beside(myself, async move { Work::DueRefreshes(args.due_refreshes(&view).await) });
    }

    /// A look is over.
    pub(super) fn found_due(&mut self, myself: &ActorRef<ReshareMsg>, found: Result<DueRefreshes, Code>) {
        let refreshes = &mut self.refreshes;
        refreshes.looking = false;
        match found {
            Ok(DueRefreshes { wallets, ages }) => {
                let (now, shortest) = (Instant::now(), self.args.refresh.shortest().unwrap_or_default());
                // One that fails again soon after its pause has the longer one.
                refreshes.pauses.retain(|_, pause| now < pause.until + pause_after(u32::MAX, shortest));
                let paused = |wallet: &WalletId| refreshes.pauses.get(wallet).is_some_and(|pause| now < pause.until);
                refreshes.due = wallets.into_iter().filter(|wallet| !paused(wallet)).collect();
                refreshes.ages = ages;
                self.next_refresh(myself);
            }
            // The next look may find more.
            Err(code) => tracing::warn!(%code, "failed to look for wallets that are to be refreshed"),
        }
    }

    /// Begins the next refresh that is due, unless one is at work.
    fn next_refresh(&mut self, myself: &ActorRef<ReshareMsg>) {
        if self.refreshes.running.is_some() {
            return;
        }
        let Some(wallet) = self.refreshes.due.pop_front() else { return };
        let of_clients = self.runs.values().filter(|run| !run.waiters.is_empty()).count();
        if self.intake.request(of_clients).is_err() {
            // Clients come first, and so does the end of the node: there is another look.
            self.refreshes.stop();
            return;
        }
        self.refreshes.running = Some(wallet.clone());
        let (reply, done) = ractor::concurrency::oneshot();
        let (args, name) = (self.args.clone(), wallet.clone());
        beside(myself, async move {
            let result = args.prepare_refresh(&name).await;
            Work::Prepared { reply: reply.into(), result }
        });
        beside(myself, async move {
            let gone = || Err(Failure::new(Code::Cancelled, "resharing stopped before the refresh was over"));
            let result = done.await.unwrap_or_else(|_| gone());
            Work::Refreshed { wallet, result }
        });
    }

    /// A refresh that this node began unasked is over.
    pub(super) fn refreshed(
        &mut self,
        myself: &ActorRef<ReshareMsg>,
        wallet: WalletId,
        result: Result<Reshared, Failure>,
    ) {
        let shortest = self.args.refresh.shortest().unwrap_or_default();
        let refreshes = &mut self.refreshes;
        refreshes.running = None;
        match result {
            Ok(reshared) => {
                refreshes.done += 1;
                refreshes.pauses.remove(&wallet);
                let session = reshared.certificate.record().session;
                tracing::info!(%wallet, %session, "the shares of a wallet are renewed, as its schedule says");
            }
            Err(failure) => {
                if is_postponed(failure.code) {
                    refreshes.postponed += 1;
                    tracing::debug!(%wallet, %failure, "a wallet is not refreshed now");
                } else {
                    refreshes.failed += 1;
                    tracing::warn!(%wallet, %failure, "failed to refresh a wallet as its schedule says");
                }
                let failures = refreshes.pauses.get(&wallet).map_or(0, |pause| pause.failures).saturating_add(1);
                let until = Instant::now() + pause_after(failures, shortest);
                refreshes.pauses.insert(wallet, Pause { failures, until });
            }
        }
        self.next_refresh(myself);
    }
}

/// Whether a refresh is only put off: somebody is away or busy.
const fn is_postponed(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterNotReady
            | Code::NotMajority
            | Code::ReshareInProgress
            | Code::ConcurrencyLimit
            | Code::Cancelled
            | Code::Superseded
    )
}

impl ReshareArgs {
    /// Reads what a refresh needs that this node is to begin now.
    async fn prepare_refresh(&self, wallet: &WalletId) -> Result<Admitted, Failure> {
        let stored = self.stored(wallet).await?;
        let moved_on = || Failure::new(Code::Superseded, "the wallet is not due for this node any more");
        let stored = stored.ok_or_else(moved_on)?;
        let record = stored.certificate.record();
        let keys = together(record).into_iter().find(|keys| self.is_to_begin(record, keys)).ok_or_else(moved_on)?;
        let request = keys.request(record)?;
        self.admit(stored, request).await
    }

    /// Since when keys of a wallet have been due, if they are refreshed unasked and are.
    fn overdue_ms(&self, record: &WalletRecord, keys: &Together) -> Option<u64> {
        let period = self.refresh.period_of(&record.wallet)?;
        keys.overdue_ms(&record.wallet, period, self.clock.now_ms())
    }

    /// Whether this node is to begin the refresh of keys now.
    fn is_to_begin(&self, record: &WalletRecord, keys: &Together) -> bool {
        let look = look_every(self.refresh.shortest().unwrap_or_default());
        let turn = |overdue_ms| keys.turn(record, look, overdue_ms);
        self.overdue_ms(record, keys).and_then(turn) == Some(self.identity.id())
    }

    /// Goes through all wallets that this node is a member of.
    async fn due_refreshes(&self, view: &View) -> Result<DueRefreshes, Code> {
        let (mut due, mut after) = (DueRefreshes::default(), None);
        loop {
            let listing = Listing { family: Family::Wallets, prefix: Vec::new(), after, limit: MAX_PAGE_RECORDS };
            let page = self.storage.list(listing).await.map_err(|error| error.code())?;
            after = page.records.last().filter(|_| page.more).map(|last| last.key.clone());
            for stored in page.records.into_iter().filter(|stored| !is_tombstone(&stored.key)) {
                match unverified_record(stored.value.expose()) {
                    Ok(record) => self.count(view, &record, &mut due),
                    Err(error) => tracing::error!(%error, "a stored wallet certificate does not decode"),
                }
            }
            if after.is_none() {
                return Ok(due);
            }
        }
    }

    /// Counts a wallet, and lists it if this node is to begin its refresh now.
    fn count(&self, view: &View, record: &WalletRecord, due: &mut DueRefreshes) {
        let me = self.identity.id();
        let own: Vec<Together> = together(record).into_iter().filter(|keys| keys.nodes.contains(&me)).collect();
        if own.is_empty() || self.refresh.period_of(&record.wallet).is_none() {
            return;
        }
        let ages = &mut due.ages;
        let dated = own.iter().map(|keys| keys.age(self.clock.now_ms()));
        ages.wallets += 1;
        ages.undated += u64::from(own.iter().any(|keys| keys.dealt_ms.is_none()));
        ages.oldest = dated.flatten().fold(ages.oldest, Duration::max);
        let is_due: Vec<&Together> = own.iter().filter(|keys| self.overdue_ms(record, keys).is_some()).collect();
        let can: Vec<&Together> = is_due.iter().copied().filter(|keys| can_run(view, record, keys)).collect();
        ages.due += u64::from(!is_due.is_empty());
        ages.waiting += u64::from(!is_due.is_empty() && can.is_empty());
        if due.wallets.len() < MAX_DUE && can.iter().any(|keys| self.is_to_begin(record, keys)) {
            due.wallets.push(record.wallet.clone());
        }
    }
}

/// Whether everybody whose signature a refresh needs is ready, and all pairs of its members can sign with the new shares.
fn can_run(view: &View, record: &WalletRecord, keys: &Together) -> bool {
    let ready = view.ready();
    let runs = |scheme: Scheme, a: NodeId| keys.nodes.iter().all(|&b| view.can_run(scheme, a, b));
    crate::wallet::members(record).iter().all(|node| ready.contains(node))
        && keys.schemes.iter().all(|&scheme| keys.nodes.iter().all(|&node| runs(scheme, node)))
}
