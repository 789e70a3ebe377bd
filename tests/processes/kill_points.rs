//! Force at every place of a signature and of a key generation: the node that comes there first stands still, by itself,
//! before anything that follows leaves it; then it is killed, frozen or told to stop.
//!
//! What is done where changes from place to place; with `CHAOS_ROUNDS` (`make chaos`), everything is done everywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate::client::{Client, ClientError, KeygenRequest, SignRequest};
use quorate::error::{Code, Failure};
use quorate::identity::Algorithm;
use quorate::ids::{NodeId, Scheme};
use quorate::testing::NatsServer;
use rustix::process::Signal;

use crate::chaos::{DIGEST, Fault, Wallet, rounds, sign};
use crate::cluster::{Cluster, Files};
use crate::{soon, until};

/// A frozen node is lost after 0.7 s.
const QUICK: &str = "[link]\nheartbeat_interval_ms = 200\n";
/// How long a client waits for a node that may have died.
const ANSWER: Duration = Duration::from_secs(3);
/// What a client may wait when a peer of its node is lost, with all that the machine has to do besides.
const TOLD: Duration = Duration::from_secs(5);
/// From the loss of a link to the client's answer, at the median, on a machine that has other things to do.
const ANSWERED: Duration = Duration::from_millis(500);
/// The rounds of ECDSA.
const SIGNING_ROUNDS: u8 = 3;
const KEYGEN_ROUNDS: u8 = 4;

#[test]
fn rounds__should_be_those_of_the_protocols() {
    assert_eq!(quorate::protocol::ecdsa_signing::EcdsaSigning::SHARE_ROUND, SIGNING_ROUNDS);
}

/// All places of `doing`, for coordinators and participants.
fn places(doing: &str, rounds: u8, after: &[&str]) -> Vec<String> {
    let places = (1..=rounds).map(|round| format!("round {round}")).chain(after.iter().map(ToString::to_string));
    places.flat_map(|place| ["coordinator", "participant"].map(|role| format!("{doing} {role} {place}"))).collect()
}

/// What is to be done, and where.
fn acts(places: Vec<String>) -> Vec<(String, Fault)> {
    match rounds() {
        // Two roles at each place: both get different faults, and each role gets another one at the next.
        None => places.into_iter().enumerate().map(|(at, place)| (place, Fault::ALL[(at / 2 + at % 2) % 3])).collect(),
        Some(_) => places.into_iter().flat_map(|place| Fault::ALL.map(|fault| (place.clone(), fault))).collect(),
    }
}

/// A cluster whose nodes stand still where a file says.
struct Stage {
    cluster: Cluster,
    halt: PathBuf,
    client: Client,
    /// From the loss of a node to the answer of a client whose node lives, and how long before that its link was lost.
    told: Vec<(Duration, Option<Duration>)>,
}

/// A node that stands still, and how many it is.
struct Victim {
    number: usize,
    id: NodeId,
    coordinates: bool,
}

impl Stage {
    async fn new() -> Self {
        let (server, files) = (NatsServer::start().await.unwrap(), Files::new(Algorithm::Ed25519));
        files.configure(&server.url(), QUICK);
        let halt = files.path().join("halt");
        let program = vec!["env".to_owned(), format!("TEST_QUORATE_HALT={}", halt.display())];
        let within = (0..3).map(|number| (number, program.clone())).collect();
        let cluster = Cluster::start_within(server, files, "tested", &["-c", "quorate.toml"], within).await;
        let client = cluster.client.clone().with_limit(ANSWER);
        Self { cluster, halt, client, told: Vec::new() }
    }

    /// From now on, whoever comes to the place first stands still.
    fn arm(&self, place: &str) {
        arm(&self.halt, place);
    }

    /// Waits until a node stands still.
    async fn halted(&self, place: &str) -> Victim {
        let number = until(place, async || {
            let nodes = self.cluster.nodes.iter().enumerate();
            nodes.filter_map(|(number, node)| Some((number, node.as_ref()?))).find(|(_, node)| stands(node.id()))
        })
        .await
        .0;
        Victim { number, id: self.cluster.files.peers.nodes()[number].1, coordinates: place.contains("coordinator") }
    }

    /// Does to the node what is to be done. Tells when.
    async fn strike(&mut self, victim: usize, fault: Fault) -> (Instant, Duration) {
        let when = (Instant::now(), time_of_day());
        let node = self.cluster.nodes[victim].as_mut().unwrap();
        match fault {
            Fault::Kill => self.cluster.kill_node(victim).await,
            Fault::Freeze => {}
            Fault::Stop => {
                node.signal(Signal::TERM);
                node.signal(Signal::CONT);
                assert_eq!(node.ended().await, 0, "{}", node.log());
                self.cluster.nodes[victim] = None;
            }
        }
        when
    }

    /// Has the node back, and all ready.
    async fn heal(&mut self, victim: usize, fault: Fault) {
        match fault {
            Fault::Kill | Fault::Stop => self.cluster.start_node(victim).await,
            Fault::Freeze => self.cluster.nodes[victim].as_ref().unwrap().signal(Signal::CONT),
        }
        self.cluster.until_complete().await;
    }

    /// Checks why a request failed. `since` the node was lost.
    fn failed(&mut self, error: &ClientError, what: &str, fault: Fault, victim: &Victim, since: (Instant, Duration)) {
        match error {
            ClientError::Refused(failure) => {
                assert!(failure.code.is_retryable(), "{what}: {failure}");
                assert!(blames(failure, victim), "{what}: {failure}, {:?}", failure.culprits);
                if fault != Fault::Stop && !victim.coordinates {
                    let took = since.0.elapsed();
                    assert!(took < TOLD, "{what}: told after {took:?}");
                    let lost = self.link_lost(victim, since.1);
                    self.told.push((took, lost.map(|lost| time_of_day().saturating_sub(lost))));
                }
            }
            // It asked the node that was lost.
            ClientError::Timeout | ClientError::Nobody => assert!(victim.coordinates, "{what}: no answer"),
            error => panic!("{what}: {error}"),
        }
    }

    /// When the first of the other nodes noticed the loss of the victim, by its own log.
    fn link_lost(&self, victim: &Victim, since: Duration) -> Option<Duration> {
        let running = self.cluster.nodes.iter().enumerate().filter(|(number, _)| *number != victim.number);
        let logs = running.filter_map(|(_, node)| Some(node.as_ref()?.log()));
        let says = format!("peer={}", victim.id);
        let times = logs.flat_map(|log| {
            let lines = log.lines().filter(|line| line.contains("link down") && line.contains(&says));
            lines.filter_map(time_in).filter(|at| *at >= since).collect::<Vec<_>>()
        });
        times.min()
    }
}

/// Whether a failure names nobody but the victim, where it names somebody.
fn blames(failure: &Failure, victim: &Victim) -> bool {
    let nobody_else = failure.culprits.is_subset(&BTreeSet::from([victim.id]));
    nobody_else && (failure.code != Code::PeerUnavailable || !failure.culprits.is_empty())
}

/// Has those stand still who find these places in the file. In one step: a file that is there is whole.
pub(crate) fn arm(halt: &Path, places: &str) {
    let draft = halt.with_extension("draft");
    std::fs::write(&draft, places).unwrap();
    std::fs::rename(draft, halt).unwrap();
}

/// Whether a process stands still.
pub(crate) fn stands(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// The time since midnight, UTC.
fn time_of_day() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::new(since.as_secs() % 86_400, since.subsec_nanos())
}

/// The time since midnight at which a line was logged: `...T18:05:33.123456Z ...`.
fn time_in(line: &str) -> Option<Duration> {
    let (_, time) = line.split_once('T')?;
    let mut parts = time.split_once('Z')?.0.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let seconds = Duration::try_from_secs_f64(parts.next()?.parse().ok()?).ok()?;
    Some(Duration::from_secs((hours * 60 + minutes) * 60) + seconds)
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[tokio::test(flavor = "multi_thread")]
async fn signing__should_end_in_one_way_wherever_a_signer_is_lost() {
    let mut stage = Stage::new().await;
    let wallet = Wallet::make(&stage.cluster).await;
    for (act, (place, fault)) in
        acts(places("signing", SIGNING_ROUNDS, &["released", "finished"])).into_iter().enumerate()
    {
        let what = format!("{fault:?} at {place}");
        let request = |id: String| {
            let request = SignRequest::builder(Scheme::Ecdsa, "w".parse().unwrap(), id.parse().unwrap(), &DIGEST);
            request.sign_with(&stage.cluster.files.initiator).unwrap()
        };
        let (interrupted, other) = (request(format!("act{act}")), request(format!("act{act}-other")));
        stage.arm(&place);
        let (client, asked) = (stage.client.clone(), interrupted.clone());
        let asking = tokio::spawn(async move { client.sign(&asked).await });
        let victim = stage.halted(&place).await;
        let since = stage.strike(victim.number, fault).await;
        let first = match soon(&what, asking).await.unwrap() {
            Ok(signed) => Some(signed.signature),
            Err(error) => {
                stage.failed(&error, &what, fault, &victim, since);
                None
            }
        };
        // The others sign meanwhile.
        sign(&stage.client, &wallet, &other).await;
        stage.heal(victim.number, fault).await;
        // Who asks again gets a signature, and from then on the same.
        let again = sign(&stage.client, &wallet, &interrupted).await;
        for _ in 0..3 {
            assert_eq!(sign(&stage.client, &wallet, &interrupted).await, again, "{what}");
        }
        assert!(first.as_ref().is_none_or(|first| *first == again), "{what}");
        println!("{what}: {}", if first.is_some() { "signed" } else { "failed, and signed when asked again" });
    }
    let (waits, of_links): (Vec<_>, Vec<_>) = stage.told.iter().copied().unzip();
    let of_links: Vec<Duration> = of_links.into_iter().flatten().collect();
    let (wait, of_link) = (median(waits), median(of_links));
    println!("medians: clients told {wait:?} after the loss, {of_link:?} after their link was lost");
    assert!(of_link.is_some_and(|of_link| of_link < ANSWERED), "{:?}", stage.told);
    stage.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keygen__should_end_in_one_way_wherever_a_member_is_lost() {
    let mut stage = Stage::new().await;
    let acts = acts(places("keygen", KEYGEN_ROUNDS, &["finished", "stored", "certified"]));
    for (act, (place, fault)) in acts.into_iter().enumerate() {
        let what = format!("{fault:?} at {place}");
        let request = KeygenRequest::builder(format!("w{act}").parse().unwrap()).key_types(&[Scheme::Ed25519]);
        let request = request.sign_with(&stage.cluster.files.initiator).unwrap();
        stage.arm(&place);
        let (client, asked) = (stage.client.clone(), request.clone());
        let asking = tokio::spawn(async move { client.keygen(&asked).await });
        let victim = stage.halted(&place).await;
        let since = stage.strike(victim.number, fault).await;
        let first = match soon(&what, asking).await.unwrap() {
            Ok(made) => Some(made.keys[0].public_key.clone()),
            Err(error) => {
                stage.failed(&error, &what, fault, &victim, since);
                None
            }
        };
        stage.heal(victim.number, fault).await;
        // Who asks again gets the wallet, and from then on the same.
        let mut keys = BTreeSet::from_iter(first.clone());
        for _ in 0..3 {
            keys.insert(made(&stage.client, &request, &what).await);
        }
        assert_eq!(keys.len(), 1, "{what}: {keys:?}");
        let wallet = Wallet::of_eddsa(hex::decode(keys.first().unwrap()).unwrap());
        for number in 0..2 {
            let id = format!("act{act}-{number}").parse().unwrap();
            let request = SignRequest::builder(Scheme::Ed25519, format!("w{act}").parse().unwrap(), id, &DIGEST);
            sign(&stage.client, &wallet, &request.sign_with(&stage.cluster.files.initiator).unwrap()).await;
        }
        println!("{what}: {}", if first.is_some() { "made" } else { "failed, and made when asked again" });
    }
    let (waits, _): (Vec<_>, Vec<_>) = stage.told.iter().copied().unzip();
    println!("median: clients told {:?} after the loss", median(waits));
    stage.cluster.stop().await;
}

/// Asks until there is a wallet. Gives its key.
async fn made(client: &Client, request: &KeygenRequest, what: &str) -> String {
    until(what, async || match client.keygen(request).await {
        Ok(made) => Some(made.keys[0].public_key.clone()),
        Err(ClientError::Refused(failure)) => {
            // What was left of it is being settled, or nodes are about to find each other.
            assert!(failure.code.is_retryable() || failure.code == Code::SessionDuplicate, "{what}: {failure}");
            None
        }
        Err(ClientError::Timeout | ClientError::Nobody) => None,
        Err(error) => panic!("{what}: {error}"),
    })
    .await
}
