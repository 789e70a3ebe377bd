//! The stage that the tests play on: a cluster, and a signing session that is surely running.

use std::collections::BTreeSet;

use quorate::error::{Code, Failure};
use quorate::ids::{NodeId, Scheme, SheetHash, Threshold};
use quorate::node::Settings;
use quorate::protocol::frost_signing::FrostSigning;
use quorate::signing::Signed;
use quorate::storage::{Family, Hold, Point};
use quorate::testing::{Cluster, ClusterBuilder, eventually};
use quorate::wire::request::SignRequest;
use tokio::task::JoinHandle;

/// The scheme of every test to which the scheme does not matter: it needs no pair setups.
pub const ANY: Scheme = Scheme::Ed25519;

/// A builder of t-of-n clusters. `RUST_LOG` shows what their nodes log.
pub fn builder(t: u8, n: u8) -> ClusterBuilder {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Another test of this process may have set the log up.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    // Small sessions in larger clusters: some stay out of each.
    Cluster::builder("failures".parse().unwrap(), Threshold::new(t, n).unwrap())
        .policy(|policy| policy.allow_minority_threshold(true))
}

/// A t-of-n cluster without pair setups, with a wallet `w`.
pub async fn cluster(t: u8, n: u8, settings: impl FnOnce(&mut Settings)) -> Cluster {
    let cluster = builder(t, n).without_pairs().settings(settings).start().await.unwrap();
    cluster.make_wallet(0, "w", &[ANY]).await.unwrap();
    cluster
}

/// A signing session of two nodes that waits for one of them: its shares are not to leave before its admission record is
/// durable, and its store is held.
pub struct Held {
    pub client: JoinHandle<Result<Signed, Failure>>,
    pub request: SignRequest,
    pub session: SheetHash,
    pub participant: usize,
    pub hold: Hold,
}

/// Has `coordinator` sign under a threshold of 2, and holds the other signer.
pub async fn hold_signing(cluster: &Cluster, coordinator: usize) -> Held {
    let others = (0..cluster.local().len()).filter(|&number| number != coordinator && is_running(cluster, number));
    let mut holds: Vec<(usize, Hold)> = others
        .map(|number| (number, cluster.hold_write(number, Point::BeforeWrite, Family::Results).unwrap()))
        .collect();
    let before = cluster.signing(coordinator).await.unwrap().sessions;
    let request = cluster.sign_request(ANY, "w").unwrap();
    let client = cluster.client(coordinator).unwrap().start_signing(request.clone());
    let new_session = async || {
        let sessions = cluster.signing(coordinator).await.unwrap().sessions;
        sessions.into_iter().find(|session| !before.contains(session))
    };
    eventually("the session waits for a share", async || match new_session().await {
        Some(session) => round_of(cluster, coordinator, session).await == Some(FrostSigning::SHARE_ROUND),
        None => false,
    })
    .await
    .unwrap();
    let session = new_session().await.unwrap();
    let mut at = None;
    for (position, (number, _)) in holds.iter().enumerate() {
        if cluster.session(*number, session).await.unwrap().is_some() {
            at = Some(position);
        }
    }
    let (participant, hold) = holds.swap_remove(at.unwrap());
    Held { client, request, session, participant, hold }
}

async fn round_of(cluster: &Cluster, number: usize, session: SheetHash) -> Option<u8> {
    cluster.session(number, session).await.unwrap().map(|snapshot| snapshot.round)
}

pub fn is_running(cluster: &Cluster, number: usize) -> bool {
    cluster.node(number).is_ok()
}

/// Waits until no signing session runs on a node, and none of its requests is at work.
pub async fn until_idle(cluster: &Cluster, number: usize) {
    eventually("signing is idle", async || {
        let signing = cluster.signing(number).await.unwrap();
        signing.sessions.is_empty() && signing.requests == 0
    })
    .await
    .unwrap();
}

/// Checks a failure's code and culprits.
pub fn assert_failure<T: std::fmt::Debug>(result: Result<T, Failure>, code: Code, culprits: &[NodeId]) -> Failure {
    let failure = result.unwrap_err();
    let expected: BTreeSet<NodeId> = culprits.iter().copied().collect();
    assert_eq!((failure.code, &failure.culprits), (code, &expected), "{failure}");
    failure
}
