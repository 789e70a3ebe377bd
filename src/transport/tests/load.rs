//! Much traffic over bad networks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rig::*;
use crate::transport::memory::Conditions;
use crate::wire::message::MAX_PEER_MESSAGE_BYTES;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn longest_messages__should_pass() {
    let rig = Rig::new(2);
    let (a, mut b) = rig.linked_pair().await;
    // A round's other fields take less than this.
    let longest = MAX_PEER_MESSAGE_BYTES - 300;
    for number in 0..20 {
        a.send(2, message(number, longest));
    }
    for expected in 0..20 {
        let inbound = b.message().await;
        assert_eq!(number(&inbound.message), expected);
        assert!(inbound.credit.bytes() > longest);
    }
}

#[tokio::test(start_paused = true)]
async fn message_beyond_the_limit__should_be_dropped_where_it_is_sent() {
    let rig = Rig::new(2);
    let (mut a, mut b) = rig.linked_pair().await;
    a.send(2, message(1, MAX_PEER_MESSAGE_BYTES));
    a.send(2, message(2, 0));
    assert_eq!(number(&b.message().await.message), 2);
    assert_eq!(a.link(2).await.traffic.too_long, 1);
    a.quiet_for(10 * SECOND).await;
}

/// Ten minutes of messages both ways; gives what arrived.
async fn weather(conditions: Conditions) -> (Vec<u64>, u64) {
    let rig = Rig::new(2);
    let (a, mut b) = rig.linked_pair().await;
    rig.faults.set(conditions);
    for number in 0..3000 {
        a.send(2, message(number, 200));
        b.send(1, message(number, 200));
        tokio::time::sleep(SECOND / 5).await;
    }
    rig.faults.set(Conditions::PERFECT);
    tokio::time::sleep(10 * SECOND).await;
    let mut arrived = Vec::new();
    while let Ok(inbound) = b.inboxes.signing.try_recv() {
        arrived.push(number(&inbound.message));
    }
    (arrived, b.link(1).await.lives)
}

#[tokio::test(start_paused = true)]
async fn bad_weather__should_deliver_at_most_once() {
    let (arrived, lives) = weather(Conditions {
        loss: 0.2,
        duplication: 0.2,
        reordering: 0.2,
        late_by: SECOND,
        min_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(50),
        corruption: 0.01,
    })
    .await;
    let distinct: BTreeSet<u64> = arrived.iter().copied().collect();
    assert_eq!(distinct.len(), arrived.len(), "twice");
    assert!((2200..2600).contains(&arrived.len()), "{} of 3000", arrived.len());
    assert!(!arrived.is_sorted());
    assert!(lives < 10, "{lives} lives in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn duplicates__should_never_come_through() {
    let (arrived, lives) = weather(Conditions { duplication: 1.0, ..Conditions::PERFECT }).await;
    assert!(arrived.into_iter().eq(0..3000));
    assert_eq!(lives, 1);
}
