//! How soon the loss of a peer is noticed, and how soon a client knows, on a clock that no machine delays: with the times
//! that nodes have by default, over a network with delays.

use std::time::Duration;

use quorate::error::{Code, Failure};
use quorate::ids::{Scheme, Threshold};
use quorate::signing::Signed;
use quorate::testing::{Cluster, eventually};
use quorate::transport::LinkConfig;
use quorate::transport::memory::Conditions;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often each loss happens, each time at another phase of the heartbeats.
const SAMPLES: u32 = 12;
/// From a message to somebody who is gone until that is noticed.
const NO_RESPONDERS: Duration = Duration::from_millis(50);
/// From the loss of a link until the client of a request that needed it knows.
const TOLD: Duration = Duration::from_millis(100);
/// The delay of each message, at most: three round trips fit before a cut.
const DELAY: Duration = Duration::from_millis(10);

/// Two nodes that both must sign.
async fn pair() -> Cluster {
    let builder = Cluster::builder("detection".parse().unwrap(), Threshold::new(2, 2).unwrap());
    let cluster = builder.without_pairs().settings(|settings| settings.link = LinkConfig::default());
    let cluster = cluster.start().await.unwrap();
    cluster.make_wallet(0, "w", &[Scheme::Ed25519]).await.unwrap();
    cluster.network().set(Conditions { max_delay: DELAY, ..Conditions::PERFECT });
    cluster
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).max_blocking_threads(1).build().unwrap()
}

fn sign(cluster: &Cluster) -> JoinHandle<Result<Signed, Failure>> {
    let request = cluster.sign_request(Scheme::Ed25519, "w").unwrap();
    cluster.client(0).unwrap().start_signing(request)
}

/// When the first node sees the second one no longer.
fn noticed(cluster: &Cluster) -> JoinHandle<Instant> {
    let (mut views, peer) = (cluster.views(0).unwrap(), cluster.id(1).unwrap());
    tokio::spawn(async move {
        views.wait_for(|view| view.peers.get(&peer).is_some_and(|peer| !peer.linked)).await.unwrap();
        Instant::now()
    })
}

async fn told(cluster: &Cluster, client: JoinHandle<Result<Signed, Failure>>) -> Instant {
    let failure = client.await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::PeerUnavailable, "{failure}");
    assert_eq!(failure.culprits, [cluster.id(1).unwrap()].into());
    Instant::now()
}

#[test]
fn peer_that_is_gone__should_be_noticed_with_the_first_message_for_it() {
    let _alone = crate::alone();
    runtime().block_on(async {
        let mut cluster = pair().await;
        let mut worst = Duration::ZERO;
        for sample in 0..SAMPLES {
            tokio::time::sleep(Duration::from_millis(u64::from(sample) * 83)).await;
            let noticed = noticed(&cluster);
            // It dies without a word, and is asked for at once.
            cluster.network().disconnect("node1");
            let sent = Instant::now();
            let told = told(&cluster, sign(&cluster)).await;
            let noticed = noticed.await.unwrap();
            worst = worst.max(noticed - sent);
            assert!(noticed - sent < NO_RESPONDERS, "noticed after {:?}", noticed - sent);
            assert!(told.saturating_duration_since(noticed) < TOLD, "told {:?} later", told - noticed);
            cluster.lose(1).await.unwrap();
            cluster.restart(1).await.unwrap();
            cluster.until_ready().await.unwrap();
        }
        println!("a peer that is gone was noticed {worst:?} after the first message for it, at the latest");
    });
}

#[test]
fn peer_that_is_silent__should_be_noticed_within_the_heartbeat_limit_and_its_client_told_at_once() {
    let _alone = crate::alone();
    runtime().block_on(async {
        let cluster = pair().await;
        let limit = LinkConfig::default().lost_after();
        let (mut latest, mut slowest) = (Duration::ZERO, Duration::ZERO);
        for sample in 0..SAMPLES {
            tokio::time::sleep(Duration::from_millis(u64::from(sample) * 83)).await;
            let noticed = noticed(&cluster);
            let client = sign(&cluster);
            let runs = async || cluster.signing(0).await.is_ok_and(|signing| !signing.sessions.is_empty());
            eventually("a session runs", runs).await.unwrap();
            cluster.isolate(1).unwrap();
            let cut = Instant::now();
            let told = told(&cluster, client).await;
            let noticed = noticed.await.unwrap();
            assert!(noticed - cut <= limit, "noticed after {:?}", noticed - cut);
            assert!(told.saturating_duration_since(noticed) < TOLD, "told {:?} later", told - noticed);
            (latest, slowest) = (latest.max(noticed - cut), slowest.max(told.saturating_duration_since(noticed)));
            cluster.heal().await.unwrap();
        }
        println!("a silent peer was noticed after {latest:?} at the latest, and its client told {slowest:?} later");
    });
}
