//! The restart rule of every actor.

use std::time::Duration;

use quorate::error::{Code, Failure};
use quorate::signing::{Signed, SigningMsg};
use quorate::storage::{Action, Family, Fault, Listing, Point};
use quorate::testing::{ActorName, Cluster, HarnessError, eventually};
use ractor::concurrency::oneshot;

use crate::stage::{ANY, assert_failure, cluster, hold_signing, until_idle};

/// Whether a session whose deadline is half a minute off ended for another reason than that.
const SOON: Duration = Duration::from_secs(5);

fn patient(settings: &mut quorate::node::Settings) {
    settings.signing_deadline = Duration::from_secs(30);
    settings.keygen_deadline = Duration::from_secs(30);
}

/// Waits until the registry of a node, in whatever life it is, sees all nodes ready, and all nodes see it so.
async fn until_seen(cluster: &Cluster, number: usize) {
    eventually("the view is rebuilt", async || {
        cluster.registry(number).await.is_ok_and(|view| view.ready().len() == cluster.local().len())
    })
    .await
    .unwrap();
    cluster.until_ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor__should_come_back_by_itself_and_the_next_signing_succeed() {
    let cluster = cluster(2, 3, |_| ()).await;
    for actor in ActorName::ALL {
        let before = cluster.actors(0).unwrap();
        cluster.crash(0, actor).await.unwrap();
        until_seen(&cluster, 0).await;
        for number in [0, 1, 0] {
            cluster.sign(number, ANY, "w").await.unwrap_or_else(|error| panic!("{actor:?}: {number}: {error}"));
        }
        let after = cluster.actors(0).unwrap();
        let kept = before.iter().filter(|former| after.iter().any(|cell| cell.get_id() == former.get_id())).count();
        assert_eq!((kept, after.len()), (before.len() - 1, before.len()), "only {actor:?} starts again");
        cluster.make_wallet(0, &format!("after-{actor:?}"), &[ANY]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing__should_answer_its_clients_before_its_next_life_and_release_its_peers() {
    let cluster = cluster(2, 3, patient).await;
    let held = hold_signing(&cluster, 0).await;
    let session = cluster.session_actor(0, held.session).await.unwrap().unwrap();
    // A second client of the same request, whose answer is looked at without waiting.
    let (reply, mut answer) = oneshot::<Result<Signed, Failure>>();
    let question = SigningMsg::Sign { request: held.request.clone(), reply: reply.into() };
    cluster.addresses(0).unwrap().signing.cast(question).unwrap();
    // An answer to a later question tells that the earlier one was taken in; its preparation is off the actor.
    cluster.signing(0).await.unwrap();

    cluster.crash(0, ActorName::Signing).await.unwrap();
    let failure = answer.try_recv().map_or_else(|_| None, Result::err);
    assert_eq!(failure.map_or(Code::Cancelled, |failure| failure.code), Code::Cancelled);
    assert_failure(held.client.await.unwrap(), Code::Cancelled, &[]);
    session.wait(Some(SOON)).await.unwrap();
    // The participant hears of it from this node, and not from its own deadline.
    let released = tokio::time::timeout(SOON, until_idle(&cluster, held.participant)).await;
    assert!(released.is_ok(), "the participant still runs the session");
    drop(held.hold);
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_of_a_participant__should_fail_the_request_at_once_when_it_crashes() {
    let cluster = cluster(2, 3, patient).await;
    let held = hold_signing(&cluster, 0).await;
    cluster.crash(held.participant, ActorName::Signing).await.unwrap();
    let answer = tokio::time::timeout(SOON, held.client).await;
    let answer = answer.expect("the client still waits").unwrap();
    assert_failure(answer, Code::Cancelled, &[cluster.id(held.participant).unwrap()]);
    drop(held.hold);
    cluster.sign(0, ANY, "w").await.unwrap();
    cluster.sign(held.participant, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_end_with_its_panic_and_take_nothing_else_down() {
    let cluster = cluster(2, 3, patient).await;
    for at_participant in [false, true] {
        let held = hold_signing(&cluster, 0).await;
        let number = if at_participant { held.participant } else { 0 };
        let before = cluster.life(number, ActorName::Signing).unwrap().unwrap().get_id();
        cluster.crash_session(number, held.session).await.unwrap();
        let answer = tokio::time::timeout(SOON, held.client).await.expect("the client still waits").unwrap();
        let told = if at_participant { Code::Cancelled } else { Code::Internal };
        assert_eq!(answer.unwrap_err().code, told);
        until_idle(&cluster, 0).await;
        until_idle(&cluster, held.participant).await;
        assert_eq!(cluster.life(number, ActorName::Signing).unwrap().unwrap().get_id(), before);
        drop(held.hold);
        cluster.sign(0, ANY, "w").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transport__should_take_its_links_and_sessions_down_and_link_again() {
    let cluster = cluster(2, 3, patient).await;
    let held = hold_signing(&cluster, 0).await;
    let participant = held.participant;
    let before = cluster.transport(participant).await.unwrap().links[&cluster.id(0).unwrap()].lives;
    cluster.crash(0, ActorName::Transport).await.unwrap();
    assert_failure(held.client.await.unwrap(), Code::PeerUnavailable, &[cluster.id(participant).unwrap()]);
    until_idle(&cluster, participant).await;
    until_seen(&cluster, 0).await;
    let after = cluster.transport(participant).await.unwrap().links[&cluster.id(0).unwrap()].lives;
    assert!(after > before, "the peer shook hands anew: {after} lives after {before}");
    drop(held.hold);
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn link__should_abort_its_own_sessions_and_shake_hands_anew() {
    let cluster = cluster(2, 3, patient).await;
    let held = hold_signing(&cluster, 0).await;
    let (peer, other) = (held.participant, 3 - held.participant);
    let lives = async |number: usize| {
        let links = cluster.transport(0).await.unwrap().links;
        links[&cluster.id(number).unwrap()].lives
    };
    let before = (lives(peer).await, lives(other).await);
    cluster.crash_link(0, peer).unwrap();
    assert_failure(held.client.await.unwrap(), Code::PeerUnavailable, &[cluster.id(peer).unwrap()]);
    until_idle(&cluster, peer).await;
    until_seen(&cluster, 0).await;
    assert!(lives(peer).await > before.0);
    assert_eq!(lives(other).await, before.1);
    drop(held.hold);
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen__should_answer_its_clients_and_release_its_peers_when_it_crashes() {
    let cluster = cluster(2, 3, patient).await;
    for crashed in [0, 1] {
        let wallet = format!("crashed-{crashed}");
        let silent = cluster.silence(2).await.unwrap();
        let request = cluster.keygen_request(&wallet, &[ANY]).unwrap();
        let client = cluster.client(0).unwrap().start_keygen(request);
        eventually("the session runs", async || {
            let running = async |number| !cluster.keygen(number).await.unwrap().running.is_empty();
            running(0).await && running(1).await
        })
        .await
        .unwrap();
        cluster.crash(crashed, ActorName::Keygen).await.unwrap();
        let answer = tokio::time::timeout(SOON, client).await.expect("the client still waits").unwrap();
        let failure = answer.unwrap_err();
        assert_eq!(failure.code, Code::Cancelled, "{failure}");
        assert_eq!(failure.culprits.contains(&cluster.id(1).unwrap()), crashed == 1, "{failure}");
        eventually("no run is left", async || {
            let idle = async |number| cluster.keygen(number).await.unwrap().running.is_empty();
            idle(0).await && idle(1).await
        })
        .await
        .unwrap();
        drop(silent);
        // The silenced node may still have to learn from the others that there is nothing to join.
        eventually("the same wallet is made", async || cluster.make_wallet(0, &wallet, &[ANY]).await.is_ok())
            .await
            .unwrap();
        cluster.sign(1, ANY, &wallet).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage__should_open_once_more_and_then_end_the_node() {
    let mut cluster = cluster(2, 3, |_| ()).await;
    let panic =
        || Fault { point: Point::BeforeWrite, family: Some(Family::Results), after_groups: 0, action: Action::Panic };
    drop(cluster.storage_faults(0).unwrap().plan(panic()));
    let Err(HarnessError::Failure(failure)) = cluster.sign(0, ANY, "w").await else { panic!("it was signed") };
    assert!(matches!(failure.code, Code::StorageWrite | Code::Cancelled), "{failure}");
    eventually("the store is open again", async || cluster.storage(0).await.is_ok()).await.unwrap();
    cluster.sign(0, ANY, "w").await.unwrap();

    let actors = cluster.actors(0).unwrap();
    drop(cluster.storage_faults(0).unwrap().plan(panic()));
    let Err(HarnessError::Failure(failure)) = cluster.sign(0, ANY, "w").await else { panic!("it was signed") };
    assert!(matches!(failure.code, Code::StorageWrite | Code::Cancelled), "{failure}");
    cluster.until_failed(0, actors).await.unwrap();
    let all = Listing { family: Family::Wallets, prefix: Vec::new(), after: None, limit: 10 };
    let wallets = cluster.with_store(0, async |store| store.list(all).await).await.unwrap();
    assert_eq!(wallets.records.len(), 1, "the store opens, and has lost nothing");
    cluster.until_unready(0).await.unwrap();
    cluster.sign(1, ANY, "w").await.unwrap();
    cluster.restart(0).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_fail_when_an_actor_fails_too_often() {
    let mut cluster = cluster(2, 3, |settings| settings.restarts.restarts = 2).await;
    let held = hold_signing(&cluster, 0).await;
    cluster.crash(0, ActorName::Registry).await.unwrap();
    cluster.crash(0, ActorName::Registry).await.unwrap();
    let actors = cluster.actors(0).unwrap();
    cluster.inject_panic(0, ActorName::Registry).unwrap();
    cluster.until_failed(0, actors).await.unwrap();
    assert_failure(held.client.await.unwrap(), Code::Cancelled, &[]);
    drop(held.hold);
    cluster.restart(0).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.sign(0, ANY, "w").await.unwrap();
}
