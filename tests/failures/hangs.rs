//! Actors that get stuck: failed by their supervisor, started again; or the end of the node, where nothing else helps.

use std::time::Duration;

use quorate::error::Code;
use quorate::signing::SigningMsg;
use quorate::testing::{ActorName, eventually};

use crate::stage::{ANY, assert_failure, cluster, hold_signing, until_idle};

/// How long the actors of these tests may be at one message. A loaded machine is slower than any of their handlers.
const STUCK_AFTER: Duration = Duration::from_secs(2);

fn impatient(settings: &mut quorate::node::Settings) {
    settings.stuck_after = STUCK_AFTER;
}

#[tokio::test(flavor = "multi_thread")]
async fn handler_that_waits_for_ever__should_be_ended_and_its_actor_started_again() {
    let cluster = cluster(2, 3, impatient).await;
    let held = hold_signing(&cluster, 0).await;
    let session = cluster.session_actor(0, held.session).await.unwrap().unwrap();
    let former = cluster.life(0, ActorName::Signing).unwrap().unwrap().get_id();
    cluster.addresses(0).unwrap().signing.cast(SigningMsg::InjectHang(None)).unwrap();

    // What depends on the actor ends with it: the client has its answer, the session is gone, the peer is released.
    assert_failure(held.client.await.unwrap(), Code::Cancelled, &[]);
    session.wait(Some(STUCK_AFTER)).await.unwrap();
    drop(held.hold);
    until_idle(&cluster, held.participant).await;
    let is_new = async || {
        let life = cluster.life(0, ActorName::Signing).ok().flatten();
        life.is_some_and(|cell| cell.get_id() != former)
    };
    eventually("signing lives again", is_new).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handler_that_holds_its_thread__should_end_the_node() {
    let mut cluster = cluster(2, 3, impatient).await;
    let actors = cluster.actors(0).unwrap();
    cluster.addresses(0).unwrap().signing.cast(SigningMsg::InjectHang(Some(STUCK_AFTER * 4))).unwrap();
    cluster.until_failed(0, actors).await.unwrap();
    cluster.sign(1, ANY, "w").await.unwrap();
    cluster.restart(0).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.sign(0, ANY, "w").await.unwrap();
}
