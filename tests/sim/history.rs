//! What happened in a run: all that the checkers look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate::error::Failure;
use quorate::ids::{NodeId, SheetHash};
use quorate::keygen::Generated;
use quorate::reshare::Reshared;
use quorate::session::Aborted;
use quorate::signing::{AdmissionRecord, Signed};
use quorate::wallet::{WalletCertificate, WalletRecord};

use crate::liar::Lie;
use crate::plan::{Ask, Plan};

/// Virtual time since the plan began.
pub type At = Duration;

/// A run, after it was run.
pub struct History {
    pub plan: Plan,
    /// The ids of the nodes, by number.
    pub ids: Vec<NodeId>,
    /// Who asked what, and what came of it.
    pub asked: Vec<Asked>,
    /// What went wrong, and when.
    pub struck: Vec<Struck>,
    /// The sessions that were seen to run.
    pub sessions: BTreeMap<Seen, Sighting>,
    /// The aborts that nodes showed.
    pub aborts: Vec<(At, usize, Aborted)>,
    /// What was observed of bans.
    pub bans: Vec<(At, Ban)>,
    /// What passed from one node to another, where neither lost count.
    pub traffic: Vec<Traffic>,
    /// How often the member that lies told each lie.
    pub lies: BTreeMap<Lie, u64>,
    /// How the cluster recovered, if it did.
    pub recovery: Result<Recovery, String>,
    /// What each node has of each wallet in the end.
    pub wallets: BTreeMap<String, Vec<Option<Arc<WalletCertificate>>>>,
    /// The storage keys of the shares that each node holds of each wallet in the end.
    pub shares: BTreeMap<(usize, String), Shares>,
    /// What each node has on disk of each (wallet, request id) in the end.
    pub admissions: BTreeMap<(String, String), Vec<Option<AdmissionRecord>>>,
}

/// The storage keys of shares.
pub struct Shares {
    pub held: BTreeSet<Vec<u8>>,
    /// Those that the wallet's record says.
    pub expected: BTreeSet<Vec<u8>>,
}

/// A client's request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub node: usize,
    pub ask: Ask,
    pub at: At,
    /// It was asked when all faults were over.
    pub afterwards: bool,
    pub ended: Option<(At, Outcome)>,
}

/// How a request ended for its client.
#[derive(Debug, Clone)]
pub enum Outcome {
    Signed(Signed),
    Generated(Generated),
    Reshared(Reshared),
    Failed(Failure),
    /// Its node went away without an answer.
    Lost,
    /// Nothing came for as long as the client waited.
    Nothing,
}

impl Outcome {
    /// What kind of end it is.
    pub fn kind(&self) -> String {
        match self {
            Self::Failed(failure) => failure.code.to_string(),
            Self::Signed(_) => "signed".to_owned(),
            Self::Generated(_) => "generated".to_owned(),
            Self::Reshared(reshared) => if reshared.fresh { "reshared" } else { "reshared before" }.to_owned(),
            other => format!("{other:?}"),
        }
    }

    fn brief(&self) -> String {
        match self {
            Self::Signed(signed) => format!("{:?} of session {:?}", signed.signature, signed.session),
            Self::Generated(made) => format!("wallet of session {:?}", made.certificate.record().session),
            Self::Reshared(made) => format!("reshare of session {:?}", made.certificate.record().session),
            Self::Failed(failure) => format!("{failure}, {:?}", failure.culprits),
            other => format!("{other:?}"),
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone)]
pub struct Struck {
    pub what: String,
    pub nodes: Vec<usize>,
    pub from: At,
    /// When it was over and done with: the node is back, the way is free.
    pub until: Option<At>,
    /// Requests at these nodes may be lost with their node or their actor.
    pub loses_requests: bool,
}

/// A session on a node. Nothing ever runs twice under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub node: usize,
    pub kind: &'static str,
    pub session: SheetHash,
}

/// When a session was seen.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    pub first: At,
    pub last: At,
}

/// What was observed of a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ban {
    /// The node said that the ban is durable.
    Made { node: usize, peer: usize },
    /// The bans of a node at the end of the faults.
    Held { node: usize, banned: BTreeSet<usize> },
}

/// The messages of one link, in one direction.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    pub from: usize,
    pub to: usize,
    pub sent: u64,
    pub delivered: u64,
}

/// How long the cluster took to be itself again.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    /// From the end of the faults until all nodes were ready.
    pub ready: Duration,
    /// From then until all work had ended.
    pub idle: Duration,
}

impl History {
    /// What a wallet is, by the first node that has it.
    pub fn wallet(&self, name: &str) -> Option<&WalletRecord> {
        self.wallets.get(name)?.iter().flatten().next().map(|certificate| certificate.record())
    }

    /// What went wrong at `node`, or at any node if none is given, between two times.
    pub fn struck_between(&self, node: Option<usize>, from: At, to: At) -> impl Iterator<Item = &Struck> {
        self.struck.iter().filter(move |struck| {
            let there = node.is_none_or(|node| struck.nodes.contains(&node));
            there && struck.from <= to && struck.until.is_none_or(|until| until >= from)
        })
    }
}

impl fmt::Display for History {
    /// The run as a story, for whoever looks for the reason of a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { parties, signers, on_peer_failure, network, bystanders, .. } = &self.plan;
        writeln!(f, "{signers} of {parties}, {on_peer_failure:?}, bystanders: {bystanders}, {network:?}")?;
        if let Some(liar) = &self.plan.liar {
            writeln!(f, "{liar:?} told {:?}", self.lies)?;
        }
        let mut lines: Vec<(At, String)> = Vec::new();
        for Struck { what, from, until, .. } in &self.struck {
            lines.push((*from, format!("      {what}")));
            lines.extend(until.filter(|until| until != from).map(|until| (until, format!("      over: {what}"))));
        }
        for (number, Asked { node, ask, at, ended, .. }) in self.asked.iter().enumerate() {
            lines.push((*at, format!("#{number:<4} node {node} is asked for {ask:?}")));
            lines.extend(ended.as_ref().map(|(at, outcome)| (*at, format!("#{number:<4} {}", outcome.brief()))));
        }
        for (at, node, aborted) in &self.aborts {
            lines.push((*at, format!("      node {node} aborted: {aborted:?}")));
        }
        for (seen, Sighting { first, last }) in &self.sessions {
            lines.push((*first, format!("      {seen:?} runs until {last:?}")));
        }
        lines.extend(self.bans.iter().map(|(at, ban)| (*at, format!("      {ban:?}"))));
        lines.sort_by_key(|(at, _)| *at);
        // Nodes by their numbers, as the plan calls them.
        let numbered = |line: &str| {
            (1..=parties.to_owned()).fold(line.to_owned(), |line, id| {
                line.replace(&format!("00000000-0000-0000-0000-{id:012}"), &(id - 1).to_string())
            })
        };
        for (at, line) in &lines {
            writeln!(f, "{:>9.3} {}", at.as_secs_f64(), numbered(line))?;
        }
        writeln!(f, "recovery: {:?}", self.recovery)
    }
}
