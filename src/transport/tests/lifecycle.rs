//! Links come up, go down for every reason there is, are reported, and come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::rig::*;
use crate::ids::{Epoch, WalletId};
use crate::transport::{DownReason, PeerEvent, Readiness, TransportMsg};
use crate::wire::message::{PeerMessage, Service};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn links__should_come_up_between_all_nodes_and_route_by_service() {
    let rig = Rig::new(3);
    let (mut a, mut b, c) = (rig.start(1).await, rig.start(2).await, rig.start(3).await);
    for node in [&mut a, &mut b] {
        let events = [node.event().await, node.event().await];
        assert!(events.iter().all(|event| matches!(event, PeerEvent::Up { .. })), "{events:?}");
    }
    a.send(2, refusal(Service::Keygen));
    a.send(2, refusal(Service::Pairing));
    a.send(2, message(5, 0));
    let wallet: WalletId = "w".parse().unwrap();
    c.send(2, PeerMessage::KeygenQuery { wallet, session: crate::ids::SheetHash([9; 32]) });
    let at_signing = b.message().await;
    assert_eq!((at_signing.from, number(&at_signing.message)), (id(1), 5));
    assert_eq!(b.inboxes.pairing.recv().await.unwrap().from, id(1));
    assert_eq!(b.inboxes.keygen.recv().await.unwrap().from, id(1));
    assert_eq!(b.inboxes.keygen.recv().await.unwrap().from, id(3));
    let traffic = b.link(1).await.traffic;
    assert_eq!((traffic.delivered, traffic.undelivered, traffic.over_limit), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn links__should_start_in_any_order() {
    let rig = Rig::new(2);
    let mut b = rig.start(2).await;
    tokio::time::sleep(30 * SECOND).await;
    let mut a = rig.start(1).await;
    a.up(2).await;
    b.up(1).await;
    let a = a.stop().await;
    drop(a);
    assert_eq!(b.down(1).await, DownReason::Goodbye);
    tokio::time::sleep(30 * SECOND).await;
    let mut a = rig.start(1).await;
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(start_paused = true)]
async fn readiness__should_reach_peers_at_once_and_again_with_every_heartbeat() {
    let rig = Rig::new(2);
    let (a, mut b) = rig.linked_pair().await;
    let ready = Readiness { serving: true, pairs: vec![(id(2), Epoch(4))] };
    let before = Instant::now();
    a.transport.cast(TransportMsg::SetReadiness(ready.clone())).unwrap();
    assert_eq!(b.readiness(1, |readiness| readiness.serving).await, ready);
    assert_eq!(before.elapsed(), Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(b.readiness(1, |_| true).await, ready);
    }
    assert!(before.elapsed() <= 4 * SECOND);
    // A link that starts anew says it from the start.
    rig.faults.disconnect(&name(2));
    rig.faults.reconnect(&name(2));
    assert_eq!(b.down(1).await, DownReason::BrokerLost);
    b.up(1).await;
    assert_eq!(b.readiness(1, |_| true).await, ready);
}

#[tokio::test(start_paused = true)]
async fn silent_peer__should_be_down_within_the_heartbeat_limit() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    tokio::time::sleep(10 * SECOND).await;
    rig.faults.partition(&name(1), &name(2));
    let cut = Instant::now();
    assert_eq!(a.down(2).await, DownReason::Silent);
    assert_eq!(b.down(1).await, DownReason::Silent);
    assert!(cut.elapsed() <= rig.config.lost_after(), "{:?}", cut.elapsed());
    a.quiet_for(20 * SECOND).await;
    rig.faults.heal();
    a.up(2).await;
    b.up(1).await;
    a.send(2, message(3, 0));
    assert_eq!(number(&b.message().await.message), 3);
}

#[tokio::test(start_paused = true)]
async fn one_way_partition__should_be_down_on_both_sides_and_heal_by_itself() {
    for (from, to) in [(1, 2), (2, 1)] {
        let rig = Rig::new(2);
        let (mut a, mut b) = rig.linked_pair().await;
        rig.faults.cut(&name(from), &name(to));
        let cut = Instant::now();
        a.down(2).await;
        b.down(1).await;
        assert!(cut.elapsed() <= 2 * rig.config.lost_after());
        a.quiet_for(30 * SECOND).await;
        b.quiet_for(30 * SECOND).await;
        rig.faults.heal();
        a.up(2).await;
        b.up(1).await;
        a.quiet_for(60 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unsubscribed_peer__should_be_down_with_the_very_message() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    rig.faults.disconnect(&name(2));
    let sent = Instant::now();
    a.send(2, message(1, 0));
    assert_eq!(a.down(2).await, DownReason::NoResponders);
    assert_eq!(b.down(1).await, DownReason::BrokerLost);
    assert_eq!(sent.elapsed(), Duration::ZERO);
    rig.faults.reconnect(&name(2));
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(start_paused = true)]
async fn killed_peer__should_be_noticed_and_welcomed_back() {
    for dead in [1, 2] {
        let rig = Rig::new(2);
        let (a, b) = rig.linked_pair().await;
        let (dying, mut other) = if dead == 1 { (a, b) } else { (b, a) };
        dying.kill().await;
        let killed = Instant::now();
        other.down(dead).await;
        assert!(killed.elapsed() <= rig.config.lost_after());
        other.quiet_for(60 * SECOND).await;
        let mut back = rig.start(dead).await;
        back.up(3 - dead).await;
        other.up(dead).await;
    }
}

#[tokio::test(start_paused = true)]
async fn quick_restart__should_be_reported_down_and_up_again_at_once() {
    for restarted in [1, 2] {
        let rig = Rig::new(2);
        let (a, b) = rig.linked_pair().await;
        let (dying, mut other) = if restarted == 1 { (a, b) } else { (b, a) };
        tokio::time::sleep(10 * SECOND).await;
        dying.kill().await;
        let mut back = rig.start(restarted).await;
        let began = Instant::now();
        assert_eq!(other.down(restarted).await, DownReason::PeerRestarted);
        assert_eq!(began.elapsed(), Duration::ZERO, "no time is waited for");
        other.up(restarted).await;
        back.up(3 - restarted).await;
        assert!(began.elapsed() < 2 * rig.config.restart_backoff, "{:?}", began.elapsed());
        back.quiet_for(30 * SECOND).await;
        other.quiet_for(30 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown__should_say_goodbye_and_report_every_link_once() {
    let rig = Rig::new(3);
    let (mut a, mut b, c) = (rig.start(1).await, rig.start(2).await, rig.start(3).await);
    for node in [&mut a, &mut b] {
        node.event().await;
        node.event().await;
    }
    let stopped = Instant::now();
    let mut own = c.stop().await;
    assert_eq!(a.down(3).await, DownReason::Goodbye);
    assert_eq!(b.down(3).await, DownReason::Goodbye);
    assert_eq!(stopped.elapsed(), Duration::ZERO);
    let mut downs = 0;
    while let Some(event) = own.events.recv().await {
        downs += usize::from(matches!(event, PeerEvent::Down { reason: DownReason::Stopped, .. }));
    }
    assert_eq!(downs, 2);
}

#[tokio::test(start_paused = true)]
async fn broker_loss__should_take_all_links_down_until_it_is_back() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    rig.faults.disconnect(&name(1));
    assert_eq!(a.down(2).await, DownReason::BrokerLost);
    assert!(!a.snapshot().await.connected);
    b.down(1).await;
    let lives = a.link(2).await.lives;
    a.quiet_for(60 * SECOND).await;
    assert_eq!(a.link(2).await.lives, lives, "no link starts without a broker");
    rig.faults.reconnect(&name(1));
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(start_paused = true)]
async fn short_broker_loss__should_not_be_slept_through() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    rig.faults.disconnect(&name(1));
    rig.faults.reconnect(&name(1));
    assert_eq!(a.down(2).await, DownReason::BrokerLost);
    a.up(2).await;
    assert_eq!(b.down(1).await, DownReason::PeerRestarted);
    b.up(1).await;
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_link__should_be_a_link_failure_like_any_other() {
    let rig = Rig::new(2);
    let mut a = rig.start(1).await;
    let (mut args, inboxes) = rig.args(2);
    args.services.pairing = Arc::new(Bomb);
    let mut b = Node::start(args, inboxes).await;
    for _ in 0..3 {
        a.up(2).await;
        b.up(1).await;
        a.send(2, refusal(Service::Pairing));
        assert_eq!(b.down(1).await, DownReason::Crashed);
        a.down(2).await;
    }
    a.up(2).await;
    b.up(1).await;
    a.send(2, message(4, 0));
    assert_eq!(number(&b.message().await.message), 4);
}

#[tokio::test(start_paused = true)]
async fn panic_of_the_transport__should_report_its_links_down_and_leave_them_to_its_successor() {
    let rig = Rig::new(2);
    let (mut a, b) = rig.linked_pair().await;
    b.transport.cast(TransportMsg::InjectPanic).unwrap();
    let Node { handle, mut inboxes, .. } = b;
    handle.await.unwrap();
    let mut downs = Vec::new();
    while let Some(event) = inboxes.events.recv().await {
        if let PeerEvent::Down { reason, .. } = event {
            downs.push(reason);
        }
    }
    assert_eq!(downs, [DownReason::Stopped]);
    let mut b = rig.start(2).await;
    a.down(2).await;
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(start_paused = true)]
async fn sending_to_a_peer_that_is_down__should_report_it_down_again() {
    let rig = Rig::new(2);
    let mut a = rig.start(1).await;
    for to in [2, 9] {
        a.send(to, message(1, 0));
        assert_eq!(a.down(to).await, DownReason::NotUp);
    }
    let mut b = rig.start(2).await;
    a.up(2).await;
    b.up(1).await;
    assert_eq!(a.link(2).await.traffic.sent, 0);
}

#[tokio::test(start_paused = true)]
async fn flapping_link__should_back_off_and_leave_the_others_alone() {
    let rig = Rig::new(3);
    let (mut a, b) = (rig.start(1).await, rig.start(2).await);
    let (mut args, inboxes) = rig.args(3);
    args.services.signing = Arc::new(Bomb);
    let _c = Node::start(args, inboxes).await;
    let start = Instant::now();
    let mut ups = 0;
    while start.elapsed() < 60 * SECOND {
        match a.event().await {
            PeerEvent::Up { peer, .. } if peer == id(3) => {
                ups += 1;
                a.send(3, message(0, 0));
            }
            PeerEvent::Down { peer, .. } => assert_eq!(peer, id(3)),
            _ => {}
        }
    }
    assert!((5..60).contains(&ups), "{ups} times up");
    assert_eq!((b.link(1).await.lives, b.link(1).await.up.is_some()), (1, true));
}
