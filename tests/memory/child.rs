//! The process that is looked into: what happens in it.

use std::io::{Write, stdin, stdout};
use std::time::Duration;

use quorate::ids::{Scheme, SheetHash, Threshold};
use quorate::pairing::PairingMsg;
use quorate::protocol::ecdsa_signing::EcdsaSigning;
use quorate::storage::{Action, Family, Fault, Point};
use quorate::testing::witness::{self, Kind};
use quorate::testing::{ActorName, Cluster, ClusterBuilder, Silence, eventually};
use tokio::task::JoinHandle;

use crate::process::{LEAK, MARK, SCRIPT};

/// Not a test by itself: the others start it in a process of its own.
#[test]
#[ignore = "the process that the other tests look into"]
fn process() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    let leak = std::env::var(LEAK).ok().and_then(|number| number.parse::<usize>().ok());
    witness::listen(leak.map(|number| Kind::ALL[number]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match script.as_str() {
            "keygen" => keygen().await,
            _ => everything().await,
        }
    });
    drop(runtime);
    say("gone");
}

/// Tells what was seen and that a phase is over, and waits until it was looked into.
fn say(phase: &str) {
    let mut text = String::new();
    for seen in witness::take() {
        let kind = Kind::ALL.iter().position(|kind| *kind == seen.kind).unwrap();
        text.push_str(&format!("{MARK}secret {kind} {}\n", hex::encode(&seen.masked)));
    }
    text.push_str(&format!("{MARK}phase {phase}\n"));
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
    drop(out);
    assert_ne!(stdin().read_line(&mut String::new()).unwrap(), 0, "nobody looks any more");
}

/// Links are patient: those that a busy machine makes anew after a phase has ended have keys that nobody was told of.
fn builder() -> ClusterBuilder {
    let builder = Cluster::builder("memory".parse().unwrap(), Threshold::new(2, 3).unwrap());
    builder.settings(|settings| settings.link.missed_heartbeats = 30)
}

/// The shortest life with a share in it.
async fn keygen() {
    let cluster = builder().without_pairs().start().await.unwrap();
    cluster.make_wallet(0, "w", &[Scheme::Ed25519]).await.unwrap();
    say("keygen");
}

async fn everything() {
    let mut cluster = builder().start().await.unwrap();
    say("ready");

    cluster.make_wallet(0, "w", &Scheme::ALL).await.unwrap();
    say("keygen");

    for scheme in Scheme::ALL {
        cluster.sign(0, scheme, "w").await.unwrap();
    }
    say("signed");

    // One leaves and comes back: nothing is left of its shares, nor of those that the others had before.
    for members in [&[0, 1][..], &[0, 1, 2]] {
        cluster.reshare(0, "w", &Scheme::ALL, 2, members).await.unwrap();
    }
    say("reshared");

    let open = Open::start(&cluster).await;
    say("signing");
    cluster.isolate(1).unwrap();
    cluster.isolate(2).unwrap();
    open.failed().await;
    cluster.heal().await.unwrap();
    say("peer-lost");

    let open = Open::start(&cluster).await;
    for session in open.sessions.clone() {
        cluster.crash_session(0, session).await.unwrap();
    }
    open.failed().await;
    say("sessions-panicked");

    ecdsa_panics(&cluster).await;
    say("ecdsa-panicked");
    pair_setup_panics(&cluster).await;
    say("pair-setup-panicked");

    let open = Open::start(&cluster).await;
    cluster.crash(0, ActorName::Signing).await.unwrap();
    open.failed().await;
    say("signing-panicked");

    let silent = cluster.silence(2).await.unwrap();
    let request = cluster.keygen_request("lost", &Scheme::ALL).unwrap();
    let client = cluster.client(0).unwrap().start_keygen(request);
    eventually("the key generation runs", async || {
        let running = async |number| !cluster.keygen(number).await.unwrap().running.is_empty();
        running(0).await && running(1).await
    })
    .await
    .unwrap();
    cluster.crash(0, ActorName::Keygen).await.unwrap();
    client.await.unwrap().unwrap_err();
    drop(silent);
    say("keygen-panicked");

    let lives = async || cluster.transport(0).await.unwrap().links[&cluster.id(1).unwrap()].lives;
    let before = lives().await;
    cluster.crash_link(0, 1).unwrap();
    eventually("the link has another life", async || lives().await > before).await.unwrap();
    cluster.until_ready().await.unwrap();
    say("link-panicked");

    for actor in [ActorName::Transport, ActorName::Pairing, ActorName::Registry] {
        cluster.crash(0, actor).await.unwrap();
        eventually("the view is rebuilt", async || cluster.registry(0).await.is_ok_and(|view| view.ready().len() == 3))
            .await
            .unwrap();
        cluster.until_ready().await.unwrap();
    }
    say("others-panicked");

    let panic =
        Fault { point: Point::BeforeWrite, family: Some(Family::Results), after_groups: 0, action: Action::Panic };
    drop(cluster.storage_faults(0).unwrap().plan(panic));
    cluster.sign(0, Scheme::Ed25519, "w").await.unwrap_err();
    eventually("the store is open again", async || cluster.storage(0).await.is_ok()).await.unwrap();
    cluster.until_ready().await.unwrap();
    say("storage-panicked");

    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    say("node-killed");

    for number in [0, 1] {
        cluster.shutdown(number).await;
    }
    say("stopped");
}

/// An ECDSA session panics when it has computed its share of the signature, and so have the other signers.
async fn ecdsa_panics(cluster: &Cluster) {
    let hold = |number| cluster.hold_write(number, Point::BeforeWrite, Family::Results).unwrap();
    let holds = [hold(0), hold(1), hold(2)];
    let request = cluster.sign_request(Scheme::Ecdsa, "w").unwrap();
    let client = cluster.client(0).unwrap().start_signing(request);
    let computed = async || {
        let session = *cluster.signing(0).await.unwrap().sessions.first()?;
        let snapshot = cluster.session(0, session).await.unwrap()?;
        (snapshot.round == EcdsaSigning::SHARE_ROUND && snapshot.held).then_some(session)
    };
    eventually("the share is computed", async || computed().await.is_some()).await.unwrap();
    cluster.crash_session(0, computed().await.unwrap()).await.unwrap();
    client.await.unwrap().unwrap_err();
    drop(holds);
}

/// Pairing panics while a pair setup runs, on the side that began it or on the other.
async fn pair_setup_panics(cluster: &Cluster) {
    const SOON: Duration = Duration::from_secs(10);
    let (pairing, peer) = (&cluster.addresses(0).unwrap().pairing, cluster.id(1).unwrap());
    let drawn = witness::count(Kind::PairSetup);
    let ban = |reply| PairingMsg::Ban { peer, session: SheetHash([1; 32]), reply };
    pairing.call(SOON, ban).await.unwrap().unwrap();
    pairing.call(SOON, |reply| PairingMsg::LiftBan { peer, reply }).await.unwrap().unwrap();
    eventually("a pair setup has drawn its secrets", async || {
        let runs = cluster.pairing(0).await.is_ok_and(|pairing| !pairing.running.is_empty());
        runs && witness::count(Kind::PairSetup) > drawn
    })
    .await
    .unwrap();
    cluster.crash(0, ActorName::Pairing).await.unwrap();
    cluster.until_all("all pairs are set up", |view| view.is_complete(Scheme::Ecdsa)).await.unwrap();
}

/// Two for each signature of FROST; one in ECDSA, and two masks.
pub const NONCES: usize = 7;

/// Signatures in every scheme that the first node waits for, because the others compute nothing.
struct Open {
    clients: Vec<JoinHandle<()>>,
    sessions: Vec<SheetHash>,
    _silent: [Silence; 2],
}

impl Open {
    async fn start(cluster: &Cluster) -> Self {
        let nonces = witness::count(Kind::Nonce);
        let silent = [cluster.silence(1).await.unwrap(), cluster.silence(2).await.unwrap()];
        let start = |scheme| {
            let request = cluster.sign_request(scheme, "w").unwrap();
            let client = cluster.client(0).unwrap().start_signing(request);
            tokio::spawn(async move {
                client.await.unwrap().unwrap_err();
            })
        };
        let clients = Scheme::ALL.into_iter().map(start).collect();
        let running = async || cluster.signing(0).await.unwrap().sessions;
        eventually("all sessions run", async || running().await.len() == Scheme::ALL.len()).await.unwrap();
        eventually("all have drawn their nonces", async || witness::count(Kind::Nonce) == nonces + NONCES)
            .await
            .unwrap();
        Self { clients, sessions: running().await.into_iter().collect(), _silent: silent }
    }

    /// Waits until all have failed.
    async fn failed(self) {
        for client in self.clients {
            client.await.unwrap();
        }
    }
}
