//! The page of metrics: what was observed, in the text form of OpenMetrics.
//!
//! Labels are kinds, codes, states, and the names and ids of the peer book. Numbers of an actor start again from 0 with
//! each of its lives, as whoever reads counters expects.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::sources::Actors;
use crate::backup::BackupSnapshot;
use crate::checkup::CheckupSnapshot;
use crate::destruction::DestructionSnapshot;
use crate::gateway::GatewaySnapshot;
use crate::ids::NodeId;
use crate::keygen::KeygenSnapshot;
use crate::metrics::Recorder;
use crate::pairing::PairingSnapshot;
use crate::reshare::{RefreshAges, ReshareSnapshot};
use crate::signing::SigningSnapshot;
use crate::storage::StorageSnapshot;
use crate::transport::TransportSnapshot;
use crate::wire::native::{Health, NodeStatus, PeerReport};

/// What a page shows, apart from what the recorder counted.
#[derive(Debug)]
pub(super) struct Seen {
    pub node: NodeStatus,
    /// The broker is connected and lets the node use what it needs.
    pub broker: bool,
    pub uptime: Duration,
    /// When each peer was last linked, in milliseconds since the Unix epoch.
    pub last_seen: BTreeMap<NodeId, u64>,
    pub actors: Actors,
    /// Whether there is a gateway at all.
    pub gateway: bool,
    /// Whether backups are made at all.
    pub backs_up: bool,
    /// Whether the node is sealed.
    pub sealed: bool,
}

/// Writes the page.
pub(super) fn page(seen: &Seen, recorder: &Recorder) -> String {
    let mut registry = Registry::default();
    process(&mut Page(&mut registry), seen);
    let mut page = Page(registry.sub_registry_with_prefix("quorate"));
    node(&mut page, seen);
    peers(&mut page, seen);
    actors(&mut page, seen);
    recorder.register(page.0);
    let mut text = String::new();
    // Writing to a text in memory cannot fail; were a value not to write itself, half a page would be none.
    if encode(&mut text, &registry).is_err() { "# EOF\n".to_owned() } else { text }
}

fn process(page: &mut Page<'_>, seen: &Seen) {
    let Some(process) = seen.node.process else { return };
    page.count("process_cpu_seconds", "CPU time of the process", process.cpu_seconds);
    page.show("process_resident_memory_bytes", "Memory of the process", process.resident_bytes);
    let help = "The most memory that the process ever had";
    page.show("process_peak_resident_memory_bytes", help, process.peak_resident_bytes);
}

fn node(page: &mut Page<'_>, seen: &Seen) {
    let node = &seen.node;
    let build: Labels =
        vec![("version", node.version.clone()), ("node", node.node_id.to_string()), ("name", node.name.clone())];
    page.show_each("build_info", "Always 1: which program this is, and which node", [(build, 1_u64)]);
    page.show("uptime_seconds", "How long the node has been running", seen.uptime.as_secs_f64());
    let states = [(Health::All, "all"), (Health::Enough, "enough"), (Health::TooFew, "too_few")];
    let states = states.map(|(state, name)| (one("state", name), u64::from(node.health == state)));
    page.show_each("health", "1 for the state of the cluster, seen from here: who is ready", states);
    page.show(
        "sealed",
        "Whether the node is sealed: its store closed, and nothing of it in memory",
        u64::from(seen.sealed),
    );
    page.show("broker_usable", "Whether the broker is connected and permits what is needed", u64::from(seen.broker));
    page.show("threshold_nodes", "How many nodes must sign with a new wallet", u64::from(node.threshold));
    page.show("parties_nodes", "How many nodes there are", u64::from(node.parties));
}

fn peers(page: &mut Page<'_>, seen: &Seen) {
    let labels = |peer: &PeerReport| vec![("peer", peer.node_id.to_string()), ("name", peer.name.clone())];
    let peers = &seen.node.peers;
    let mut show = |name: &str, help: &str, is: fn(&PeerReport) -> bool| {
        page.show_each(name, help, peers.iter().map(|peer| (labels(peer), u64::from(is(peer)))));
    };
    show("peer_ready", "Whether a peer takes part in sessions now", |peer| peer.ready);
    show("peer_leased", "Whether a peer's lease is alive", |peer| peer.leased);
    show("peer_linked", "Whether the link to a peer is up", |peer| peer.linked);
    show("peer_paired", "Whether a peer and this node can sign ECDSA together", |peer| peer.paired);
    let rtts = peers.iter().filter_map(|peer| Some((labels(peer), peer.rtt_ms? / 1e3)));
    page.show_each("peer_rtt_seconds", "The last round trip on the link to a peer", rtts);
    let seconds = |milliseconds: u64| Duration::from_millis(milliseconds).as_secs_f64();
    let last = peers.iter().filter_map(|peer| Some((labels(peer), seconds(*seen.last_seen.get(&peer.node_id)?))));
    let help = "When the link to a peer was last up, in seconds since the Unix epoch";
    page.show_each("peer_last_seen_timestamp_seconds", help, last);
}

fn actors(page: &mut Page<'_>, seen: &Seen) {
    let Actors { storage, transport, pairing, keygen, signing, reshare, checkup, destruction, gateway, backup } =
        &seen.actors;
    let answers = [
        ("storage", storage.is_some()),
        ("transport", transport.is_some()),
        ("pairing", pairing.is_some()),
        ("keygen", keygen.is_some()),
        ("signing", signing.is_some()),
        ("reshare", reshare.is_some()),
        ("checkup", checkup.is_some()),
        ("destruction", destruction.is_some()),
        ("gateway", gateway.is_some()),
        ("backup", backup.is_some()),
    ];
    let is_there = |actor| match actor {
        "gateway" => seen.gateway,
        "backup" => seen.backs_up,
        _ => true,
    };
    let answers = answers.into_iter().filter(|&(actor, _)| is_there(actor));
    let answers = answers.map(|(actor, answers)| (one("actor", actor), u64::from(answers)));
    page.show_each("actor_answers", "Whether an actor answered in time; without, its numbers are missing", answers);
    sessions(page, keygen.as_ref(), signing.as_ref(), reshare.as_ref());
    if let Some(storage) = storage {
        store(page, storage);
    }
    if let Some(transport) = transport {
        links(page, transport);
    }
    if let Some(PairingSnapshot { epochs, former, oldest, banned, running }) = pairing {
        page.show("pairs", "Pair setups that this node holds", epochs.len());
        page.show("pairs_former", "Peers with which a former setup is still in use beside the new one", former.len());
        page.show("pair_oldest_age_seconds", "The age of the oldest pair setup", oldest.as_secs_f64());
        page.show("pairs_banned", "Peers that this node does not sign ECDSA with", banned.len());
        page.show("pair_setups_running", "Pair setups at work", running.len());
    }
    if let Some(checkup) = checkup {
        checkups(page, checkup);
    }
    if let Some(DestructionSnapshot { open, incomplete, destroyed, refused }) = destruction {
        page.count("wallets_destroyed", "Wallets that were destroyed on this node", *destroyed);
        page.show("destructions_open", "Destroyed wallets of which not everybody is known to know", open.len());
        let help = "Those whose certificates are known to lack statements of members";
        page.show("destructions_incomplete", help, incomplete.len());
        page.count("destructions_refused", "Certificates of destruction of peers that were not taken", *refused);
    }
    if let Some(GatewaySnapshot { taken, answered, given_back }) = *gateway {
        let fates = [("taken", taken), ("answered", answered), ("given_back", given_back)];
        let fates = fates.map(|(fate, messages)| (one("fate", fate), messages));
        page.count_each("gateway_messages", "Messages of the streams of requests, by what became of them", fates);
    }
    if let Some(backup) = backup {
        backups(page, backup);
    }
}

fn backups(page: &mut Page<'_>, backup: &BackupSnapshot) {
    let outcomes = [("made", backup.made), ("failed", backup.failed)];
    let outcomes = outcomes.map(|(outcome, backups)| (one("outcome", outcome), backups));
    page.count_each("backups", "Backups, by what became of them", outcomes);
    page.show("backup_running", "Whether a backup is being made", u64::from(backup.running));
    let age = backup.age.map(|age| (Labels::new(), age.as_secs_f64()));
    page.show_each("backup_age_seconds", "How old the newest backup is; missing where there is none", age);
    let last = backup.last_succeeded.map(|succeeded| (Labels::new(), u64::from(succeeded)));
    page.show_each("backup_last_succeeded", "Whether the last try to make a backup succeeded", last);
    let took = backup.last_took.as_secs_f64();
    page.show("backup_last_duration_seconds", "How long the last backup took that was made", took);
    page.show("backup_last_bytes", "How long the file of the last backup is that was made", backup.last_bytes);
}

fn checkups(page: &mut Page<'_>, CheckupSnapshot { wallets, good, bad, ages, .. }: &CheckupSnapshot) {
    let outcomes = [("good", *good), ("bad", *bad)].map(|(outcome, wallets)| (one("outcome", outcome), wallets));
    page.count_each("checkups", "Check-ups of wallets that this node made, by how they went", outcomes);
    page.show("checkups_running", "Wallets that this node is checking", *wallets);
    page.show("checkup_wallets", "Wallets that this node checks unasked", ages.wallets);
    page.show("checkup_wallets_failing", "Those whose last check-up was bad", ages.failing);
    page.show("checkup_wallets_never_good", "Those that never had a good one", ages.never);
    let help = "The longest time since the last good check-up of one of them";
    page.show("checkup_age_seconds", help, ages.oldest.as_secs_f64());
}

fn sessions(
    page: &mut Page<'_>,
    keygen: Option<&KeygenSnapshot>,
    signing: Option<&SigningSnapshot>,
    reshare: Option<&ReshareSnapshot>,
) {
    let kind = |kind: &str| one("kind", kind);
    let ends = |of: &str, done: u64, aborted: u64| {
        let of = of.to_owned();
        [("done", done), ("aborted", aborted)]
            .map(|(outcome, sessions)| (vec![("kind", of.clone()), ("outcome", outcome.to_owned())], sessions))
    };
    let made = keygen.map(|keygen| ends("keygen", keygen.activated, keygen.aborted));
    let signed = signing.map(|signing| ends("signing", signing.signed, signing.aborted));
    let reshared = reshare.map(|reshare| ends("reshare", reshare.reshared, reshare.aborted));
    let help = "Runs of protocols that this node took part in, by what became of them";
    page.count_each("sessions", help, made.into_iter().chain(signed).chain(reshared).flatten());
    let causes = keygen.map(|keygen| ("keygen", &keygen.causes));
    let causes = causes.into_iter().chain(signing.map(|signing| ("signing", &signing.causes)));
    let causes = causes.chain(reshare.map(|reshare| ("reshare", &reshare.causes)));
    let aborts = causes.flat_map(|(kind, causes)| {
        causes.iter().map(move |(code, culprit, aborts)| {
            // An empty label is the same as none.
            let culprit = culprit.map(|culprit| culprit.to_string()).unwrap_or_default();
            let labels = [("kind", kind), ("code", code.as_str()), ("culprit", &culprit)];
            (labels.map(|(name, value)| (name, value.to_owned())).to_vec(), aborts)
        })
    });
    let help = "Runs of protocols that were aborted, once for each node that was to blame, seen from this node";
    page.count_each("session_aborts", help, aborts);
    let running = [
        keygen.map(|keygen| (kind("keygen"), keygen.running.len())),
        signing.map(|signing| (kind("signing"), signing.sessions.len())),
        reshare.map(|reshare| (kind("reshare"), reshare.running.len())),
    ];
    page.show_each("sessions_running", "Runs of protocols at work", running.into_iter().flatten());
    if let Some(keygen) = keygen {
        page.show("wallets_unsettled", "Wallets with pending shares that are not settled", keygen.unsettled.len());
        let help = "Wallets that were restored and that other members have not confirmed";
        page.show("wallets_quarantined", help, keygen.quarantined.len());
    }
    if let Some(reshare) = reshare {
        page.show("reshares_unsettled", "Wallets with a reshare that is not settled", reshare.unsettled.len());
        let RefreshAges { wallets, due, waiting, undated, oldest } = reshare.ages;
        page.show("refresh_wallets", "Wallets of this node that are refreshed unasked", wallets);
        page.show("refresh_wallets_due", "Those whose shares are older than their schedule allows", due);
        page.show("refresh_wallets_waiting", "Those that are due and wait for members or for pair setups", waiting);
        page.show("refresh_wallets_undated", "Those with shares from before dates were kept", undated);
        page.show("refresh_oldest_age_seconds", "The age of the oldest shares of one of them", oldest.as_secs_f64());
        let outcomes =
            [("done", reshare.refreshed), ("postponed", reshare.postponed), ("failed", reshare.failed_refreshes)];
        let outcomes = outcomes.map(|(outcome, refreshes)| (one("outcome", outcome), refreshes));
        page.count_each("refreshes", "Refreshes that this node began unasked, by how they went", outcomes);
        page.show("reshares_to_tell", "Wallets of which not everybody is known to know the latest", reshare.to_tell);
    }
    if let Some(signing) = signing {
        page.show("signing_requests_running", "Requests for signatures at work", signing.requests);
        page.count("signing_messages_dropped", "Messages of peers for no session", signing.dropped);
    }
}

fn store(page: &mut Page<'_>, storage: &StorageSnapshot) {
    page.show("storage_waiting_writes", "Writes that wait for the disk", storage.waiting);
    page.show("storage_waiting_bytes", "The bytes of the writes that wait", storage.waiting_bytes);
    page.show("storage_writing_writes", "Writes on their way to the disk", storage.writing);
    page.show("storage_reading_reads", "Reads at work", storage.reading);
    page.count("storage_reads", "Reads begun", storage.reads);
    page.count("storage_writes", "Writes that were written, or not for a reason of their own", storage.writes);
    page.count("storage_unwritten_writes", "Of them, those that were not", storage.unwritten);
    page.count("storage_groups", "Groups of writes that came back from the disk", storage.groups);
    page.count("storage_synced_groups", "Of them, those that were synced", storage.synced_groups);
    page.count(
        "storage_group_seconds",
        "The time that groups took on their way to the disk",
        storage.group_time.as_secs_f64(),
    );
    page.show("storage_slowest_group_seconds", "The longest of them", storage.slowest_group.as_secs_f64());
    page.show("storage_last_group_writes", "The writes of the last group", storage.last_group);
    page.show("storage_largest_group_writes", "The writes of the largest group", storage.largest_group);
    page.count("storage_refused", "Reads and writes refused because too many waited", storage.refused);
}

fn links(page: &mut Page<'_>, transport: &TransportSnapshot) {
    page.show("broker_connected", "Whether the broker of the links is connected", u64::from(transport.connected));
    page.show("broker_permitted", "Whether it permits what the links need", u64::from(transport.permitted));
    page.count("link_stray_messages", "Messages at the inbox that are of no peer", transport.strays);
    let up = transport.links.values().filter(|link| link.up.is_some()).count();
    page.show("links_up", "Links that are up", up);
    let lives = transport.links.iter().map(|(peer, link)| (one("peer", &peer.to_string()), link.lives));
    page.count_each("link_lives", "How often the link to a peer was started", lives);
    let messages = transport.links.iter().flat_map(|(peer, link)| {
        let traffic = link.traffic;
        let fates = [
            ("sent", traffic.sent),
            ("delivered", traffic.delivered),
            ("undelivered", traffic.undelivered),
            ("not_authentic", traffic.not_authentic),
            ("replayed", traffic.replayed),
            ("stale", traffic.stale),
            ("over_limit", traffic.over_limit),
            ("too_long", traffic.too_long),
        ];
        let peer = peer.to_string();
        fates.map(|(fate, messages)| (vec![("peer", peer.clone()), ("fate", fate.to_owned())], messages))
    });
    page.count_each("link_messages", "Messages of a link, by what became of them", messages);
}

type Labels = Vec<(&'static str, String)>;

fn one(key: &'static str, value: &str) -> Labels {
    vec![(key, value.to_owned())]
}

/// Takes values as they are now.
struct Page<'a>(&'a mut Registry);

impl Page<'_> {
    /// A number that goes up and down.
    fn show<N: Value + EncodeGaugeValue>(&mut self, name: &str, help: &str, value: N) {
        self.show_each(name, help, [(Labels::new(), value)]);
    }

    /// The same, by labels.
    fn show_each<N: Value + EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, N)>,
    ) {
        self.0.register(name, help, Shown(values.into_iter().collect()));
    }

    /// A number that only grows.
    fn count<N: Value + EncodeCounterValue>(&mut self, name: &str, help: &str, value: N) {
        self.count_each(name, help, [(Labels::new(), value)]);
    }

    /// The same, by labels.
    fn count_each<N: Value + EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, N)>,
    ) {
        self.0.register(name, help, Counted(values.into_iter().collect()));
    }
}

/// What a registry asks of everything in it.
trait Value: fmt::Debug + Send + Sync + 'static {}

impl<T: fmt::Debug + Send + Sync + 'static> Value for T {}

#[derive(Debug)]
struct Shown<N>(Vec<(Labels, N)>);

impl<N: EncodeGaugeValue> EncodeMetric for Shown<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, value)| match labels.as_slice() {
            [] => encoder.encode_gauge(value),
            _ => encoder.encode_family(labels)?.encode_gauge(value),
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug)]
struct Counted<N>(Vec<(Labels, N)>);

impl<N: EncodeCounterValue> EncodeMetric for Counted<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, value)| match labels.as_slice() {
            [] => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            _ => encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None),
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::error::Code;
    use crate::session::Causes;
    use crate::wire::native::ProcessReport;

    const PEER: NodeId = NodeId(Uuid::from_u128(2));

    fn seen(actors: Actors) -> Seen {
        let peer = PeerReport {
            node_id: PEER,
            name: "node1".to_owned(),
            ready: true,
            leased: true,
            linked: true,
            paired: false,
            rtt_ms: Some(2.5),
        };
        let process = ProcessReport { cpu_seconds: 1.5, resident_bytes: 4096, peak_resident_bytes: 8192 };
        Seen {
            node: NodeStatus {
                node_id: NodeId(Uuid::from_u128(1)),
                name: "node0".to_owned(),
                version: "1.2.3".to_owned(),
                uptime_seconds: 7,
                health: Health::Enough,
                threshold: 2,
                parties: 3,
                peers: vec![peer],
                process: Some(process),
            },
            broker: true,
            uptime: Duration::from_millis(7250),
            last_seen: [(PEER, 1_000_500)].into(),
            actors,
            gateway: false,
            backs_up: false,
            sealed: false,
        }
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn page__should_show_what_was_seen() {
        let mut causes = Causes::default();
        causes.count(Code::PeerUnavailable, &[PEER].into(), |_| true);
        causes.count(Code::SessionTimeout, &[].into(), |_| true);
        let signing = SigningSnapshot {
            requests: 2,
            sessions: Vec::new(),
            signed: 41,
            aborted: 3,
            last_abort: None,
            causes,
            dropped: 5,
        };
        let storage = StorageSnapshot {
            waiting: 4,
            writes: 99,
            group_time: Duration::from_millis(250),
            slowest_group: Duration::from_millis(125),
            ..StorageSnapshot::default()
        };
        let actors = Actors { signing: Some(signing), storage: Some(storage), ..Actors::default() };
        let text = page(&seen(actors), &Recorder::new([PEER]));
        let lines = [
            "process_cpu_seconds_total 1.5",
            "process_resident_memory_bytes 4096",
            r#"quorate_build_info{version="1.2.3",node="00000000-0000-0000-0000-000000000001",name="node0"} 1"#,
            "quorate_uptime_seconds 7.25",
            r#"quorate_health{state="all"} 0"#,
            r#"quorate_health{state="enough"} 1"#,
            r#"quorate_peer_ready{peer="00000000-0000-0000-0000-000000000002",name="node1"} 1"#,
            r#"quorate_peer_rtt_seconds{peer="00000000-0000-0000-0000-000000000002",name="node1"} 0.0025"#,
            r#"quorate_peer_last_seen_timestamp_seconds{peer="00000000-0000-0000-0000-000000000002",name="node1"} 1000.5"#,
            r#"quorate_sessions_total{kind="signing",outcome="done"} 41"#,
            r#"quorate_sessions_total{kind="signing",outcome="aborted"} 3"#,
            r#"quorate_session_aborts_total{kind="signing",code="PEER_UNAVAILABLE",culprit="00000000-0000-0000-0000-000000000002"} 1"#,
            r#"quorate_session_aborts_total{kind="signing",code="SESSION_TIMEOUT",culprit=""} 1"#,
            "quorate_signing_messages_dropped_total 5",
            "quorate_storage_group_seconds_total 0.25",
            "quorate_storage_slowest_group_seconds 0.125",
            "quorate_storage_waiting_writes 4",
            "quorate_storage_writes_total 99",
            r#"quorate_actor_answers{actor="signing"} 1"#,
        ];
        assert_lines(&text, &lines);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn actor_that_does_not_answer__should_cost_its_own_numbers_only() {
        let text = page(&seen(Actors::default()), &Recorder::new([]));
        assert_lines(&text, &[r#"quorate_actor_answers{actor="storage"} 0"#, r#"quorate_health{state="enough"} 1"#]);
        assert!(!text.contains("quorate_storage_") && !text.contains("quorate_sessions"), "{text}");
        assert!(!text.contains("gateway"), "there is none:\n{text}");
    }
}
