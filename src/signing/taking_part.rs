//! A session from the agreement on it to the moment at which this node's share of the signature leaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::ActorRef;

use super::actor::{SigningMsg, SigningState};
use super::admission::{Admission, Again, RequestKey};
use super::prepare::{Admitted, Prepared, Refusal};
use super::requests::{Attempt, Contest, Request, contest};
use super::work::Work;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash, WalletId};
use crate::keys::Signature;
use crate::sabotage::{self, Flaw};
use crate::session::{Aborted, Engine, Hold, SessionMsg, SheetContext};
use crate::storage::Durability;
use crate::supervision::beside;
use crate::wallet::{WalletCertificate, WalletRecord};
use crate::wire::sheet::{Sheet, Task};

impl SigningState {
    /// Builds the engine of a session, and admits the request to it at the same time.
    pub(super) fn run(&mut self, myself: &ActorRef<SigningMsg>, key: &RequestKey, sheet: Arc<SheetContext>) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let prepared = Arc::clone(&request.prepared);
        // What was read of it before it came into the table may be out of date: then the write says so.
        match &prepared.admission {
            Admission::New => self.admit(myself, &sheet, Admission::New),
            _ => self.look_again(myself, sheet.hash, Arc::clone(&prepared)),
        }
        let desk = self.desk.clone();
        beside(myself, async move {
            let result = desk.build(Arc::clone(&sheet), prepared).await;
            Work::Built { sheet, result }
        });
    }

    /// Takes part in a session that a peer coordinates.
    pub(super) fn join(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        from: NodeId,
        sheet: SheetContext,
        prepared: Prepared,
    ) -> Result<(), Refusal> {
        let (key, sheet) = (prepared.key.clone(), Arc::new(sheet));
        if self.sessions.knows(sheet.hash) {
            // The same proposal, once more.
            return Ok(());
        }
        if let Some(running) = self.requests.get_mut(&key) {
            if running.prepared.content != prepared.content {
                return Err(Code::RequestConflict.into());
            }
            if running.storing {
                return Err(Code::SessionDuplicate.into());
            }
            if let Some(attempt) = &running.session {
                let committed = attempt.may_have_left();
                if contest(attempt.sheet.sheet.coordinator, committed, from) == Contest::Stay {
                    return Err(Code::SessionDuplicate.into());
                }
                self.sessions.tell(attempt.sheet.hash, SessionMsg::cancel(Code::Superseded));
            }
            // The wallet may have been reshared since the request came: the session is for what was checked with it.
            running.prepared = Arc::new(prepared);
            let left = running.session.replace(Attempt::new(Arc::clone(&sheet)));
            self.leave(left);
        } else {
            let request = Request {
                prepared: Arc::new(prepared),
                waiters: Vec::new(),
                session: Some(Attempt::new(Arc::clone(&sheet))),
                coordination: None,
                storing: false,
            };
            self.requests.insert(key.clone(), request);
        }
        self.sessions.begin(&sheet);
        self.run(myself, &key, sheet);
        Ok(())
    }

    /// An engine is built: start its session.
    pub(super) async fn built(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        sheet: Arc<SheetContext>,
        result: Result<(Engine<Signature>, u8), Code>,
    ) {
        let hash = sheet.hash;
        if self.requests.of_session(hash).is_none() {
            // Another session took its place, or the answer came, while the engine was built.
            self.call_off(&sheet, Code::Superseded, &BTreeSet::new());
            return;
        }
        let me = self.args.identity.id();
        let called_off = self.sessions.called_off(hash).or_else(|| {
            let late = sheet.sheet.deadline_ms <= self.args.clock.now_ms();
            late.then(|| (Code::SessionTimeout, [me].into()))
        });
        let started = match (called_off, result) {
            (Some(why), _) => Err(why),
            (None, Ok((engine, hold_from_round))) => {
                let hold = Hold {
                    from_round: hold_from_round,
                    // So a participant that dies leaves the coordinator free to do without it.
                    until_finished: sheet.sheet.coordinator == me,
                    told: Arc::new(self.args.myself.clone()),
                };
                let hold = Some(hold).filter(|_| !sabotage::has(Flaw::ReleasesEarly));
                let started = self.sessions.start(Arc::clone(&sheet), engine, hold, myself.get_cell()).await;
                started.map_err(|error| {
                    tracing::error!(session = %hash, %error, "failed to start a session");
                    (Code::Internal, [me].into())
                })
            }
            (None, Err(code)) => Err((code, [me].into())),
        };
        if let Err((code, culprits)) = started {
            self.call_off(&sheet, code, &culprits);
            self.aborted(myself, hash, Aborted { code, culprits, round: 0, reported_by: None });
        }
    }

    /// Tells the others that a session which this node agreed to does not start here.
    fn call_off(&mut self, sheet: &SheetContext, code: Code, culprits: &BTreeSet<NodeId>) {
        self.sessions.ended(sheet.hash);
        self.sessions.post().abort(sheet, code, culprits, 0);
    }

    /// A session's share is ready to leave.
    pub(super) fn share_held(&mut self, session: SheetHash) {
        let Some(request) = self.requests.of_session(session) else { return };
        let Some(attempt) = &mut request.session else { return };
        attempt.share_held = true;
        if attempt.may_have_left() {
            self.sessions.tell(session, SessionMsg::Release);
        }
    }

    /// A request has let go of its session.
    pub(super) fn leave(&mut self, left: Option<Attempt>) {
        if let Some(attempt) = left.filter(|attempt| !attempt.may_have_left()) {
            self.kept.insert(attempt.sheet.hash);
        }
    }

    /// Admits the request of a session by what is on disk of it.
    fn admit(&mut self, myself: &ActorRef<SigningMsg>, sheet: &Arc<SheetContext>, on_disk: Admission) {
        let session = sheet.hash;
        match on_disk {
            Admission::New => self.write_down(myself, sheet, None),
            Admission::Again(Again { record, attempt }) => {
                let unclear = attempt.filter(|earlier| !self.kept.contains(earlier.session));
                match unclear.filter(|_| !sabotage::has(Flaw::AsksNobody)) {
                    Some(earlier) => self.inquire(myself, session, record, &earlier),
                    None => self.write_down(myself, sheet, Some(record)),
                }
            }
            Admission::Answered(signature) => {
                let Some(request) = self.requests.of_session(session) else { return };
                let left = request.session.take();
                let prepared = Arc::clone(&request.prepared);
                if request.waiters.is_empty() {
                    self.requests.remove(&prepared.key);
                } else {
                    request.storing = true;
                    self.store(myself, prepared, None, signature, Durability::Synced);
                }
                self.sessions.tell(session, SessionMsg::cancel(Code::Superseded));
                self.leave(left);
            }
            Admission::Conflict => self.give_up(session, Code::RequestConflict, self.args.identity.id()),
        }
    }

    /// Reads what is on disk of a request anew, now that only its own session changes it.
    fn look_again(&self, myself: &ActorRef<SigningMsg>, session: SheetHash, prepared: Arc<Prepared>) {
        let desk = self.desk.clone();
        beside(myself, async move {
            let result = desk.admission(&prepared).await.map(Admitted::Found);
            Work::Admitted { session, result }
        });
    }

    /// Makes the request durable for a session, if what was read of it is still on disk.
    pub(super) fn write_down(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        sheet: &Arc<SheetContext>,
        former: Option<[u8; 32]>,
    ) {
        let Some(request) = self.requests.of_session(sheet.hash) else { return };
        let (desk, sheet, prepared) = (self.desk.clone(), Arc::clone(sheet), Arc::clone(&request.prepared));
        beside(myself, async move {
            let result = desk.admit(&prepared, &sheet, former).await;
            Work::Admitted { session: sheet.hash, result }
        });
    }

    /// A request is durable for a session: let the last round go. Or something else is on disk.
    pub(super) fn admitted(
        &mut self,
        myself: &ActorRef<SigningMsg>,
        session: SheetHash,
        result: Result<Admitted, Code>,
    ) {
        // What was found out for an earlier session may be out of date.
        let Some(attempt) = self.requests.of_session(session).and_then(|request| request.session.as_mut()) else {
            return;
        };
        match result {
            Ok(Admitted::Written) => {
                attempt.admitted = true;
                if attempt.may_have_left() {
                    self.sessions.tell(session, SessionMsg::Release);
                }
            }
            Ok(Admitted::Found(on_disk)) => {
                let sheet = Arc::clone(&attempt.sheet);
                self.admit(myself, &sheet, on_disk);
            }
            // Nobody's fault: whoever coordinates reads in again what the wallet is.
            Err(Code::ReshareInProgress) => self.end(session, Code::ReshareInProgress, BTreeSet::new()),
            Err(code) => self.give_up(session, code, self.args.identity.id()),
        }
    }

    /// A wallet was reshared: no share of an earlier generation leaves any more.
    pub(super) fn switched(&mut self, certificate: Arc<WalletCertificate>) {
        self.sessions.cancel(Code::ReshareInProgress, |sheet| is_before(sheet, certificate.record()));
        self.desk.wallets.keep(certificate);
    }

    /// A wallet is destroyed: no share of a signature leaves any more.
    pub(super) fn gone(&mut self, wallet: &WalletId) {
        let is_of = |sheet: &Sheet| matches!(&sheet.task, Task::Sign { wallet: of, .. } if of == wallet);
        self.sessions.cancel(Code::WalletDestroyed, is_of);
        self.desk.wallets.forget(wallet);
    }

    /// Ends a session, and with it the request; one whose engine is still being built, when that is over.
    pub(super) fn give_up(&mut self, session: SheetHash, code: Code, culprit: NodeId) {
        self.end(session, code, [culprit].into());
    }

    fn end(&mut self, session: SheetHash, code: Code, culprits: BTreeSet<NodeId>) {
        if !self.sessions.call_off(session, code, culprits.clone()) {
            self.sessions.tell(session, SessionMsg::Cancel(code, culprits));
        }
    }
}

/// Whether a session is for an earlier generation of its key than this one.
fn is_before(sheet: &Sheet, record: &WalletRecord) -> bool {
    let Task::Sign { wallet, scheme, generation, .. } = &sheet.task else { return false };
    *wallet == record.wallet && record.key(*scheme).is_some_and(|key| key.generation > *generation)
}
