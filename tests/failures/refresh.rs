//! Shares and pair setups that are renewed because they are old, on a clock that stands still while anything is computed.

use std::future::Future;
use std::time::Duration;

use quorate::error::Code;
use quorate::ids::{Epoch, Scheme};
use quorate::policy::{RefreshSchedule, WalletClass, WalletPattern};
use quorate::storage::Family;
use quorate::testing::{Cluster, ClusterBuilder};
use quorate::transport::LinkConfig;

use crate::stage::{ANY, builder};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Runs a test on a clock that jumps to the next thing that is to happen.
fn paused(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).max_blocking_threads(1).build().unwrap().block_on(test);
}

/// Looks every second until `condition` holds.
async fn within(time: Duration, what: &str, condition: impl AsyncFn() -> bool) {
    let look = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    assert!(tokio::time::timeout(time, look).await.is_ok(), "{what}");
}

fn slow(t: u8, n: u8) -> ClusterBuilder {
    builder(t, n).settings(|settings| {
        settings.link = LinkConfig::default();
        settings.lease_ttl = Duration::from_secs(6);
    })
}

/// Wallets whose ids begin with `hot-` are refreshed so often, and no others.
fn hot(every: Duration) -> RefreshSchedule {
    let class = WalletClass::new(vec![WalletPattern::parse("hot-*").unwrap()], Some(every));
    RefreshSchedule::every(None).with_class(class)
}

async fn generation(cluster: &Cluster, wallet: &str) -> u32 {
    let mut generations = Vec::new();
    for node in cluster.local().running() {
        let certificate = node.wallet(wallet.parse().unwrap()).await.unwrap().unwrap();
        generations.extend(certificate.record().key(ANY).map(|key| key.generation.0));
    }
    generations.into_iter().min().unwrap()
}

/// How many refreshes each node began and brought to an end.
async fn begun(cluster: &Cluster) -> Vec<u64> {
    let mut begun = Vec::new();
    for number in 0..cluster.local().len() {
        begun.push(cluster.resharing(number).await.unwrap().refreshed);
    }
    begun
}

#[test]
fn wallet__should_be_refreshed_at_its_age_by_one_of_its_members() {
    paused(async {
        let cluster = slow(2, 3).without_pairs().settings(|s| s.refresh = hot(HOUR)).start().await.unwrap();
        cluster.make_wallet(0, "hot-1", &[ANY, Scheme::Bip340]).await.unwrap();
        cluster.make_wallet(1, "cold", &[ANY]).await.unwrap();
        for round in 1..=3 {
            tokio::time::sleep(MINUTE * 55).await;
            assert_eq!(generation(&cluster, "hot-1").await, round - 1, "too early");
            within(MINUTE * 20, "a refresh", async || generation(&cluster, "hot-1").await == round).await;
            assert_eq!(begun(&cluster).await.iter().sum::<u64>(), u64::from(round));
            cluster.sign(0, ANY, "hot-1").await.unwrap();
            cluster.sign(1, Scheme::Bip340, "hot-1").await.unwrap();
        }
        assert_eq!(generation(&cluster, "cold").await, 0);
        let ages = cluster.resharing(0).await.unwrap().ages;
        assert_eq!((ages.wallets, ages.undated), (1, 0), "{ages:?}");
        assert!(ages.oldest >= MINUTE * 50, "as of the last look: {ages:?}");
    });
}

#[test]
fn wallet__should_be_refreshed_by_the_next_member_when_another_does_not_begin() {
    paused(async {
        let patient = [0, 1];
        let cluster = slow(2, 3).without_pairs().args(move |number, args| {
            args.settings.refresh = hot(if patient.contains(&number) { HOUR * 2 - MINUTE } else { HOUR });
        });
        let cluster = cluster.start().await.unwrap();
        cluster.make_wallet(0, "hot-1", &[ANY]).await.unwrap();
        within(MINUTE * 100, "a refresh", async || generation(&cluster, "hot-1").await == 1).await;
        assert_eq!(begun(&cluster).await, [0, 0, 1]);
    });
}

#[test]
fn refresh__should_wait_for_a_member_that_is_away_and_come_when_it_is_back() {
    paused(async {
        let mut cluster = slow(2, 3).without_pairs().settings(|s| s.refresh = hot(HOUR)).start().await.unwrap();
        cluster.make_wallet(0, "hot-1", &[ANY]).await.unwrap();
        cluster.lose(2).await.unwrap();
        within(HOUR * 2, "it waits", async || cluster.resharing(0).await.unwrap().ages.waiting == 1).await;
        assert_eq!(generation(&cluster, "hot-1").await, 0);
        cluster.restart(2).await.unwrap();
        within(MINUTE * 30, "a refresh", async || generation(&cluster, "hot-1").await == 1).await;
        let failed = async |number| cluster.resharing(number).await.unwrap().failed_refreshes;
        assert_eq!((failed(0).await, failed(1).await), (0, 0));
    });
}

#[test]
fn refresh__should_not_happen_when_a_member_does_not_want_it() {
    paused(async {
        let cluster = slow(2, 3).without_pairs().args(|number, args| {
            args.settings.refresh = if number == 2 { RefreshSchedule::default() } else { hot(HOUR) };
        });
        let cluster = cluster.start().await.unwrap();
        cluster.make_wallet(0, "hot-1", &[ANY]).await.unwrap();
        let failed = async || {
            let mut failed = 0;
            for number in 0..2 {
                failed += cluster.resharing(number).await.unwrap().failed_refreshes;
            }
            failed
        };
        within(HOUR * 2, "it is tried", async || failed().await > 0).await;
        let aborts = cluster.resharing(2).await.unwrap();
        assert_eq!((aborts.running.len(), generation(&cluster, "hot-1").await), (0, 0));
        tokio::time::sleep(HOUR * 24).await;
        // Pauses between attempts become longer, up to two hours and more.
        assert!(failed().await < 40, "{}", failed().await);
        let causes = cluster.resharing(0).await.unwrap().causes;
        assert!(causes.iter().all(|(code, ..)| code == Code::RefreshNotDue), "{causes:?}");
    });
}

async fn epochs(cluster: &Cluster, holder: usize) -> Vec<Epoch> {
    cluster.pairing(holder).await.unwrap().epochs.into_values().collect()
}

#[test]
fn pair_setups__should_be_renewed_without_a_signature_that_fails_and_the_former_ones_erased() {
    paused(async {
        let cluster = slow(2, 3).settings(|settings| settings.pair_refresh_every = Some(HOUR)).start().await.unwrap();
        cluster.make_wallet(0, "w", &[Scheme::Ecdsa]).await.unwrap();
        cluster.until_ready().await.unwrap();
        let before = epochs(&cluster, 0).await;
        let mut with_former = 0;
        for minute in 0..120 {
            for node in 0..3 {
                let signed = cluster.sign(node, Scheme::Ecdsa, "w").await;
                assert!(signed.is_ok(), "minute {minute}: {:?}", signed.err());
            }
            with_former = with_former.max(cluster.pairing(0).await.unwrap().former.len());
            tokio::time::sleep(MINUTE).await;
        }
        let after = epochs(&cluster, 0).await;
        assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
        assert!(with_former > 0, "both are in use for a while");
        for number in 0..3 {
            let snapshot = cluster.pairing(number).await.unwrap();
            assert!(snapshot.former.is_empty(), "{snapshot:?}");
            assert_eq!(cluster.stored_keys(number, Family::Pairs, b"").await.unwrap().len(), 2);
            assert!(snapshot.oldest < HOUR * 2, "{snapshot:?}");
        }
    });
}
