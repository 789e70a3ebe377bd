//! Whoever can write to inboxes, and is no member.

use std::time::Instant;

use quorate::ids::NodeId;
use quorate::testing::PATIENCE;
use quorate::transport::memory::Tapped;
use quorate::transport::{LinkTraffic, TransportMsg, TransportSnapshot, inbox_subject};
use quorate::wire::frame::{Frame, FrameKind};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

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

/// How many messages of a flood are on their way at most: as many as an inbox holds would be dropped unseen.
const AT_A_TIME: u64 = 2000;

/// What an outsider can write without knowing anything: bytes, and frames in other people's names.
struct Garbage {
    random: StdRng,
    names: Vec<NodeId>,
}

impl Garbage {
    fn next(&mut self) -> Vec<u8> {
        let len = self.random.random_range(0..200);
        let mut bytes = vec![0; len];
        self.random.fill_bytes(&mut bytes);
        let from = self.names[self.random.random_range(0..self.names.len())];
        let link = self.random.next_u64();
        let frame = match self.random.random_range(0..5) {
            0 => return bytes,
            1 => Frame::request(from),
            2 => Frame::handshake(from, FrameKind::Init, link, bytes),
            3 => Frame::handshake(from, FrameKind::Response, link, bytes),
            _ => Frame::data(from, link, self.random.random_range(0..1 << 40), vec![ByteBuf::from(bytes)]),
        };
        frame.encode().unwrap()
    }
}

/// How many messages a node has looked at and thrown away.
fn thrown_away(snapshot: &TransportSnapshot) -> u64 {
    let of = |link: &LinkTraffic| link.not_authentic + link.replayed + link.stale + link.over_limit;
    snapshot.strays + snapshot.links.values().map(|link| of(&link.traffic)).sum::<u64>()
}

#[tokio::test(flavor = "multi_thread")]
async fn million_messages_of_garbage__should_cost_time_and_nothing_else() {
    const MESSAGES: u64 = 1_000_000;
    let stage = Stage::new().await;
    let faults = stage.cluster.broker().faults(1);
    let honest: Vec<NodeId> = (0..2).map(|which| stage.honest(which).id()).collect();
    let names = [honest.as_slice(), &[stage.liar.id(), NodeId(Uuid::from_u128(99))]].concat();
    let victim = inbox_subject(&stage.liar.args().settings.cluster, honest[0]);
    let mut garbage = Garbage { random: StdRng::seed_from_u64(1), names };
    stage.honest_signing_works().await;
    let handshakes = transport(&stage, 0).await.links[&honest[1]].lives;
    let (begun, mut sent, mut signed) = (Instant::now(), 0, 0);
    while sent < MESSAGES {
        let before = thrown_away(&transport(&stage, 0).await);
        for _ in 0..AT_A_TIME {
            assert_eq!(faults.inject(&victim, &garbage.next()), 1);
        }
        sent += AT_A_TIME;
        // A request for a handshake is not thrown away if it leads to one.
        let seen = before + AT_A_TIME - AT_A_TIME / 100;
        eventually(|| async { (thrown_away(&transport(&stage, 0).await) >= seen).then_some(()) }).await;
        if sent % (MESSAGES / 20) == 0 {
            stage.honest_signing_works().await;
            signed += 1;
        }
    }
    let took = begun.elapsed();
    println!(
        "a million messages took {took:?}, {:.2} us each; {signed} signatures meanwhile",
        took.as_micros() as f64 / 1e6
    );
    let link = transport(&stage, 0).await.links[&honest[1]];
    assert_eq!((link.lives, link.traffic.undelivered), (handshakes, 0), "the link never went down");
    let signing = stage.snapshot(0).await;
    assert_eq!((signing.aborted, signing.last_abort), (0, None));
}
