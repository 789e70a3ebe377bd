//! A wallet's check-up: one session after the other for each of its keys, until every member has signed or failed.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::{ActorRef, RpcReplyPort};

use super::actor::{CheckupMsg, CheckupState, Work};
use super::coverage::Coverage;
use super::{CheckedKey, CheckedUp};
use crate::error::{Code, Failure};
use crate::ids::{Generation, NodeId, Scheme, SheetHash, Threshold, WalletId};
use crate::keys::Signature;
use crate::session::{Draft, Outcome, SessionEnd, SheetContext};
use crate::supervision::beside;
use crate::wallet::WalletCertificate;
use crate::wire::sheet::{Participant, Task};

/// Where an answer goes.
pub(super) type Waiter = RpcReplyPort<Result<CheckedUp, Failure>>;

/// A wallet that is being checked.
#[derive(Default)]
pub(super) struct Run {
    waiters: Vec<Waiter>,
    keys: Vec<KeyRun>,
}

/// One of its keys.
struct KeyRun {
    scheme: Scheme,
    generation: Generation,
    threshold: Threshold,
    coverage: Coverage,
    over: bool,
}

/// A session of a check-up that this node coordinates.
pub(super) struct Round {
    wallet: WalletId,
    scheme: Scheme,
    quorum: Vec<Participant>,
}

impl Run {
    /// Answers everyone who waits.
    pub fn answer(self, outcome: &Result<CheckedUp, Failure>) {
        for waiter in self.waiters {
            // Whoever asked may have gone.
            let _ = waiter.send(outcome.clone());
        }
    }
}

impl CheckupState {
    /// A client asks about a wallet.
    pub(super) fn asked(&mut self, myself: &ActorRef<CheckupMsg>, wallet: WalletId, reply: Waiter) {
        if let Some(run) = self.runs.get_mut(&wallet) {
            run.waiters.push(reply);
            return;
        }
        if let Err(failure) = self.intake.request(self.runs.len()) {
            let _ = reply.send(Err(failure));
            return;
        }
        // From here on it is in the table of runs, which counts by itself.
        self.intake.prepared();
        self.begin(myself, wallet).waiters.push(reply);
    }

    /// Begins the check-up of a wallet.
    pub(super) fn begin(&mut self, myself: &ActorRef<CheckupMsg>, wallet: WalletId) -> &mut Run {
        self.load(myself, wallet.clone());
        self.runs.entry(wallet).or_default()
    }

    /// A wallet's certificate is read: check those of its keys that this node is a member of.
    pub(super) fn loaded(
        &mut self,
        myself: &ActorRef<CheckupMsg>,
        wallet: &WalletId,
        result: Result<Arc<WalletCertificate>, Failure>,
    ) {
        let certificate = match result {
            Ok(certificate) => certificate,
            Err(failure) => {
                if let Some(run) = self.runs.remove(wallet) {
                    run.answer(&Err(failure));
                }
                self.next_due(myself);
                return;
            }
        };
        let me = self.args.identity.id();
        let Some(run) = self.runs.get_mut(wallet) else { return };
        let own = certificate.record().keys.iter().filter(|key| key.member(me).is_some());
        run.keys = own
            .map(|key| {
                let (scheme, threshold) = (key.group.scheme(), key.group.threshold());
                let coverage = Coverage::new(me, scheme, threshold.signers(), key.committee.clone());
                KeyRun { scheme, generation: key.generation, threshold, coverage, over: false }
            })
            .collect();
        let schemes: Vec<Scheme> = run.keys.iter().map(|key| key.scheme).collect();
        for scheme in schemes {
            self.next_round(myself, wallet, scheme);
        }
    }

    /// Starts the next session for a key, or ends its check-up, and with the last one the wallet's.
    fn next_round(&mut self, myself: &ActorRef<CheckupMsg>, wallet: &WalletId, scheme: Scheme) {
        let Some(run) = self.runs.get_mut(wallet) else { return };
        let Some(key) = run.keys.iter_mut().find(|key| key.scheme == scheme) else { return };
        while let Some(quorum) = key.coverage.next(&self.view) {
            let draft = Draft {
                task: Task::Checkup {
                    wallet: wallet.clone(),
                    scheme,
                    generation: key.generation,
                    threshold: key.threshold,
                },
                participants: quorum.clone(),
                attempt: 1,
                deadline_ms: self.args.clock.deadline_ms(self.args.deadline),
            };
            match SheetContext::draft(draft, &self.args.cluster, &self.args.identity) {
                Ok(sheet) => {
                    self.rounds.insert(sheet.hash, Round { wallet: wallet.clone(), scheme, quorum });
                    self.open(myself, Arc::new(sheet));
                    return;
                }
                Err(failure) => {
                    key.coverage.aborted(&quorum, failure.code, &[self.args.identity.id()].into());
                }
            }
        }
        key.over = true;
        if run.keys.iter().all(|key| key.over)
            && let Some(run) = self.runs.remove(wallet)
        {
            self.over(myself, wallet, run);
        }
    }

    /// Proposes a session and builds this node's engine.
    fn open(&mut self, myself: &ActorRef<CheckupMsg>, sheet: Arc<SheetContext>) {
        self.sessions.begin(&sheet);
        self.sessions.post().tell_others(&sheet, || sheet.proposal());
        let (args, me, session) = (self.args.clone(), self.args.identity.id(), sheet.hash);
        beside(myself, async move {
            let result = args.ready(sheet).await.map(Box::new);
            Work::Built { from: me, session, result }
        });
    }

    /// A session ended.
    pub(super) fn ended(&mut self, myself: &ActorRef<CheckupMsg>, end: SessionEnd<Signature>) {
        self.sessions.ended(end.session);
        let outcome = match end.outcome {
            // It was verified by the engine, and is of no use to anybody.
            Outcome::Done(_) => Ok(()),
            Outcome::Aborted(aborted) => Err((aborted.code, aborted.culprits)),
        };
        self.round_over(myself, end.session, outcome);
    }

    /// A session that this node coordinated, or was about to, is over.
    pub(super) fn round_over(
        &mut self,
        myself: &ActorRef<CheckupMsg>,
        session: SheetHash,
        outcome: Result<(), (Code, BTreeSet<NodeId>)>,
    ) {
        let Some(Round { wallet, scheme, quorum }) = self.rounds.remove(&session) else { return };
        let keys = self.runs.get_mut(&wallet).map(|run| &mut run.keys);
        if let Some(key) = keys.and_then(|keys| keys.iter_mut().find(|key| key.scheme == scheme)) {
            match outcome {
                Ok(()) => key.coverage.signed(&quorum),
                Err((code, culprits)) => {
                    tracing::warn!(%wallet, %scheme, %session, %code, ?culprits, "a check-up's session failed");
                    key.coverage.aborted(&quorum, code, &culprits);
                }
            }
        }
        self.next_round(myself, &wallet, scheme);
    }

    /// A wallet's check-up is over.
    fn over(&mut self, myself: &ActorRef<CheckupMsg>, wallet: &WalletId, run: Run) {
        let keys = run.keys.iter().map(|key| CheckedKey {
            scheme: key.scheme,
            generation: key.generation,
            members: key.coverage.members().collect(),
        });
        let checked = CheckedUp { wallet: wallet.clone(), keys: keys.collect() };
        let good = checked.is_good();
        if good {
            self.good += 1;
            tracing::info!(%wallet, "every member's share works");
        } else {
            self.bad += 1;
            tracing::error!(%wallet, ?checked, "not every member's share works");
        }
        let (args, taken) = (self.args.clone(), wallet.clone());
        tokio::spawn(async move {
            if let Err(code) = args.take_down(&taken, good).await {
                // It is checked once more when the next look finds no record.
                tracing::warn!(wallet = %taken, %code, "failed to take down a check-up");
            }
            run.answer(&Ok(checked));
        });
        self.next_due(myself);
    }
}
