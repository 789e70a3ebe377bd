//! The end of a node in good order.

use std::time::Duration;

use quorate::error::Code;

use crate::stage::{ANY, assert_failure, cluster, hold_signing};

#[tokio::test(flavor = "multi_thread")]
async fn shutdown__should_end_running_work_give_the_lease_up_and_leave_a_folder_to_start_on() {
    let mut cluster = cluster(2, 3, |settings| {
        settings.drain = Duration::from_secs(20);
        // Much longer than the test: a lease that ends was given up.
        settings.lease_ttl = Duration::from_secs(600);
    })
    .await;
    let held = hold_signing(&cluster, 0).await;
    let (leaving, client) = (cluster.id(0).unwrap(), cluster.client(0).unwrap());
    let late = cluster.sign_request(ANY, "w").unwrap();
    let actors = cluster.actors(0).unwrap();
    let mut peer = cluster.views(1).unwrap();
    let (hold, running) = (held.hold, held.client);
    let drained = async {
        peer.wait_for(|view| !view.peers[&leaving].serving).await.unwrap();
        assert_failure(client.sign(late).await, Code::Cancelled, &[]);
        assert!(!running.is_finished());
        drop(hold);
        running.await.unwrap().unwrap();
    };
    tokio::join!(cluster.shutdown(0), drained);
    assert!(actors.iter().all(|actor| actor.get_status() == ractor::ActorStatus::Stopped));
    peer.wait_for(|view| !view.peers[&leaving].leased).await.unwrap();

    cluster.sign(1, ANY, "w").await.unwrap();
    cluster.restart(0).await.unwrap();
    cluster.until_ready().await.unwrap();
    let again = cluster.client(0).unwrap().sign(held.request).await.unwrap();
    assert_eq!(again.session, None, "it was stored");
    cluster.sign(0, ANY, "w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown__should_abort_work_that_does_not_end() {
    let mut cluster = cluster(2, 3, |settings| {
        settings.drain = Duration::from_millis(200);
        settings.signing_deadline = Duration::from_secs(30);
    })
    .await;
    let held = hold_signing(&cluster, 0).await;
    cluster.shutdown(0).await;
    assert_failure(held.client.await.unwrap(), Code::Cancelled, &[]);
    crate::stage::until_idle(&cluster, held.participant).await;
    drop(held.hold);
}
