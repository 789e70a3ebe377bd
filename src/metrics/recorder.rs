//! The recorder: counts answers, and how long they took.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::error::{Code, Failure};
use crate::ids::{NodeId, Scheme};

/// The upper end of the first bucket of durations, in seconds. Each further one is twice as long.
const FIRST_BUCKET: f64 = 0.001;
/// How many buckets there are: the last one ends at 32.768 s, beyond the default deadlines.
const BUCKETS: u16 = 16;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A wallet.
    Keygen,
    /// Keys of a wallet, dealt anew.
    Reshare,
    /// A signature; of no scheme where the request could not be read.
    Sign(Option<Scheme>),
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Keygen => "keygen",
            Self::Reshare => "reshare",
            Self::Sign(_) => "sign",
        }
    }

    /// An empty label is the same as none.
    const fn scheme(self) -> &'static str {
        match self {
            Self::Sign(Some(scheme)) => scheme.as_str(),
            Self::Keygen | Self::Reshare | Self::Sign(None) => "",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    kind: &'static str,
    scheme: &'static str,
}

impl From<Kind> for Asked {
    fn from(kind: Kind) -> Self {
        Self { kind: kind.as_str(), scheme: kind.scheme() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    kind: &'static str,
    scheme: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Blamed {
    kind: &'static str,
    code: &'static str,
    culprit: Culprit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Culprit(NodeId);

impl EncodeLabelValue for Culprit {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        self.0.to_string().as_str().encode(encoder)
    }
}

type Histograms = Family<Asked, Histogram, fn() -> Histogram>;

struct Families {
    requests: Family<Answered, Counter>,
    durations: Histograms,
    culprits: Family<Blamed, Counter>,
    nodes: BTreeSet<NodeId>,
}

/// Counts the answers of one node. Clones count together.
#[derive(Clone)]
pub struct Recorder(Arc<Families>);

impl Recorder {
    /// Nothing has been asked yet. `nodes` are those of the peer book: nobody else is named as a culprit.
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let durations: Histograms =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(FIRST_BUCKET, 2.0, BUCKETS)));
        Self(Arc::new(Families {
            requests: Family::default(),
            durations,
            culprits: Family::default(),
            nodes: nodes.into_iter().collect(),
        }))
    }

    /// Does a client's work and counts its end. Work that is dropped before it ends is not counted.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn measured<T>(&self, kind: Kind, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = work.await;
        self.answered(kind, result.as_ref().err(), begun.elapsed());
        result
    }

    /// A request was refused before any work was done for it.
    pub fn refused(&self, kind: Kind, code: Code) {
        self.count(kind, code.as_str());
    }

    fn answered(&self, kind: Kind, failure: Option<&Failure>, took: Duration) {
        self.count(kind, failure.map_or("OK", |failure| failure.code.as_str()));
        self.0.durations.get_or_create(&kind.into()).observe(took.as_secs_f64());
        let Some(failure) = failure else { return };
        for &culprit in failure.culprits.intersection(&self.0.nodes) {
            let blamed = Blamed { kind: kind.as_str(), code: failure.code.as_str(), culprit: Culprit(culprit) };
            self.0.culprits.get_or_create(&blamed).inc();
        }
    }

    fn count(&self, kind: Kind, code: &'static str) {
        self.0.requests.get_or_create(&Answered { kind: kind.as_str(), scheme: kind.scheme(), code }).inc();
    }

    /// Shows the counts in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Families { requests, durations, culprits, .. } = &*self.0;
        registry.register("requests", "Requests of clients that ended, by what became of them", requests.clone());
        let help = "How long requests of clients took, from their arrival to their answer";
        registry.register("request_duration_seconds", help, durations.clone());
        let help = "Failed requests, once for each node that was to blame";
        registry.register("request_failures", help, culprits.clone());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use uuid::Uuid;

    use super::*;

    const MEMBER: NodeId = NodeId(Uuid::from_u128(1));
    const STRANGER: NodeId = NodeId(Uuid::from_u128(2));

    fn rendered(recorder: &Recorder) -> String {
        let mut registry = Registry::default();
        recorder.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn recorder__should_count_ends_and_their_time() {
        let recorder = Recorder::new([MEMBER]);
        let kind = Kind::Sign(Some(Scheme::Ecdsa));
        let work = async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            Ok(7)
        };
        assert_eq!(recorder.clone().measured(kind, work).await, Ok(7));
        recorder.refused(Kind::Sign(None), Code::UnmarshalFailure);
        let text = rendered(&recorder);
        for line in [
            r#"requests_total{kind="sign",scheme="secp256k1",code="OK"} 1"#,
            r#"requests_total{kind="sign",scheme="",code="UNMARSHAL_FAILURE"} 1"#,
            r#"request_duration_seconds_bucket{le="0.002",kind="sign",scheme="secp256k1"} 0"#,
            r#"request_duration_seconds_bucket{le="0.004",kind="sign",scheme="secp256k1"} 1"#,
            r#"request_duration_seconds_count{kind="sign",scheme="secp256k1"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("culprit="), "nobody was to blame:\n{text}");
    }

    #[tokio::test]
    async fn recorder__should_blame_nodes_of_the_peer_book_only() {
        let recorder = Recorder::new([MEMBER]);
        let culprits = [MEMBER, STRANGER].into();
        let failure = Failure { culprits, ..Failure::new(Code::PeerUnavailable, "a secret reason") };
        let failed = recorder.measured(Kind::Keygen, async { Err::<(), _>(failure) }).await;
        assert_eq!(failed.unwrap_err().code, Code::PeerUnavailable);
        let text = rendered(&recorder);
        let line = format!(r#"request_failures_total{{kind="keygen",code="PEER_UNAVAILABLE",culprit="{MEMBER}"}} 1"#);
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        assert!(!text.contains(&STRANGER.to_string()) && !text.contains("secret"), "{text}");
    }
}
