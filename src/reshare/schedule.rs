//! Refreshes that nobody asked for: which keys are due, whose turn it is to begin, and when a member takes part. Pure.
//!
//! All members read the same date in the wallet's record, and have clocks that agree to within seconds: so they agree on
//! whose turn it is without saying anything. The members take turns, in an order of their own for each generation; each
//! turn is long enough for a few attempts, and somebody who does not begin has the next one do it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme, Threshold, WalletId};
use crate::wallet::WalletRecord;
use crate::wire::request::ReshareRequest;
use crate::wire::transcript::Transcript;

/// How often wallets that are due are looked for, at most.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// And as a part of the shortest period.
const LOOKS_IN_PERIOD: u32 = 20;
/// How many looks a member's turn takes.
const LOOKS_IN_TURN: u32 = 5;
/// Wallets that were made at the same time come due within this part of their period.
const SPREAD: u64 = 10;
/// A member takes part in a refresh of shares that have this part of their period behind them: clocks and configurations of
/// members may differ a little, and a member that is out of bounds must not keep the others busy.
const TAKES_PART_AFTER: u64 = 2;
/// The pause after a failed refresh of a wallet, in looks; it doubles with each further one.
const PAUSE_LOOKS: u32 = 2;
/// The longest pause is this many doublings.
const MAX_DOUBLINGS: u32 = 6;

/// How often wallets that are due are looked for, where this is the shortest period.
pub(super) fn look_every(shortest: Duration) -> Duration {
    (shortest / LOOKS_IN_PERIOD).clamp(Duration::from_secs(1), LOOK_AT_MOST_EVERY)
}

/// The pause after this many failed refreshes of a wallet in a row.
pub(super) fn pause_after(failures: u32, shortest: Duration) -> Duration {
    look_every(shortest) * PAUSE_LOOKS * (1 << failures.saturating_sub(1).min(MAX_DOUBLINGS))
}

/// Keys of a wallet that have the same members and the same threshold: they are refreshed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Together {
    pub schemes: Vec<Scheme>,
    pub threshold: Threshold,
    pub nodes: BTreeSet<NodeId>,
    /// By when the oldest of their shares were dealt, in milliseconds since the Unix epoch, if that is known of all.
    pub dealt_ms: Option<u64>,
}

/// The keys of a wallet, as they are refreshed together.
pub(super) fn together(record: &WalletRecord) -> Vec<Together> {
    let mut all: Vec<Together> = Vec::new();
    for key in &record.keys {
        let (scheme, threshold) = (key.group.scheme(), key.group.threshold());
        let nodes: BTreeSet<NodeId> = key.committee.iter().map(|member| member.node).collect();
        match all.iter_mut().find(|keys| keys.nodes == nodes && keys.threshold == threshold) {
            Some(keys) => {
                keys.schemes.push(scheme);
                keys.dealt_ms = keys.dealt_ms.zip(key.dealt_ms).map(|(one, other)| one.min(other));
            }
            None => all.push(Together { schemes: vec![scheme], threshold, nodes, dealt_ms: key.dealt_ms }),
        }
    }
    all
}

impl Together {
    /// How old the shares are, if that is known.
    pub fn age(&self, now_ms: u64) -> Option<Duration> {
        self.dealt_ms.map(|dealt_ms| Duration::from_millis(now_ms.saturating_sub(dealt_ms)))
    }

    /// Since when the keys have been due, in milliseconds; none if they are not. Shares of unknown age are due: they are
    /// from before dates were kept.
    pub fn overdue_ms(&self, wallet: &WalletId, period: Duration, now_ms: u64) -> Option<u64> {
        let Some(dealt_ms) = self.dealt_ms else { return Some(now_ms) };
        let period_ms = millis(period);
        let spread = (period_ms / SPREAD).max(1);
        let later = Transcript::new("quorate/refresh-spread/v1").field(wallet.as_str().as_bytes()).finish();
        now_ms.checked_sub(dealt_ms.saturating_add(period_ms).saturating_add(number(&later) % spread))
    }

    /// Whose turn it is to begin, `overdue_ms` after the keys came due, with looks as often as `look`.
    pub fn turn(&self, record: &WalletRecord, look: Duration, overdue_ms: u64) -> Option<NodeId> {
        let rank = |node: &NodeId| {
            Transcript::new("quorate/refresh-turn/v1").field(&record.session.0).field(node.0.as_bytes()).finish()
        };
        let mut order: Vec<NodeId> = self.nodes.iter().copied().collect();
        order.sort_by_key(rank);
        let turns = overdue_ms / millis(look * LOOKS_IN_TURN).max(1);
        let len = u64::try_from(order.len()).ok().filter(|&len| len > 0)?;
        order.get(usize::try_from(turns % len).ok()?).copied()
    }

    /// The refresh, as a request of nobody: the same whoever begins it, so that it is done once.
    ///
    /// # Errors
    /// When the record does not make sense.
    pub fn request(&self, record: &WalletRecord) -> Result<ReshareRequest, Failure> {
        let name = format!("refresh-{}", record.session).parse();
        let session = name.map_err(|error: crate::ids::InvalidId| Failure::new(Code::Internal, error.to_string()))?;
        let nodes: Vec<NodeId> = self.nodes.iter().copied().collect();
        ReshareRequest::of_schedule(record.wallet.clone(), session, self.schemes.clone(), self.threshold, &nodes)
            .map_err(|error| Failure::new(error.code(), error.to_string()))
    }
}

/// The refresh of these keys of a wallet that a peer proposes without a request, if it is due by this node's own schedule.
///
/// # Errors
/// The code to refuse with.
pub(super) fn admitted(
    record: &WalletRecord,
    schemes: &[Scheme],
    period: Option<Duration>,
    now_ms: u64,
) -> Result<ReshareRequest, Code> {
    let keys = together(record).into_iter().find(|keys| keys.schemes == schemes).ok_or(Code::ProtocolViolation)?;
    let period = period.ok_or(Code::RefreshNotDue)?;
    let is_old = keys.age(now_ms).is_none_or(|age| millis(age) >= millis(period) / TAKES_PART_AFTER);
    if !is_old {
        return Err(Code::RefreshNotDue);
    }
    keys.request(record).map_err(|failure| failure.code)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number that is as good as drawn, from a hash.
fn number(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().copied().map_or(0, u64::from_be_bytes)
}
