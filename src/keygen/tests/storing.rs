//! A run whose shares are being made durable while other things happen.

use super::*;
use crate::error::Code;
use crate::protocol::keygen::{Keygen, KeygenOutput};
use crate::protocol::{Party, Progress, Recipient, RunContext, rng};
use crate::session::PAYLOAD_DOMAIN;
use crate::storage::{Family, Point};
use crate::wire::message::SecretPayload;

impl Rig {
    /// Member 0 of 2 has the member under test take part in a key generation, and plays its own part of the protocol.
    async fn generate(&mut self, wallet: &str) -> (SheetHash, KeygenOutput) {
        let sheet = self.sheet(wallet, Duration::from_secs(60));
        let session = self.propose(&sheet);
        let index = |node| sheet.index_of(node).unwrap();
        let (liar, victim) = (index(self.bench.id(0)), index(self.bench.id(ME)));
        let context = RunContext { session, me: liar, parties: sheet.parties() };
        let schemes = [Scheme::Ed25519].into();
        let mut party = Keygen::new(context, self.bench.settings.threshold, &schemes, rng::os()).unwrap();
        let mut progress = party.start().unwrap();
        loop {
            self.send_all(session, &progress);
            if let Some(output) = progress.output {
                return (session, output);
            }
            progress = match self.said(session).await {
                SessionBody::Round { round, payload, .. } => party.receive(victim, round, &payload.0).unwrap(),
                other => panic!("{other:?}"),
            };
        }
    }

    fn send_all(&self, session: SheetHash, progress: &Progress<KeygenOutput>) {
        for outgoing in &progress.send {
            let to = match outgoing.to {
                Recipient::All => None,
                Recipient::One(index) => Some(index),
            };
            let header = [outgoing.round, 1, to.map_or(0, crate::ids::PartyIndex::get)];
            let signature = self.bench.identity(0).sign(PAYLOAD_DOMAIN, &[&session.0, &header, &outgoing.payload]);
            let payload = SecretPayload(outgoing.payload.clone());
            self.say(0, session, SessionBody::Round { round: outgoing.round, to, payload, signature });
        }
    }

    /// The first thing that is said in a session besides the protocol's messages.
    async fn said_at_last(&mut self, session: SheetHash) -> SessionBody {
        loop {
            match self.said(session).await {
                SessionBody::Round { .. } => {}
                body => return body,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client__should_be_answered_when_it_comes_for_a_run_that_has_failed() {
    let mut rig = Rig::start((2, 2), async |_, _| (), |_| ()).await;
    let mut hold = rig.bench.faults.hold_of(Point::BeforeWrite, Family::Shares);
    let (session, _) = rig.generate("w").await;
    hold.reached().await;
    rig.say(0, session, SessionBody::Abort { code: Code::Cancelled, culprits: vec![], round: 0 });
    rig.until("the run has failed", |snapshot| snapshot.aborted == 1).await;
    // What becomes of its shares is not known before they are stored.
    let failure = rig.ask("w").await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::SessionDuplicate);
    drop(hold);
    rig.until("the shares are to be settled", |snapshot| snapshot.unsettled.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member__should_sign_when_its_shares_are_stored_later_than_it_waits() {
    let mut rig = Rig::start((2, 2), async |_, _| (), |args| args.storage = args.storage.with(impatience())).await;
    let mut hold = rig.bench.faults.hold_of(Point::BeforeWrite, Family::Shares);
    let (session, _) = rig.generate("w").await;
    hold.reached().await;
    rig.until_write_waits().await;
    drop(hold);
    let said = rig.said_at_last(session).await;
    assert!(matches!(said, SessionBody::RecordSigned { .. }), "{said:?}");
}
