//! The nodes that this node trusts.

use std::collections::BTreeSet;
use std::path::Path;

use ed25519_dalek::{Signature, VerifyingKey};

use super::node::{load_public, signed_hash};
use super::{Existing, IdentityError, NodeIdentity, PeerList};
use crate::ids::{NodeId, NodeName, PartyIndex, Threshold};
use crate::wire::sheet::Participant;
use crate::wire::transcript::Transcript;

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Its id.
    pub id: NodeId,
    /// Its Ed25519 public key.
    pub key: VerifyingKey,
}

impl Member {
    /// The node's X25519 public key for links: its Ed25519 key under the birational map of RFC 7748, section 4.1.
    #[must_use]
    pub fn link_key(&self) -> [u8; 32] {
        self.key.to_montgomery().to_bytes()
    }
}

/// The static list of nodes, 2 to 32 of them, with no name, id or key twice. It tells who is trusted, not who is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerBook {
    /// Ascending by id, which is the order of committees.
    members: Vec<Member>,
}

impl PeerBook {
    /// A book of these nodes.
    ///
    /// # Errors
    /// When there are fewer than 2 or more than 32, when two share a name, an id or a key, or when a key is of small
    /// order.
    pub fn new(mut members: Vec<Member>) -> Result<Self, IdentityError> {
        members.sort_by_key(|member| member.id);
        let distinct = |count: usize| count == members.len();
        let problem = if !(2..=usize::from(Threshold::MAX_PARTIES)).contains(&members.len()) {
            "it must list between 2 and 32 nodes"
        } else if !distinct(members.iter().map(|member| member.id).collect::<BTreeSet<_>>().len()) {
            "two nodes have the same id"
        } else if !distinct(members.iter().map(|member| &member.name).collect::<BTreeSet<_>>().len()) {
            "two nodes have the same name"
        } else if !distinct(members.iter().map(|member| member.key.as_bytes()).collect::<BTreeSet<_>>().len()) {
            "two nodes have the same public key"
        } else if members.iter().any(|member| member.key.is_weak()) {
            "a public key is of small order"
        } else {
            return Ok(Self { members });
        };
        Err(IdentityError::PeerBook { problem })
    }

    /// Loads `peers.json` and, for each node in it, `<name>_identity.json` from `directory`.
    ///
    /// # Errors
    /// When a file is missing or breaks its rules, or the two kinds of files disagree.
    pub fn load(peers: &Path, directory: &Path) -> Result<Self, IdentityError> {
        let list = PeerList::load(peers)?;
        let mut members = Vec::with_capacity(list.nodes().len());
        for (name, id) in list.nodes() {
            let member = load_public(directory, name)?;
            if member.id != *id {
                return Err(IdentityError::Content {
                    path: peers.to_owned(),
                    problem: format!("it gives {name} another id than its identity file"),
                    fix: "copy the identity file again from its node, or correct the id",
                });
            }
            members.push(member);
        }
        Self::new(members)
    }

    /// Writes `peers.json`.
    ///
    /// # Errors
    /// When the file exists and is to be kept, or writing fails.
    pub fn save(&self, peers: &Path, existing: Existing) -> Result<(), IdentityError> {
        let nodes = self.members.iter().map(|member| (member.name.clone(), member.id)).collect();
        PeerList::new(nodes)?.save(peers, existing)
    }

    /// Makes sure that this node is in the book with the key that it holds.
    ///
    /// # Errors
    /// When it is missing, or its name or key is another.
    pub fn confirm(&self, me: &NodeIdentity) -> Result<(), IdentityError> {
        let problem = match self.get(me.id()) {
            None => "its id is not listed; register it, and copy the peer book to every node",
            Some(listed) if listed.name != *me.name() => "its id is listed under another name",
            Some(listed) if *listed != me.member() => "another public key is listed; copy its identity file again",
            Some(_) => return Ok(()),
        };
        Err(IdentityError::NotMyself { name: me.name().clone(), problem })
    }

    /// All nodes, ascending by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The ids of all nodes, ascending.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().map(|member| member.id)
    }

    /// The node with this id.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The node with this name.
    #[must_use]
    pub fn by_name(&self, name: &NodeName) -> Option<&Member> {
        self.members.iter().find(|member| member.name == *name)
    }

    /// The committee of a new wallet: every node, with its rank by id, from 1, as its party index.
    #[must_use]
    pub fn committee(&self) -> Vec<Participant> {
        let indices = (1..=u8::MAX).filter_map(|rank| PartyIndex::try_from(rank).ok());
        self.members.iter().zip(indices).map(|(member, index)| Participant { node: member.id, index }).collect()
    }

    /// A hash of every name, id and key: equal on two nodes exactly if they trust the same nodes.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let add = |all: Transcript, member: &Member| {
            all.field(member.id.0.as_bytes()).field(member.name.as_str().as_bytes()).field(member.key.as_bytes())
        };
        self.members.iter().fold(Transcript::new("quorate/peer-book/v1"), add).finish()
    }

    /// Checks a signature that `node` made with [`NodeIdentity::sign`] over the same domain and parts. Keys and
    /// signatures with small-order components are refused.
    ///
    /// # Errors
    /// When the node is not in the book or the signature does not verify.
    pub fn verify(
        &self,
        node: NodeId,
        domain: &str,
        parts: &[&[u8]],
        signature: &[u8; 64],
    ) -> Result<(), IdentityError> {
        let member = self.get(node).ok_or(IdentityError::UnknownNode(node))?;
        member
            .key
            .verify_strict(&signed_hash(domain, parts), &Signature::from_bytes(signature))
            .map_err(|_| IdentityError::Signature(node))
    }
}
