//! A peer dies, falls silent, or is not there to begin with.

use std::time::{Duration, Instant};

use quorate::error::Code;
use quorate::signing::OnPeerFailure;
use quorate::testing::{HarnessError, eventually};
use ractor::ActorStatus;

use crate::stage::{ANY, assert_failure, cluster, hold_signing, until_idle};

/// What the machine may be late by.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn dead_peer__should_be_named_at_once_and_touch_no_unrelated_session() {
    let mut lost_after = Duration::ZERO;
    let mut cluster = cluster(2, 4, |settings| {
        settings.link.missed_heartbeats = 50;
        lost_after = settings.link.lost_after();
    })
    .await;
    let held = hold_signing(&cluster, 0).await;
    let victim = held.participant;
    let [y, z]: [usize; 2] = (1..4).filter(|&node| node != victim).collect::<Vec<_>>().try_into().unwrap();
    // Each turn prefers another peer: after three at the latest, the two bystanders sign together.
    let mut with_victim = Vec::new();
    let unrelated = loop {
        let unrelated = hold_signing(&cluster, y).await;
        if unrelated.participant == z {
            break unrelated;
        }
        with_victim.push(unrelated.client);
    };
    let actor = cluster.session_actor(0, held.session).await.unwrap().unwrap();

    let killed = Instant::now();
    cluster.lose_at(victim, held.hold).await.unwrap();
    let failure = assert_failure(held.client.await.unwrap(), Code::PeerUnavailable, &[cluster.id(victim).unwrap()]);
    assert!(killed.elapsed() < lost_after / 2, "{:?} of {lost_after:?}", killed.elapsed());
    assert!(failure.code.is_retryable());
    until_idle(&cluster, 0).await;
    actor.wait(Some(SLACK)).await.unwrap();
    assert_eq!(actor.get_status(), ActorStatus::Stopped);

    assert!(cluster.session(y, unrelated.session).await.unwrap().is_some());
    drop(unrelated.hold);
    unrelated.client.await.unwrap().unwrap();
    cluster.until_unready(victim).await.unwrap();
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_peer__should_be_named_within_the_heartbeat_limit_also_when_half_open() {
    let mut lost_after = Duration::ZERO;
    let cluster = cluster(2, 3, |settings| lost_after = settings.link.lost_after()).await;
    for half_open in [false, true] {
        let held = hold_signing(&cluster, 0).await;
        let victim = held.participant;
        let cut = Instant::now();
        if half_open {
            cluster.deafen(0, victim).unwrap();
        } else {
            cluster.isolate(victim).unwrap();
        }
        assert_failure(held.client.await.unwrap(), Code::PeerUnavailable, &[cluster.id(victim).unwrap()]);
        assert!(cut.elapsed() < lost_after + SLACK, "{:?} of {lost_after:?}", cut.elapsed());
        drop(held.hold);
        until_idle(&cluster, 0).await;
        until_idle(&cluster, victim).await;
        cluster.heal().await.unwrap();
        cluster.sign(0, ANY, "w").await.unwrap();
        cluster.sign(victim, ANY, "w").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry__should_succeed_without_the_dead_peer() {
    let mut cluster = cluster(2, 3, |settings| settings.on_peer_failure = OnPeerFailure::Retry).await;
    let held = hold_signing(&cluster, 0).await;
    cluster.lose_at(held.participant, held.hold).await.unwrap();
    let signed = held.client.await.unwrap().unwrap();
    assert!(signed.session.is_some_and(|session| session != held.session));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_coordinator__should_leave_its_request_to_another_with_one_signature_in_the_end() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    let held = hold_signing(&cluster, 0).await;
    let participant = held.participant;
    cluster.lose(0).await.unwrap();
    assert_failure(held.client.await.unwrap(), Code::Cancelled, &[]);
    until_idle(&cluster, participant).await;
    let abort = cluster.signing(participant).await.unwrap().last_abort.unwrap();
    assert_eq!((abort.code, abort.culprits), (Code::PeerUnavailable, [cluster.id(0).unwrap()].into()));
    drop(held.hold);

    cluster.until_unready(0).await.unwrap();
    let signed = cluster.client(3 - participant).unwrap().sign(held.request.clone()).await.unwrap();
    cluster.restart(0).await.unwrap();
    cluster.until_ready().await.unwrap();
    for number in 0..3 {
        let again = cluster.client(number).unwrap().sign(held.request.clone()).await.unwrap();
        assert_eq!(again.signature, signed.signature, "node {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_peers__should_be_refused_at_once_without_a_session() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    let request = cluster.keygen_request("other", &[ANY]).unwrap();
    let refused = cluster.node(0).unwrap().keygen(request).await;
    assert_failure(refused.map(drop), Code::ClusterNotReady, &[cluster.id(2).unwrap()]);
    cluster.sign(0, ANY, "w").await.unwrap();

    cluster.lose(1).await.unwrap();
    cluster.until_unready(1).await.unwrap();
    let before = cluster.signing(0).await.unwrap();
    let asked = Instant::now();
    let Err(HarnessError::Failure(refused)) = cluster.sign(0, ANY, "w").await else { panic!("it was not refused") };
    assert_eq!(refused.code, Code::NotMajority);
    assert!(asked.elapsed() < SLACK, "{:?}", asked.elapsed());
    let after = cluster.signing(0).await.unwrap();
    assert_eq!((after.sessions, after.aborted, after.signed), (vec![], before.aborted, before.signed));
    let request = cluster.keygen_request("other", &[ANY]).unwrap();
    let refused = cluster.node(0).unwrap().keygen(request).await;
    assert_failure(refused.map(drop), Code::NotMajority, &[cluster.id(1).unwrap(), cluster.id(2).unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proposal__should_lead_to_no_session_when_its_link_was_lost_while_it_was_checked() {
    let cluster = cluster(2, 2, |settings| settings.signing_deadline = Duration::from_secs(30)).await;
    let silent = cluster.silence(1).await.unwrap();
    let coordinator = cluster.id(0).unwrap();
    let delivered = async || cluster.transport(1).await.unwrap().links[&coordinator].traffic.delivered;
    let before = delivered().await;
    let client = cluster.client(0).unwrap().start_signing(cluster.sign_request(ANY, "w").unwrap());
    eventually("the proposal came", async || delivered().await > before).await.unwrap();
    cluster.isolate(0).unwrap();
    assert_failure(client.await.unwrap(), Code::PeerUnavailable, &[cluster.id(1).unwrap()]);
    cluster.until_unready(0).await.unwrap();
    cluster.heal().await.unwrap();
    drop(silent);
    // Proposals are checked in their order: when this one has led to a signature, the former is checked.
    cluster.sign(0, ANY, "w").await.unwrap();
    let idle = tokio::time::timeout(SLACK, until_idle(&cluster, 1)).await;
    assert!(idle.is_ok(), "a session runs that nobody else is in");
}
