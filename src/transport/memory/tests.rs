use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

async fn publish(from: &MemoryConnection, payload: &[u8]) -> Result<(), PublishError> {
    from.publish("inbox", payload.to_vec()).await
}

/// Everything that arrives until nothing does for a minute.
async fn drain(subscription: &mut Subscription) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Ok(Some(payload)) = tokio::time::timeout(60 * SECOND, subscription.next()).await {
        all.push(payload);
    }
    all
}

#[tokio::test]
async fn broker__should_say_at_once_that_nobody_listens() {
    let broker = MemoryBroker::new();
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    assert_eq!(publish(&a, b"1").await, Err(PublishError::NoResponders));
    let subscription = b.subscribe("inbox").await.unwrap();
    assert_eq!(publish(&a, b"2").await, Ok(()));
    drop(subscription);
    assert_eq!(publish(&a, b"3").await, Err(PublishError::NoResponders));
}

#[tokio::test(start_paused = true)]
async fn broker__should_keep_order_without_faults() {
    let broker = MemoryBroker::new();
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    let mut subscription = b.subscribe("inbox").await.unwrap();
    let sent: Vec<Vec<u8>> = (0..50).map(|i| vec![i]).collect();
    for payload in &sent {
        publish(&a, payload).await.unwrap();
    }
    assert_eq!(drain(&mut subscription).await, sent);
}

#[tokio::test]
async fn broker__should_not_let_a_slow_subscriber_hold_up_another() {
    let broker = MemoryBroker::new();
    let (a, b, c) = (broker.connect("a"), broker.connect("b"), broker.connect("c"));
    let slow = b.subscribe("inbox").await.unwrap();
    let mut quick = c.subscribe("inbox").await.unwrap();
    for _ in 0..20_000 {
        publish(&a, b"x").await.unwrap();
        assert!(quick.next().await.is_some());
    }
    assert!(slow.dropped() > 0);
    assert_eq!(quick.dropped(), 0);
}

#[tokio::test]
async fn disconnect__should_show_on_both_sides_and_end() {
    let broker = MemoryBroker::new();
    let faults = broker.faults(1);
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    let mut subscription = b.subscribe("inbox").await.unwrap();
    let mut state = b.connection();
    faults.disconnect("b");
    state.changed().await.unwrap();
    assert_eq!(*state.borrow_and_update(), Connection { losses: 1, ..Connection::DOWN });
    assert_eq!(publish(&a, b"1").await, Err(PublishError::NoResponders));
    assert_eq!(publish(&b, b"2").await, Err(PublishError::Disconnected));
    faults.reconnect("b");
    state.changed().await.unwrap();
    assert_eq!(*state.borrow_and_update(), Connection { losses: 1, ..Connection::UP });
    assert_eq!(publish(&a, b"3").await, Ok(()));
    assert_eq!(subscription.next().await, Some(b"3".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn cut__should_work_one_way_and_heal() {
    let broker = MemoryBroker::new();
    let faults = broker.faults(1);
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    let mut inbox = b.subscribe("inbox").await.unwrap();
    let mut back = a.subscribe("back").await.unwrap();
    faults.cut("a", "b");
    assert_eq!(publish(&a, b"1").await, Ok(()), "a cut is silent");
    b.publish("back", b"2".to_vec()).await.unwrap();
    assert_eq!(back.next().await, Some(b"2".to_vec()));
    faults.heal();
    publish(&a, b"3").await.unwrap();
    assert_eq!(drain(&mut inbox).await, [b"3".to_vec()]);
}

#[tokio::test(start_paused = true)]
async fn mend__should_end_one_cut_and_spared_ways_meet_no_conditions() {
    let broker = MemoryBroker::new();
    let faults = broker.faults(1);
    let (a, b, c) = (broker.connect("a"), broker.connect("b"), broker.connect("c"));
    let mut inbox = b.subscribe("inbox").await.unwrap();
    faults.cut("a", "b");
    faults.cut("c", "b");
    faults.mend("a", "b");
    publish(&a, b"1").await.unwrap();
    publish(&c, b"2").await.unwrap();
    assert_eq!(drain(&mut inbox).await, [b"1".to_vec()]);

    faults.heal();
    faults.set(Conditions { loss: 1.0, ..Conditions::PERFECT });
    faults.spare("b", "a");
    publish(&a, b"3").await.unwrap();
    publish(&c, b"4").await.unwrap();
    assert_eq!(drain(&mut inbox).await, [b"3".to_vec()]);
}

/// 400 numbered messages under heavy weather.
async fn storm(seed: u64) -> Vec<Vec<u8>> {
    let broker = MemoryBroker::new();
    let faults = broker.faults(seed);
    faults.set(Conditions {
        loss: 0.2,
        duplication: 0.2,
        corruption: 0.1,
        reordering: 0.2,
        late_by: SECOND,
        min_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(30),
    });
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    let mut subscription = b.subscribe("inbox").await.unwrap();
    for number in 0_u16..400 {
        publish(&a, &number.to_be_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drain(&mut subscription).await
}

#[tokio::test(start_paused = true)]
async fn faults__should_do_the_same_under_the_same_seed() {
    let first = storm(7).await;
    assert_eq!(first, storm(7).await);
    assert_ne!(first, storm(8).await);
}

#[tokio::test(start_paused = true)]
async fn faults__should_lose_repeat_alter_and_reorder() {
    let arrived = storm(7).await;
    let numbers: Vec<u16> = arrived.iter().map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]])).collect();
    let distinct: std::collections::BTreeSet<u16> = numbers.iter().copied().collect();
    assert!((250..380).contains(&distinct.len()), "{} of 400", distinct.len());
    assert!(numbers.len() > distinct.len() + 30, "repeats");
    assert!(!numbers.is_sorted(), "out of order");
    assert!(distinct.iter().any(|number| *number >= 400), "altered");
}

#[tokio::test]
async fn tap__should_see_and_inject_raw_messages() {
    let broker = MemoryBroker::new();
    let faults = broker.faults(1);
    let (a, b) = (broker.connect("a"), broker.connect("b"));
    let mut subscription = b.subscribe("inbox").await.unwrap();
    let mut tap = faults.tap();
    faults.filter(|message| message.payload != b"no");
    publish(&a, b"no").await.unwrap();
    assert_eq!(faults.inject("inbox", b"forged"), 1);
    let seen = tap.recv().await.unwrap();
    assert_eq!((seen.from.as_str(), seen.to.as_str(), seen.payload.as_slice()), ("a", "b", &b"no"[..]));
    assert_eq!(subscription.next().await, Some(b"forged".to_vec()));
}
