//! `kill -9` at every step of a reshare: of a member that leaves, of one that stays and of one that comes. Afterwards exactly
//! one generation works, and nobody has to see to it.
//!
//! Who is killed where changes from place to place; with `CHAOS_ROUNDS` (`make chaos`), everybody is killed everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::client::{Client, ClientError, KeygenRequest, ReshareRequest, SignRequest};
use quorate::error::Code;
use quorate::identity::Algorithm;
use quorate::ids::{NodeId, Scheme};
use quorate::testing::NatsServer;
use quorate::wire::native;

use crate::chaos::{DIGEST, rounds};
use crate::cluster::{Cluster, Files};
use crate::kill_points::{arm, stands};
use crate::verify::assert_eddsa;
use crate::{LOOK_AGAIN, until};

/// How long a client waits for a node that may have died.
const ANSWER: Duration = Duration::from_secs(3);
const DEALING_ROUNDS: u8 = 4;
const PROOF_ROUNDS: u8 = 2;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Leaving,
    Staying,
    Coming,
}

impl Member {
    const ALL: [Self; 3] = [Self::Leaving, Self::Staying, Self::Coming];
}

/// Every step of a reshare, as `doing` and place.
fn steps() -> Vec<(&'static str, String)> {
    let rounds = |doing, rounds| (1..=rounds).map(move |round| (doing, format!("round {round}")));
    let after = |doing, places: &[&str]| places.iter().map(|place| (doing, (*place).to_owned())).collect::<Vec<_>>();
    rounds("reshare", DEALING_ROUNDS)
        .chain(after("reshare", &["finished", "stored"]))
        .chain(rounds("proof", PROOF_ROUNDS))
        .chain(after("proof", &["finished"]))
        .chain(after("reshare", &["certified"]))
        .collect()
}

/// Who is killed where. A member that leaves is dealt nothing in round 3, and proves nothing.
fn acts() -> Vec<(&'static str, String, Member)> {
    let may = |doing: &str, place: &str, member| (doing != "proof" && place != "round 3") || member != Member::Leaving;
    let steps = steps().into_iter().enumerate();
    steps
        .flat_map(|(at, (doing, place))| {
            let able = Member::ALL.into_iter().filter(|&member| may(doing, &place, member)).collect::<Vec<_>>();
            let chosen = if rounds().is_some() { able } else { vec![able[at % able.len()]] };
            chosen.into_iter().map(move |member| (doing, place.clone(), member))
        })
        .collect()
}

struct Stage {
    cluster: Cluster,
    /// Where each node finds the places at which it stands still.
    halts: Vec<PathBuf>,
    client: Client,
    key: Vec<u8>,
}

impl Stage {
    async fn new() -> Self {
        let (server, files) = (NatsServer::start().await.unwrap(), Files::new(Algorithm::Ed25519));
        files.configure(&server.url(), "");
        let halts: Vec<PathBuf> = (0..3).map(|number| files.path().join(format!("halt{number}"))).collect();
        let program = |halt: &Path| vec!["env".to_owned(), format!("TEST_QUORATE_HALT={}", halt.display())];
        let within: BTreeMap<_, _> = halts.iter().enumerate().map(|(number, halt)| (number, program(halt))).collect();
        let cluster = Cluster::start_within(server, files, "tested", &["-c", "quorate.toml"], within).await;
        let client = cluster.client.clone().with_limit(ANSWER);
        let request = KeygenRequest::builder("w".parse().unwrap()).key_types(&[Scheme::Ed25519]);
        let request = request.sign_with(&cluster.files.initiator).unwrap();
        let made = cluster.client.keygen(&request).await.unwrap();
        let key = hex::decode(&eddsa(&made).public_key).unwrap();
        Self { cluster, halts, client, key }
    }

    fn node(&self, number: usize) -> NodeId {
        self.cluster.files.peers.nodes()[number].1
    }

    fn request(&self, name: &str, nodes: [usize; 2]) -> ReshareRequest {
        let nodes = nodes.map(|number| self.node(number));
        let request = ReshareRequest::builder("w".parse().unwrap(), name.parse().unwrap(), 2, &nodes);
        request.key_types(&[Scheme::Ed25519]).sign_with(&self.cluster.files.initiator).unwrap()
    }

    /// Asks until the wallet is reshared.
    async fn reshared(&self, request: &ReshareRequest, what: &str) -> native::Wallet {
        until(what, async || match self.client.reshare(request).await {
            Ok(wallet) => Some(wallet),
            Err(ClientError::Refused(failure)) => {
                // What was left of it is being settled, or nodes are about to find each other.
                assert!(failure.code.is_retryable(), "{what}: {failure}");
                None
            }
            Err(ClientError::Timeout | ClientError::Nobody) => None,
            Err(error) => panic!("{what}: {error}"),
        })
        .await
    }

    /// Asks until there is a signature. Nodes that are no members have no share, and say so.
    async fn signs(&self, id: &str) {
        let request = SignRequest::builder(Scheme::Ed25519, "w".parse().unwrap(), id.parse().unwrap(), &DIGEST);
        let request = request.sign_with(&self.cluster.files.initiator).unwrap();
        until(id, async || match self.client.sign(&request).await {
            Ok(signed) => {
                assert_eddsa(&self.key, &DIGEST, &hex::decode(&signed.signature).unwrap());
                Some(())
            }
            Err(ClientError::Refused(failure)) => {
                assert!(failure.code.is_retryable() || failure.code == Code::KeyNotFound, "{id}: {failure}");
                None
            }
            Err(ClientError::Timeout | ClientError::Nobody) => None,
            Err(error) => panic!("{id}: {error}"),
        })
        .await;
    }
}

fn eddsa(wallet: &native::Wallet) -> &native::Key {
    wallet.keys.iter().find(|key| key.key_type == Scheme::Ed25519).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reshare__should_leave_one_generation_that_works_whoever_is_killed_at_whichever_step() {
    let mut stage = Stage::new().await;
    let first = stage.request("first", [0, 1]);
    let mut generation = eddsa(&stage.reshared(&first, "the first reshare").await).generation;
    for (act, (doing, place, member)) in acts().into_iter().enumerate() {
        let what = format!("{member:?} killed at {doing} {place}");
        // The committee goes round: one leaves, the next stays, the third comes.
        let [leaving, staying, coming] = [0, 1, 2].map(|step| (act + step) % 3);
        let victim = match member {
            Member::Leaving => leaving,
            Member::Staying => staying,
            Member::Coming => coming,
        };
        let request = stage.request(&format!("act{act}"), [staying, coming]);
        let roles = ["coordinator", "participant"].map(|role| format!("{doing} {role} {place}"));
        arm(&stage.halts[victim], &roles.join("\n"));
        let (client, asked) = (stage.client.clone(), request.clone());
        let asking = tokio::spawn(async move {
            loop {
                match client.reshare(&asked).await {
                    // Some node has not heard that the one before is over.
                    Err(ClientError::Refused(failure)) if failure.code == Code::ReshareInProgress => {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                    answered => return answered,
                }
            }
        });
        let stood = async || stands(stage.cluster.nodes[victim].as_ref().unwrap().id()).then_some(());
        until(&what, stood).await;
        stage.cluster.kill_node(victim).await;
        let answered = asking.await.unwrap();
        if let Err(ClientError::Refused(failure)) = &answered {
            assert!(failure.code.is_retryable(), "{what}: {failure}");
        }
        stage.cluster.start_node(victim).await;
        stage.cluster.until_complete().await;
        // Whatever came of it, the wallet signs, and who asks again gets what was asked for.
        stage.signs(&format!("act{act}-before")).await;
        let wallet = stage.reshared(&request, &what).await;
        let key = eddsa(&wallet);
        generation += 1;
        assert_eq!(key.generation, generation, "{what}: it was done once");
        let committee: BTreeSet<NodeId> = key.committee.iter().copied().collect();
        assert_eq!(committee, [staying, coming].map(|number| stage.node(number)).into(), "{what}");
        stage.signs(&format!("act{act}-after")).await;
        println!("{what}: {}", if answered.is_ok() { "reshared" } else { "failed, and reshared when asked again" });
    }
    stage.cluster.stop().await;
}
