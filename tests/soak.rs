//! A day's work in a minute: thousands of sessions, a third of them aborted, and nothing is left of them.
//!
//! `SOAK_SESSIONS=n` runs n of them (`make soak`); without, a few hundred.
#![expect(clippy::unwrap_used, reason = "a test that fails should stop")]

use std::time::Instant;

use quorate::error::Code;
use quorate::ids::{Scheme, Threshold};
use quorate::process::of_this;
use quorate::testing::{Cluster, eventually};

/// Sessions, if the environment does not say.
const SESSIONS: usize = 600;
/// How many sessions run at a time.
const AT_A_TIME: usize = 8;
/// What memory may grow by, in bytes, however many sessions there are: answers that stay known, the allocator's reserve.
/// One leaked session alone holds some kilobytes.
const MEMORY: u64 = 24 << 20;

/// Threads more or less of a pool that breathes.
const THREADS: usize = 32;
/// Tasks that are on their way out. Each session has several.
const TASKS: usize = 16;

/// What the sessions may leave nothing in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    sessions: usize,
    requests: usize,
    files: usize,
    threads: usize,
    /// Actors, and what works beside them.
    tasks: usize,
}

impl Held {
    /// Once all nodes are idle.
    async fn by(cluster: &Cluster) -> Self {
        let nodes = 0..cluster.local().len();
        eventually("all nodes are idle", async || {
            for number in nodes.clone() {
                let signing = cluster.signing(number).await;
                if !signing.is_ok_and(|signing| signing.requests == 0 && signing.sessions.is_empty()) {
                    return false;
                }
            }
            true
        })
        .await
        .unwrap();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let mut held = Self { sessions: 0, requests: 0, files: count("fd"), threads: count("task"), tasks };
        for number in nodes {
            let signing = cluster.signing(number).await.unwrap();
            held.sessions += signing.sessions.len();
            held.requests += signing.requests;
        }
        held
    }
}

/// Entries of a folder that tells of this process.
fn count(of: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count()
}

fn memory() -> u64 {
    of_this().unwrap().resident_bytes
}

/// Signs so often, `AT_A_TIME` at a time. Each third batch loses the links of its coordinator. Tells how many were aborted.
async fn work(cluster: &Cluster, sessions: usize) -> usize {
    let mut aborted = 0;
    for batch in 0..sessions / AT_A_TIME {
        let coordinator = batch % cluster.local().len();
        let client = cluster.client(coordinator).unwrap();
        let requests = (0..AT_A_TIME).map(|_| cluster.sign_request(Scheme::Ed25519, "w").unwrap());
        let answers: Vec<_> = requests.map(|request| client.clone().start_signing(request)).collect();
        if batch % 3 == 0 {
            let begun = async || cluster.signing(coordinator).await.is_ok_and(|signing| !signing.sessions.is_empty());
            eventually("a session runs", begun).await.unwrap();
            for peer in (0..cluster.local().len()).filter(|&peer| peer != coordinator) {
                cluster.crash_link(coordinator, peer).unwrap();
            }
        }
        for answer in answers {
            match answer.await.unwrap() {
                Ok(_) => {}
                Err(failure) => {
                    let expected = [Code::PeerUnavailable, Code::NotMajority, Code::SessionDuplicate];
                    assert!(expected.contains(&failure.code), "{failure}");
                    aborted += 1;
                }
            }
        }
        cluster.until_ready().await.unwrap();
    }
    aborted
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions__should_leave_nothing_behind_however_they_end() {
    let sessions = std::env::var("SOAK_SESSIONS").map_or(SESSIONS, |text| text.parse().unwrap());
    let builder = Cluster::builder("soak".parse().unwrap(), Threshold::new(2, 3).unwrap());
    let cluster = builder.without_pairs().start().await.unwrap();
    cluster.make_wallet(0, "w", &[Scheme::Ed25519]).await.unwrap();
    // Caches, thread pools and the allocator get their size.
    work(&cluster, sessions / 4).await;
    let (before, memory_before, begun) = (Held::by(&cluster).await, memory(), Instant::now());
    let aborted = work(&cluster, sessions).await;
    let (after, memory_after) = (Held::by(&cluster).await, memory());
    println!(
        "{sessions} sessions, {aborted} of them aborted, in {:.1} s; memory {} to {} KiB; {after:?}",
        begun.elapsed().as_secs_f64(),
        memory_before >> 10,
        memory_after >> 10,
    );
    assert!(aborted * 5 > sessions, "only {aborted} of {sessions} were aborted: a third should be");
    // Idle threads go when nobody needs them; a task may be about to end.
    assert!(after.threads <= before.threads + THREADS && after.tasks <= before.tasks + TASKS, "{before:?}: {after:?}");
    let Held { threads, tasks, .. } = after;
    assert_eq!(after, Held { threads, tasks, ..before });
    assert!(memory_after < memory_before + MEMORY, "{memory_before} bytes grew to {memory_after}");
}
