//! A peer whose link is well and that says nothing.

use std::time::{Duration, Instant};

use quorate::error::Code;
use quorate::testing::eventually;

use crate::stage::{ANY, assert_failure, cluster, hold_signing, until_idle};

const DEADLINE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn deadline__should_name_who_is_awaited_and_the_round() {
    let cluster = cluster(2, 3, |settings| settings.signing_deadline = DEADLINE).await;
    let held = hold_signing(&cluster, 0).await;
    let failure =
        assert_failure(held.client.await.unwrap(), Code::SessionTimeout, &[cluster.id(held.participant).unwrap()]);
    assert!(failure.reason.contains("round 2"), "{failure}");
    drop(held.hold);
    until_idle(&cluster, 0).await;
    until_idle(&cluster, held.participant).await;

    let silent = [cluster.silence(1).await.unwrap(), cluster.silence(2).await.unwrap()];
    let asked = Instant::now();
    let request = cluster.sign_request(ANY, "w").unwrap();
    let failure = cluster.client(0).unwrap().sign(request).await.unwrap_err();
    assert!(asked.elapsed() >= DEADLINE, "{:?}", asked.elapsed());
    assert_eq!((failure.code, failure.culprits.len()), (Code::SessionTimeout, 1), "{failure}");
    assert!(failure.culprits.iter().all(|&node| node != cluster.id(0).unwrap()), "{failure}");
    assert!(failure.reason.contains("round 1"), "{failure}");
    drop(silent);
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_peer__should_hold_up_only_the_sessions_it_is_in() {
    const STUCK: usize = 50;
    let cluster = cluster(2, 3, |settings| settings.signing_deadline = Duration::from_secs(25)).await;
    let silent = cluster.silence(2).await.unwrap();
    // The two peers take turns, so that the silent one is in every other session.
    let client = cluster.client(0).unwrap();
    let running: Vec<_> =
        (0..2 * STUCK).map(|_| client.start_signing(cluster.sign_request(ANY, "w").unwrap())).collect();
    eventually("all sessions with the silent peer wait, and no others", async || {
        let finished = running.iter().filter(|request| request.is_finished()).count();
        finished == STUCK && cluster.signing(0).await.unwrap().sessions.len() == STUCK
    })
    .await
    .unwrap();
    // With as many sessions stuck, more get through: one of any two in a row has no part in the silent peer.
    let more: Vec<_> = (0..2).map(|_| client.start_signing(cluster.sign_request(ANY, "w").unwrap())).collect();
    eventually("an unrelated session ends", async || more.iter().any(tokio::task::JoinHandle::is_finished))
        .await
        .unwrap();
    drop(silent);
    for request in running.into_iter().chain(more) {
        request.await.unwrap().unwrap();
    }
}
