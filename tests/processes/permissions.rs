//! Nodes as a NATS user who may do what the README says, and as one who may do less.

use std::collections::BTreeSet;

use quorate::client::{KeygenRequest, Options, SignRequest, WorkQueue};
use quorate::identity::Algorithm;
use quorate::ids::Scheme;
use quorate::testing::NatsServer;
use quorate::wire::mpcium::{ClientId, ResultType};
use serde_json::Value;

use crate::client::{Wire, code, keygen};
use crate::cluster::{Cluster, Files};
use crate::{soon, until};

const README: &str = include_str!("../../README.md");
const DIGEST: [u8; 32] = [0x9e; 32];
/// Where mpcium's clients ask for reshares: nodes that may not hear them serve everything else.
const RESHARES: &str = "mpc:reshare";
/// What the server answers to requests for less traffic: without traffic, nobody asks.
const FLOW_CONTROL: &str = "$JS.FC.>";

/// The subjects that the README permits a node to use in this way.
fn permitted(right: &str) -> Vec<String> {
    let row = README.lines().find(|line| line.starts_with(&format!("| {right} |"))).unwrap();
    row.split('`').skip(1).step_by(2).map(|subject| subject.replace("<cluster>", "tested")).collect()
}

/// A server where nodes have these permissions. Whoever comes without a name may do everything.
fn config(publish: &[String], subscribe: &[String]) -> String {
    format!(
        "authorization {{ users = [ {{ user: node, password: secret, permissions: {{ publish: {publish:?}, \
         subscribe: {subscribe:?} }} }}, {{ user: anybody, password: open }} ] }}\nno_auth_user: anybody\n"
    )
}

fn without(subjects: &[String], lacking: &str) -> Vec<String> {
    subjects.iter().filter(|&subject| subject != lacking).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes__should_need_the_permissions_that_the_readme_says_and_no_more() {
    let (publish, subscribe) = (permitted("publish"), permitted("subscribe"));
    let server = NatsServer::start_with(&config(&publish, &subscribe)).await.unwrap();
    let files = Files::new(Algorithm::Ed25519);
    files.configure(&server.url(), "");
    files.edit("quorate.toml", "[nats]\n", "[nats]\nuser = \"node\"\npassword_file = \"password\"\n");
    files.write("password", "secret\n");
    let mut cluster = Cluster::start(server, files, "tested", &["-c", "quorate.toml"]).await;
    serves(&cluster, "first").await;
    for node in cluster.nodes.iter().flatten() {
        let (ready, report) = node.ready().await;
        assert!(ready && report["details"]["broker"] == true, "{report}");
        let log = node.log();
        assert!(!log.contains("Violation") && !log.contains("the NATS server objects"), "{log}");
    }

    // Without any one of them, whoever tries to do without it is not ready, and says that this is the broker's doing.
    let client = Wire::connect(&cluster.server.url(), None).await;
    let wallets = client.wallets().await;
    let lacking = publish.iter().filter(|&subject| subject != FLOW_CONTROL);
    let lacking = lacking.map(|subject| (subject, without(&publish, subject), subscribe.clone()));
    let needed = subscribe.iter().filter(|&subject| subject != RESHARES);
    let lacking = lacking.chain(needed.map(|subject| (subject, publish.clone(), without(&subscribe, subject))));
    let mut asked = BTreeSet::new();
    for (number, (subject, publish, subscribe)) in lacking.enumerate() {
        let right = if publish.contains(subject) { "Subscription to" } else { "Publish to" };
        cluster.server.kill();
        let before: Vec<usize> = cluster.nodes.iter().flatten().map(|node| node.log().len()).collect();
        cluster.server.reconfigure(&config(&publish, &subscribe));
        cluster.server.restart(true).await.unwrap();
        let wallet = format!("lacking-{number}");
        let request = keygen(&wallet, &cluster.files.initiator, &[]);
        until("the server takes requests", async || {
            client.try_publish("mpc.keygen_request.*", request.clone()).await.then_some(())
        })
        .await;
        asked.insert(wallet);
        let violation = format!("Permissions Violation for {right} \\\"{}", subject.trim_end_matches('>'));
        until(&format!("a node says that it lacks {violation}"), async || {
            for (node, &before) in cluster.nodes.iter().flatten().zip(&before) {
                let log = node.log().split_off(before);
                let both_are_back = log.matches("connected to NATS").count() == 2;
                if both_are_back && log.contains(&violation) {
                    let (ready, report) = node.ready().await;
                    if !ready && report["details"]["broker"] == false {
                        return Some(());
                    }
                }
            }
            None
        })
        .await;
    }

    // Given back what they lacked, they do all that was left undone.
    cluster.server.reconfigure(&config(&publish, &subscribe));
    cluster.server.restart(true).await.unwrap();
    cluster.until_complete().await;
    until("all is done", async || {
        for message in wallets.ready().await {
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(code(&event), "", "{event}");
            // A server that is killed forgets what was acknowledged last: results may come again.
            asked.remove(event["wallet_id"].as_str().unwrap());
        }
        asked.is_empty().then_some(())
    })
    .await;
    for node in cluster.nodes.iter().flatten() {
        let (ready, report) = node.ready().await;
        assert!(ready, "{report}");
    }
    serves(&cluster, "again").await;
    cluster.stop().await;
}

/// A wallet, and a signature of each scheme, asked for directly and by the streams.
async fn serves(cluster: &Cluster, name: &str) {
    let options = Options::new([cluster.server.url()], "test");
    let queue = WorkQueue::connect(&options, Some(ClientId::try_from(name).unwrap())).await.unwrap();
    let (mut wallets, mut signatures) = (queue.wallets().await.unwrap(), queue.signatures().await.unwrap());
    let initiator = &cluster.files.initiator;
    for direct in [true, false] {
        let wallet = format!("{name}-{direct}");
        let request = KeygenRequest::builder(wallet.parse().unwrap()).key_types(&Scheme::ALL);
        let request = request.sign_with(initiator).unwrap();
        if direct {
            soon("a wallet", cluster.client.keygen(&request)).await.unwrap();
        } else {
            queue.request_wallet(&request).await.unwrap();
            let made = soon("a wallet", wallets.next()).await.unwrap();
            assert_eq!((made.wallet_id, made.result_type), (wallet.clone(), ResultType::Success));
        }
        for scheme in Scheme::ALL {
            let id = scheme.to_string().parse().unwrap();
            let request = SignRequest::builder(scheme, wallet.parse().unwrap(), id, &DIGEST);
            let request = request.sign_with(initiator).unwrap();
            if direct {
                soon("a signature", cluster.client.sign(&request)).await.unwrap();
            } else {
                queue.request_signature(&request).await.unwrap();
                let signed = soon("a signature", signatures.next()).await.unwrap();
                assert_eq!((signed.wallet_id, signed.result_type), (wallet.clone(), ResultType::Success));
            }
        }
    }
}
