//! `peers.json`: the names and ids of all nodes, without their keys.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::key_file::{read_json, write_json};
use super::{Existing, IdentityError};
use crate::ids::{NodeId, NodeName, Threshold};

/// 2 to 32 nodes, with no name and no id twice, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerList {
    nodes: Vec<(NodeName, NodeId)>,
}

impl PeerList {
    /// A list of these nodes.
    ///
    /// # Errors
    /// When there are fewer than 2 or more than 32, or when two share a name or an id.
    pub fn new(nodes: Vec<(NodeName, NodeId)>) -> Result<Self, IdentityError> {
        let distinct = |count: usize| count == nodes.len();
        let problem = if !(2..=usize::from(Threshold::MAX_PARTIES)).contains(&nodes.len()) {
            "it must list between 2 and 32 nodes"
        } else if !distinct(nodes.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len()) {
            "two nodes have the same id"
        } else if !distinct(nodes.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len()) {
            "two nodes have the same name"
        } else {
            return Ok(Self { nodes });
        };
        Err(IdentityError::PeerBook { problem })
    }

    /// `count` nodes with fresh random ids, named node0, node1 and so on.
    ///
    /// # Errors
    /// When `count` is less than 2 or more than 32.
    pub fn generate(count: u8) -> Result<Self, IdentityError> {
        let node = |index| {
            let problem = "a name is out of its rules";
            let name = format!("node{index}").parse().map_err(|_| IdentityError::PeerBook { problem })?;
            Ok((name, NodeId(Uuid::new_v4())))
        };
        Self::new((0..count).map(node).collect::<Result<_, IdentityError>>()?)
    }

    /// Loads `peers.json`.
    ///
    /// # Errors
    /// When the file is missing or breaks its rules.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file: PeersFile = read_json(path)?;
        let invalid = |problem: String| IdentityError::Content {
            path: path.to_owned(),
            problem,
            fix: "list every node once, as \"name\": \"uuid\"",
        };
        if file.0.len() > usize::from(Threshold::MAX_PARTIES) {
            return Err(invalid("it lists more than 32 nodes".to_owned()));
        }
        let node = |(name, id): (String, String)| {
            let name = NodeName::try_from(name).map_err(|error| invalid(error.to_string()))?;
            let id = id.parse().map_err(|error| invalid(format!("{error}, at {name}")))?;
            Ok((name, id))
        };
        Self::new(file.0.into_iter().map(node).collect::<Result<_, IdentityError>>()?)
    }

    /// Writes `peers.json`.
    ///
    /// # Errors
    /// When the file exists and is to be kept, or writing fails.
    pub fn save(&self, path: &Path, existing: Existing) -> Result<(), IdentityError> {
        let entries = self.nodes.iter().map(|(name, id)| (name.to_string(), id.to_string())).collect();
        write_json(path, &PeersFile(entries), existing)
    }

    /// All nodes, in the order of the file.
    #[must_use]
    pub fn nodes(&self) -> &[(NodeName, NodeId)] {
        &self.nodes
    }

    /// The id of the node with this name.
    #[must_use]
    pub fn id_of(&self, name: &NodeName) -> Option<NodeId> {
        self.nodes.iter().find(|(listed, _)| listed == name).map(|(_, id)| *id)
    }
}

/// Names and ids in the file's order, repeats included so that they can be refused.
struct PeersFile(Vec<(String, String)>);

impl<'de> Deserialize<'de> for PeersFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = PeersFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of node names and ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PeersFile, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(PeersFile(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl Serialize for PeersFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, id) in &self.0 {
            map.serialize_entry(name, id)?;
        }
        map.end()
    }
}
