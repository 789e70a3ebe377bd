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
    /// The node ends in good order, and takes no more work.
    stopping: bool,
    /// The broker is connected and lets the node use what it needs.
    broker: bool,
    #[serde(flatten)]
    node: NodeStatus,
}

impl Report {
    /// A node is ready while enough are, itself among them, and while clients can reach it and it takes their work.
    pub(super) fn new(node: NodeStatus, broker: bool, stopping: bool) -> Self {
        let ready = broker && !stopping && node.health != Health::TooFew;
        let status = if ready { "ready" } else { "not_ready" };
        Self { status, live: true, ready, details: Details { stopping, broker, node } }
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
        let report = Report::new(node(Health::TooFew), true, false);
        let expected = json!({
            "status": "not_ready",
            "live": true,
            "ready": false,
            "details": {
                "stopping": false,
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
    fn node__should_be_ready_with_enough_peers_and_the_broker_unless_it_stops() {
        let table = [
            (Health::All, true, false, "ready"),
            (Health::Enough, true, false, "ready"),
            (Health::TooFew, true, false, "not_ready"),
            (Health::All, true, true, "not_ready"),
            (Health::All, false, false, "not_ready"),
        ];
        for (health, broker, stopping, expected) in table {
            let report = Report::new(node(health), broker, stopping);
            assert_eq!((report.status, report.is_ready()), (expected, expected == "ready"), "{health:?}, {stopping}");
        }
    }
}
