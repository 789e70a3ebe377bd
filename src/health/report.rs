//! What a node says of its health, as JSON.

use serde::Serialize;

use crate::wire::native::{Health, NodeStatus};

/// The answer of mpcium's nodes, with this node's status as the details.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    status: &'static str,
    /// Whoever gets this sees that it is.
    live: bool,
    ready: bool,
    details: Details,
}

#[derive(Debug, Serialize)]
struct Details {
    #[serde(flatten)]
    standing: Standing,
    #[serde(flatten)]
    node: NodeStatus,
}

/// What the view of a node does not say.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Standing {
    /// The node ends in good order, and takes no more work.
    pub stopping: bool,
    /// Its store is closed, and nothing of it in memory.
    pub sealed: bool,
    /// The broker is connected and lets the node use what it needs.
    pub broker: bool,
}

impl Report {
    /// A node is ready while enough are, itself among them, and while clients can reach it and it takes their work.
    pub(super) fn new(node: NodeStatus, standing: Standing) -> Self {
        let Standing { stopping, sealed, broker } = standing;
        let ready = broker && !stopping && !sealed && node.health != Health::TooFew;
        let status = match ready {
            true => "ready",
            false if sealed => "sealed",
            false => "not_ready",
        };
        Self { status, live: true, ready, details: Details { standing, node } }
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.ready
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::ids::NodeId;
    use crate::wire::native::PeerReport;

    const ME: NodeId = NodeId(Uuid::from_u128(1));
    const PEER: NodeId = NodeId(Uuid::from_u128(2));

    fn node(health: Health) -> NodeStatus {
        NodeStatus {
            node_id: ME,
            name: "node0".to_owned(),
            version: "1.2.3".to_owned(),
            uptime_seconds: 7,
            health,
            threshold: 2,
            parties: 2,
            peers: vec![PeerReport {
                node_id: PEER,
                name: "node1".to_owned(),
                ready: false,
                leased: true,
                linked: false,
                paired: false,
                rtt_ms: None,
            }],
            process: None,
        }
    }

    #[test]
    fn report__should_have_the_form_of_mpcium() {
        let report = Report::new(node(Health::TooFew), Standing { stopping: false, sealed: false, broker: true });
        let expected = json!({
            "status": "not_ready",
            "live": true,
            "ready": false,
            "details": {
                "stopping": false,
                "sealed": false,
                "broker": true,
                "node_id": ME,
                "name": "node0",
                "version": "1.2.3",
                "uptime_seconds": 7,
                "health": "too_few",
                "threshold": 2,
                "parties": 2,
                "peers": [{
                    "node_id": PEER,
                    "name": "node1",
                    "ready": false,
                    "leased": true,
                    "linked": false,
                    "paired": false,
                    "rtt_ms": null,
                }],
            },
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }

    #[test]
    fn node__should_be_ready_with_enough_peers_and_the_broker_unless_it_stops_or_is_sealed() {
        let table = [
            (Health::All, true, false, false, "ready"),
            (Health::Enough, true, false, false, "ready"),
            (Health::TooFew, true, false, false, "not_ready"),
            (Health::All, true, true, false, "not_ready"),
            (Health::All, false, false, false, "not_ready"),
            (Health::All, true, false, true, "sealed"),
            (Health::TooFew, false, true, true, "sealed"),
        ];
        for (health, broker, stopping, sealed, expected) in table {
            let report = Report::new(node(health), Standing { stopping, sealed, broker });
            assert_eq!((report.status, report.is_ready()), (expected, expected == "ready"), "{health:?}, {stopping}");
        }
    }
}
