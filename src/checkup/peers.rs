//! Sessions on their way: proposals of peers, and engines as they are built.

use ractor::ActorRef;

use super::actor::{CheckupMsg, CheckupState, Work};
use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
use crate::keys::Signature;
use crate::session::Built;
use crate::supervision::beside;
use crate::transport::Inbound;
use crate::wire::message::{PeerMessage, SessionBody};

impl CheckupState {
    /// A peer's message.
    pub(super) fn peer(&mut self, myself: &ActorRef<CheckupMsg>, inbound: Inbound) {
        let Inbound { from, message, credit } = inbound;
        let PeerMessage::Session { session, body, .. } = message else { return };
        let SessionBody::Propose { sheet, signature } = body else {
            self.sessions.route(session, from, body, credit);
            return;
        };
        let at_work = self.sessions.len();
        if !self.sessions.proposed(&mut self.intake, from, session, at_work) {
            return;
        }
        let args = self.args.clone();
        beside(myself, async move {
            let result = args.check(from, session, sheet, signature).await.map(Box::new);
            // The link's budget is given back once the proposal is dealt with.
            drop(credit);
            Work::Built { from, session, result }
        });
    }

    /// An engine is built: start its session.
    pub(super) async fn built(
        &mut self,
        myself: &ActorRef<CheckupMsg>,
        from: NodeId,
        session: SheetHash,
        result: Result<Box<Built<Signature>>, Code>,
    ) {
        let started = self.sessions.start_built(&mut self.intake, from, session, result, myself.get_cell()).await;
        if started.is_err() {
            self.round_over(myself, session, started);
        }
    }
}
