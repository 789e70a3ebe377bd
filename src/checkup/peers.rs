//! Sessions on their way: proposals of peers, and engines as they are built.

use ractor::ActorRef;

use super::actor::{CheckupMsg, CheckupState, Work};
use super::args::Ready;
use crate::error::Code;
use crate::ids::{NodeId, SheetHash};
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
        result: Result<Box<Ready>, Code>,
    ) {
        let me = self.args.identity.id();
        let stands = from == me || self.sessions.checked(&mut self.intake, from, session);
        let started = match result {
            Ok(ready) => {
                let Ready { sheet, engine } = *ready;
                if from != me && !self.sessions.begin(&sheet) {
                    // The same proposal, once more.
                    return;
                }
                let called_off = self.sessions.called_off(session);
                match called_off.or_else(|| (!stands).then(|| (Code::PeerUnavailable, [from].into()))) {
                    Some(why) => Err(why),
                    None => self.sessions.start(sheet, engine, None, myself.get_cell()).await.map_err(|error| {
                        tracing::error!(%session, %error, "failed to start a session");
                        (Code::Internal, [me].into())
                    }),
                }
            }
            Err(code) => Err((code, [me].into())),
        };
        let Err((code, culprits)) = started else { return };
        self.sessions.ended(session);
        if from == me {
            self.round_over(myself, session, Err((code, culprits)));
        } else {
            tracing::info!(peer = %from, %session, %code, "a check-up's session is refused");
            self.sessions.post().refuse(from, session, code);
        }
    }
}
