//! Whoever can write to inboxes, and is no member.

use quorate::ids::NodeId;
use quorate::testing::PATIENCE;
use quorate::transport::memory::Tapped;
use quorate::transport::{TransportMsg, TransportSnapshot, inbox_subject};
use quorate::wire::frame::{Frame, FrameKind};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::stage::{Stage, check, eventually};

/// The transport of an honest node.
async fn transport(stage: &Stage, which: usize) -> TransportSnapshot {
    stage.honest(which).addresses().transport.call(PATIENCE, TransportMsg::Snapshot).await.unwrap()
}

/// Everything that was published since the tap was opened.
fn drain(tap: &mut UnboundedReceiver<Tapped>) -> Vec<Tapped> {
    std::iter::from_fn(|| tap.try_recv().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn outsider__should_not_disturb_a_signing_whatever_it_writes_to_inboxes() {
    let stage = Stage::new().await;
    let faults = stage.cluster.broker().faults(1);
    let mut tap = faults.tap();
    let honest: Vec<NodeId> = (0..2).map(|which| stage.honest(which).id()).collect();
    let cluster = &stage.liar.args().settings.cluster;
    let subjects: Vec<String> = honest.iter().map(|&node| inbox_subject(cluster, node)).collect();
    stage.honest_signing_works().await;
    let mut ahead = [0; 2];
    for turn in 0..20_u8 {
        let request = stage.request("w");
        let answer = stage.ask(usize::from(turn) % 2, &request);
        for captured in drain(&mut tap).into_iter().take(50) {
            // As it was, to whom it was for, and to the other; in another's name; damaged; cut short.
            let mut forged = Frame::decode(&captured.payload).unwrap();
            forged.from = if forged.from == honest[0] { honest[1] } else { honest[0] };
            let mut damaged = captured.payload.clone();
            let middle = damaged.len() / 2 + usize::from(turn);
            damaged.iter_mut().skip(middle).step_by(7).for_each(|byte| *byte ^= 1 + turn);
            // A record of the peer's under a counter that comes much later: not a replay, and not what the peer sealed.
            let mut moved = Frame::decode(&captured.payload).unwrap();
            for which in 0..2 {
                let peers = captured.subject == subjects[which] && moved.from == honest[1 - which];
                if peers && moved.kind == FrameKind::Data {
                    moved.counter += 1 << 30;
                    assert_eq!(faults.inject(&subjects[which], &moved.encode().unwrap()), 1);
                    ahead[which] += 1;
                }
            }
            for subject in &subjects {
                for payload in [&captured.payload[..], &forged.encode().unwrap(), &damaged, &captured.payload[..9]] {
                    assert_eq!(faults.inject(subject, payload), 1);
                }
            }
        }
        for (which, subject) in subjects.iter().enumerate() {
            assert_eq!(faults.inject(subject, &[turn; 100]), 1);
            let asks = Frame::request(honest[1 - which]).encode().unwrap();
            for _ in 0..20 {
                assert_eq!(faults.inject(subject, &asks), 1);
            }
        }
        check(&answer.await.unwrap(), &request);
    }
    stage.honest_signing_works().await;
    for which in 0..2 {
        let peer = honest[1 - which];
        assert!(ahead[which] > 0, "the peer sent something");
        // What is damaged is mostly taken for the replay that it would be otherwise.
        let snapshot = eventually(|| async {
            Some(transport(&stage, which).await).filter(|now| now.links[&peer].traffic.not_authentic >= ahead[which])
        })
        .await;
        assert!(snapshot.strays > 0, "garbage is counted");
        let link = snapshot.links[&peer];
        assert!(link.traffic.replayed > 0, "what was captured came again: {:?}", link.traffic);
        assert_eq!((link.lives, link.traffic.undelivered), (1, 0), "the link never went down");
        let signing = stage.snapshot(which).await;
        assert_eq!((signing.aborted, signing.last_abort), (0, None));
    }
}
