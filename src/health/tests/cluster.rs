use serde_json::Value;

use super::ask;
use crate::health::{Endpoint, HealthMsg};
use crate::ids::{Scheme, Threshold};
use crate::keys::DerivationPath;
use crate::testing::{Cluster, eventually};

/// Three nodes, of which two sign, all with health, and none with ECDSA.
async fn start() -> Cluster {
    let mut endpoints = Vec::new();
    for _ in 0..3 {
        endpoints.push(Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap());
    }
    let threshold = Threshold::new(2, 3).unwrap();
    let builder = Cluster::builder("test".parse().unwrap(), threshold).without_pairs();
    builder.args(move |number, args| args.health = Some(endpoints[number].clone())).start().await.unwrap()
}

/// The status, the headers, and the body.
async fn get(cluster: &Cluster, number: usize, path: &str) -> (u16, String, String) {
    let address = cluster.node(number).unwrap().health_address().unwrap();
    let answer = ask(address, format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await;
    // A server that was just told to end says nothing.
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, answer, String::new()) };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

async fn report(cluster: &Cluster, path: &str) -> (u16, Value) {
    let (status, head, body) = get(cluster, 0, path).await;
    assert!(head.contains("application/json"), "{head}");
    (status, serde_json::from_str(&body).unwrap())
}

/// The value of a metric, by its name and labels.
fn value(page: &str, metric: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn node__should_be_ready_while_enough_nodes_are() {
    let mut cluster = start().await;
    let peer = cluster.id(2).unwrap().to_string();
    let state = async |cluster: &Cluster| {
        let (status, ready) = report(cluster, "/ready").await;
        let (same, health) = report(cluster, "/health").await;
        assert_eq!((status, &ready["ready"]), (same, &health["ready"]));
        assert_eq!(ready["status"], if status == 200 { "ready" } else { "not_ready" });
        assert_eq!(get(cluster, 0, "/live").await.0, 200);
        let peers = ready["details"]["peers"].as_array().unwrap().clone();
        let peer = peers.into_iter().find(|found| found["node_id"] == peer).unwrap();
        (status, ready["details"]["health"].clone(), peer["ready"].as_bool().unwrap())
    };
    assert_eq!(state(&cluster).await, (200, "all".into(), true));
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    assert_eq!(state(&cluster).await, (200, "enough".into(), false));
    cluster.lose(1).await.unwrap();
    cluster.until_unready(1).await.unwrap();
    assert_eq!(state(&cluster).await, (503, "too_few".into(), false));
    cluster.restart(2).await.unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(state(&cluster).await, (200, "enough".into(), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics__should_count_what_was_done_and_name_no_wallet() {
    let mut cluster = start().await;
    let wallet = "treasury".parse().unwrap();
    let local = cluster.local();
    let request = local.keygen_request(&wallet, &[Scheme::Ed25519]).unwrap();
    cluster.node(0).unwrap().keygen(request).await.unwrap();
    let sign = |name: &str| {
        let name = name.parse().unwrap();
        local.sign_request(Scheme::Ed25519, &wallet, &name, DerivationPath::default(), b"now").unwrap()
    };
    cluster.node(0).unwrap().sign(sign("payment")).await.unwrap();
    let absent = "absent".parse().unwrap();
    let nothing = local
        .sign_request(Scheme::Ed25519, &absent, &"refund".parse().unwrap(), DerivationPath::default(), b"now")
        .unwrap();
    cluster.node(0).unwrap().sign(nothing).await.unwrap_err();

    let (status, head, page) = get(&cluster, 0, "/metrics").await;
    assert!(status == 200 && head.contains("application/openmetrics-text"), "{head}");
    let [peer, name] = [cluster.id(2).unwrap().to_string(), cluster.local().name(2).unwrap().to_string()];
    let of_peer = |metric: &str| format!("{metric}{{peer=\"{peer}\",name=\"{name}\"}}");
    for (metric, expected) in [
        (r#"quorate_requests_total{kind="keygen",scheme="",code="OK"}"#, 1.0),
        (r#"quorate_requests_total{kind="sign",scheme="ed25519",code="OK"}"#, 1.0),
        (r#"quorate_requests_total{kind="sign",scheme="ed25519",code="KEY_NOT_FOUND"}"#, 1.0),
        (r#"quorate_request_duration_seconds_count{kind="sign",scheme="ed25519"}"#, 2.0),
        (r#"quorate_sessions_total{kind="signing",outcome="done"}"#, 1.0),
        (r#"quorate_sessions_total{kind="keygen",outcome="done"}"#, 1.0),
        (r#"quorate_health{state="all"}"#, 1.0),
        (r#"quorate_actor_answers{actor="storage"}"#, 1.0),
        ("quorate_links_up", 2.0),
        ("quorate_broker_connected", 1.0),
        ("quorate_pairs_banned", 2.0),
        (&of_peer("quorate_peer_ready"), 1.0),
    ] {
        assert_eq!(value(&page, metric), Some(expected), "{metric} in\n{page}");
    }
    for metric in ["quorate_storage_synced_groups_total", "quorate_uptime_seconds", "process_cpu_seconds_total"] {
        assert!(value(&page, metric).is_some_and(|value| value > 0.0), "{metric} in\n{page}");
    }
    assert!(!page.contains("treasury") && !page.contains("payment") && !page.contains("absent"), "{page}");
    assert!(!page.contains("gateway"), "there is none:\n{page}");

    let last_seen = of_peer("quorate_peer_last_seen_timestamp_seconds");
    let linked = value(&page, &last_seen).unwrap();
    cluster.lose(2).await.unwrap();
    cluster.until_unready(2).await.unwrap();
    let clock = cluster.local().args(0).unwrap().clock;
    let shown = async || {
        let page = get(&cluster, 0, "/metrics").await.2;
        (value(&page, "quorate_links_up") == Some(1.0)).then(|| value(&page, &last_seen).unwrap())
    };
    // Its last moment is noted soon, and is the same on later pages.
    let stands_still = async || {
        let Some(then) = shown().await else { return false };
        let asked = clock.now_ms();
        eventually("another page is made", async || clock.now_ms() > asked + 200).await.unwrap();
        then >= linked && shown().await == Some(then)
    };
    eventually("the peer was last seen in the past", stands_still).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health__should_live_again_at_its_address_as_often_as_it_fails() {
    let cluster = start().await;
    let to = cluster.node(0).unwrap().addresses().health.clone();
    let restarts = cluster.local().args(0).unwrap().settings.restarts.restarts;
    for _ in 0..=restarts {
        let former = to.current().unwrap().get_id();
        to.cast(HealthMsg::InjectPanic).unwrap();
        eventually("it lives again", async || to.current().is_some_and(|next| next.get_id() != former)).await.unwrap();
        eventually("it answers", async || get(&cluster, 0, "/ready").await.0 == 200).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_stops__should_not_be_ready_and_then_say_nothing() {
    let mut cluster = start().await;
    let node = cluster.node(0).unwrap();
    let address = node.health_address().unwrap();
    node.addresses().health.cast(HealthMsg::Stopping).unwrap();
    eventually("it is not ready", async || get(&cluster, 0, "/ready").await.0 == 503).await.unwrap();
    let (_, report) = report(&cluster, "/ready").await;
    assert_eq!((&report["details"]["stopping"], &report["details"]["health"]), (&true.into(), &"all".into()));
    assert_eq!(get(&cluster, 0, "/live").await.0, 200);
    cluster.shutdown(0).await;
    let asked = ask(address, b"GET /live HTTP/1.1\r\nhost: here\r\n\r\n");
    // The harness keeps the endpoint: only nobody serves it.
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), asked).await.is_err());
}
