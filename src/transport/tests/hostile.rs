//! The broker is an enemy: it reads, forges, replays, alters and reroutes.

use std::time::Duration;

use serde_bytes::ByteBuf;
use tokio::time::sleep;

use super::rig::*;
use crate::transport::broker::Broker;
use crate::transport::memory::{Conditions, Tapped};
use crate::transport::{LinkConfig, inbox_subject};
use crate::wire::frame::{Frame, FrameKind, MAX_FRAME_BYTES};

const SECOND: Duration = Duration::from_secs(1);

/// The link works and nobody has noticed anything.
async fn unharmed(a: &mut Node, b: &mut Node) {
    a.quiet_for(10 * SECOND).await;
    b.quiet_for(SECOND).await;
    a.send(2, message(42, 0));
    assert_eq!(number(&b.message().await.message), 42);
    assert_eq!((a.link(2).await.lives, b.link(1).await.lives), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn replayed_frames__should_be_dropped() {
    let rig = Rig::new(2);
    let mut tap = rig.faults.tap();
    let (mut a, mut b) = rig.linked_pair().await;
    for number in 0..20 {
        a.send(2, message(number, 100));
    }
    for expected in 0..20 {
        assert_eq!(number(&b.message().await.message), expected);
    }
    // Everything that was ever sent, the handshake included, three times over.
    let mut recorded: Vec<Tapped> = Vec::new();
    while let Ok(message) = tap.try_recv() {
        recorded.push(message);
    }
    assert!(recorded.len() > 22);
    for _ in 0..3 {
        for message in &recorded {
            rig.faults.inject(&message.subject, &message.payload);
        }
        sleep(SECOND).await;
    }
    assert!(b.link(1).await.traffic.replayed >= 60);
    unharmed(&mut a, &mut b).await;
    assert!(b.inboxes.signing.try_recv().is_err(), "nothing came twice");
}

#[tokio::test(start_paused = true)]
async fn forged_frames__should_be_dropped_and_counted() {
    let rig = Rig::new(2);
    let mut tap = rig.faults.tap();
    let (mut a, mut b) = rig.linked_pair().await;
    let data = loop {
        let frame = Frame::decode(&tap.recv().await.unwrap().payload).unwrap();
        if frame.kind == FrameKind::Data && frame.from == id(1) {
            break frame;
        }
    };
    let records = |len| vec![ByteBuf::from(vec![9; len])];
    let forgeries = [
        Frame { counter: 1 << 30, ..data.clone() },
        Frame { counter: 99, records: records(64), ..data.clone() },
        Frame { counter: 99, records: records(0), ..data.clone() },
        Frame { link: 1, ..data.clone() },
        Frame::handshake(id(1), FrameKind::Init, 1, vec![5; 64]),
        Frame::handshake(id(1), FrameKind::Init, data.link, vec![5; 64]),
        Frame::handshake(id(1), FrameKind::Init, 2, vec![]),
        Frame::handshake(id(1), FrameKind::Response, data.link, vec![5; 64]),
    ];
    for forged in &forgeries {
        rig.faults.inject(&subject(2), &forged.encode().unwrap());
    }
    sleep(SECOND).await;
    let traffic = b.link(1).await.traffic;
    assert_eq!(traffic.not_authentic + traffic.stale, forgeries.len() as u64);
    unharmed(&mut a, &mut b).await;
}

#[tokio::test(start_paused = true)]
async fn garbage__should_be_counted_and_nothing_else() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    let stranger = Frame::data(id(77), 1, 0, vec![ByteBuf::from(vec![1; 50])]).encode().unwrap();
    let garbage = [vec![], vec![0xc1; 30], vec![0; MAX_FRAME_BYTES + 1], b"hello".to_vec(), stranger];
    for bytes in &garbage {
        rig.faults.inject(&subject(2), bytes);
    }
    sleep(SECOND).await;
    assert_eq!(b.snapshot().await.strays, garbage.len() as u64);
    unharmed(&mut a, &mut b).await;
}

#[tokio::test(start_paused = true)]
async fn altered_frames__should_be_dropped() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    rig.faults.set(Conditions { corruption: 1.0, ..Conditions::PERFECT });
    for number in 0..10 {
        a.send(2, message(number, 3000));
    }
    sleep(SECOND / 2).await;
    rig.faults.set(Conditions::PERFECT);
    unharmed(&mut a, &mut b).await;
    assert!(b.inboxes.signing.try_recv().is_err());
    assert!(b.link(1).await.traffic.not_authentic > 0);
}

#[tokio::test(start_paused = true)]
async fn reordered_frames__should_arrive_all_the_same() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    rig.faults.set(Conditions { max_delay: Duration::from_millis(400), ..Conditions::PERFECT });
    for number in 0..200 {
        a.send(2, message(number, 100));
    }
    let mut arrived = Vec::new();
    for _ in 0..200 {
        arrived.push(number(&b.message().await.message));
    }
    assert!(!arrived.is_sorted());
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..200));
    unharmed(&mut a, &mut b).await;
}

#[tokio::test(start_paused = true)]
async fn member__should_not_speak_as_another() {
    let rig = Rig::new(3);
    let mut tap = rig.faults.tap();
    let (mut a, mut b, mut c) = (rig.start(1).await, rig.start(2).await, rig.start(3).await);
    for node in [&mut a, &mut b, &mut c] {
        node.event().await;
        node.event().await;
    }
    while tap.try_recv().is_ok() {}
    let stale = async |node: &Node, peer| node.link(peer).await.traffic.stale;
    let before = (stale(&b, 1).await, stale(&a, 3).await);
    // What node 3 says to node 2, as if node 1 had said it.
    c.send(2, message(66, 0));
    assert_eq!(b.message().await.from, id(3));
    let said = loop {
        let tapped = tap.recv().await.unwrap();
        if tapped.from == name(3) && tapped.subject == subject(2) {
            break Frame::decode(&tapped.payload).unwrap();
        }
    };
    rig.faults.inject(&subject(2), &Frame { from: id(1), ..said.clone() }.encode().unwrap());
    // The same to somebody else.
    rig.faults.inject(&subject(1), &said.encode().unwrap());
    unharmed(&mut a, &mut b).await;
    assert_eq!((stale(&b, 1).await, stale(&a, 3).await), (before.0 + 1, before.1 + 1));
    assert!(a.inboxes.signing.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn outsider__should_not_get_a_link() {
    let mut rig = Rig::new(2);
    let mut b = rig.start(2).await;
    // It has the name and the place of node 1, and another key.
    rig.book.insert(1, 200);
    let mut outsider = rig.start(1).await;
    b.quiet_for(60 * SECOND).await;
    outsider.quiet_for(SECOND).await;
    assert!(b.link(1).await.traffic.not_authentic > 0);
    // And one that nobody has heard of.
    rig.book.insert(3, 3);
    let mut stranger = rig.start(3).await;
    stranger.quiet_for(60 * SECOND).await;
    outsider.kill().await;
    rig.book.insert(1, 1);
    let mut a = rig.start(1).await;
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(start_paused = true)]
async fn other_cluster__should_stay_apart_on_the_same_broker() {
    let rig = Rig::new(2);
    let (mut args, inboxes) = rig.args(1);
    args.cluster = "elsewhere".parse().unwrap();
    // Even where somebody carries the messages over.
    let elsewhere = inbox_subject(&args.cluster, id(2));
    let mut elsewhere = rig.broker.connect("bridge").subscribe(&elsewhere).await.unwrap();
    let faults = rig.faults.clone();
    tokio::spawn(async move {
        while let Some(message) = elsewhere.next().await {
            faults.inject(&subject(2), &message);
        }
    });
    let mut a = Node::start(args, inboxes).await;
    let mut b = rig.start(2).await;
    a.quiet_for(30 * SECOND).await;
    b.quiet_for(30 * SECOND).await;
    assert!(b.link(1).await.traffic.not_authentic > 10);
    assert!(b.link(1).await.up.is_none() && a.link(2).await.up.is_none());
}

#[tokio::test(start_paused = true)]
async fn handshake_messages_of_a_former_life__should_not_disturb_the_present_one() {
    let rig = Rig::new(2);
    let mut tap = rig.faults.tap();
    let (mut a, mut b) = rig.linked_pair().await;
    a.kill().await;
    b.down(1).await;
    a = rig.start(1).await;
    a.up(2).await;
    b.up(1).await;
    let mut recorded: Vec<Tapped> = Vec::new();
    while let Ok(message) = tap.try_recv() {
        recorded.push(message);
    }
    recorded.retain(|message| Frame::decode(&message.payload).unwrap().kind != FrameKind::Data);
    for _ in 0..30 {
        for message in &recorded {
            rig.faults.inject(&message.subject, &message.payload);
        }
        sleep(SECOND).await;
    }
    let lives = b.link(1).await.lives;
    a.quiet_for(10 * SECOND).await;
    b.quiet_for(SECOND).await;
    assert_eq!(b.link(1).await.lives, lives);
}

#[tokio::test(start_paused = true)]
async fn flood__should_be_bounded_before_the_mailbox() {
    let mut rig = Rig::new(2);
    rig.config = LinkConfig { budget_bytes: 100_000, ..LinkConfig::default() };
    let (mut a, mut b) = rig.linked_pair().await;
    let forged = Frame::data(id(1), 1, 0, vec![ByteBuf::from(vec![1; 9_000])]).encode().unwrap();
    for _ in 0..100 {
        // More at once than the link may hold: nothing yields in between.
        for _ in 0..16 {
            rig.faults.inject(&subject(2), &forged);
        }
        sleep(SECOND / 100).await;
    }
    let traffic = b.link(1).await.traffic;
    assert!(traffic.over_limit > 0, "{traffic:?}");
    assert_eq!(traffic.over_limit + traffic.stale, 1600);
    unharmed(&mut a, &mut b).await;
}

#[tokio::test(start_paused = true)]
async fn slow_service__should_cost_its_messages_and_not_the_link() {
    let mut rig = Rig::new(2);
    rig.config = LinkConfig { budget_bytes: 100_000, ..LinkConfig::default() };
    let (mut a, mut b) = rig.linked_pair().await;
    for number in 0..30 {
        a.send(2, message(number, 9_000));
    }
    // The service takes the messages and does not let go of their credit.
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(b.message().await);
    }
    b.quiet_for(60 * SECOND).await;
    assert!(held.iter().map(|inbound| inbound.credit.bytes()).sum::<usize>() <= 100_000);
    assert_eq!(b.link(1).await.traffic.over_limit, 20);
    drop(held);
    unharmed(&mut a, &mut b).await;
}
