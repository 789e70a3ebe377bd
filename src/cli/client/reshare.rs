//! `quorate client reshare`, `refresh` and `repair`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use uuid::Uuid;

use super::super::Failed;
use super::connection::InitiatorArgs;
use super::keygen::{describe, scheme};
use super::{ConnectionArgs, show};
use crate::client::{Client, ReshareRequest};
use crate::ids::{NodeId, RequestId, Scheme, WalletId};
use crate::wire::native::{NodeStatus, Wallet};

/// How long the nodes may take to tell their names.
const NAMES: Duration = Duration::from_secs(2);

/// Has a wallet's keys dealt to other nodes.
#[derive(Args)]
pub(in crate::cli) struct ReshareArgs {
    /// The wallet.
    wallet: WalletId,
    /// The nodes that are to hold the keys, by name or id.
    #[arg(long, value_name = "NODES", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// How many of them must sign.
    #[arg(long, value_name = "NUMBER")]
    threshold: u8,
    /// The schemes of the keys; all that the wallet has, unless given.
    #[arg(long, value_name = "SCHEMES", value_delimiter = ',', value_parser = scheme)]
    key_types: Vec<Scheme>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Has a wallet's keys dealt to the same nodes anew.
#[derive(Args)]
pub(in crate::cli) struct RenewArgs {
    /// The wallet.
    wallet: WalletId,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct CommonArgs {
    /// A name for the request. The same name with the same wallet and nodes is done once.
    #[arg(long, value_name = "NAME")]
    session: Option<RequestId>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    initiator: InitiatorArgs,
}

impl ReshareArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let client = self.common.connection.connect().await?;
        let nodes = match ids(&self.nodes) {
            Some(nodes) => nodes,
            None => named(&self.nodes, &client.status(NAMES).await?)?,
        };
        let schemes = match self.key_types.as_slice() {
            [] => client.wallet(self.wallet.clone()).await?.keys.iter().map(|key| key.key_type).collect(),
            given => given.to_vec(),
        };
        self.common.reshare(&client, &self.wallet, vec![(self.threshold, nodes, schemes)]).await
    }
}

impl RenewArgs {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let client = self.common.connection.connect().await?;
        let wallet = client.wallet(self.wallet.clone()).await?;
        self.common.reshare(&client, &self.wallet, committees(&wallet)).await
    }
}

/// How many must sign, of whom, for which keys.
type Committee = (u8, Vec<NodeId>, Vec<Scheme>);

impl CommonArgs {
    async fn reshare(&self, client: &Client, wallet: &WalletId, committees: Vec<Committee>) -> Result<(), Failed> {
        let key = self.initiator.load()?;
        let mut last = None;
        for (signers, nodes, schemes) in committees {
            let session = match &self.session {
                Some(session) => session.clone(),
                None => Uuid::new_v4().to_string().parse().map_err(|error| Failed::Work(anyhow!("{error}")))?,
            };
            let request = ReshareRequest::builder(wallet.clone(), session, signers, &nodes).key_types(&schemes);
            let request = request.sign_with(&key).map_err(|error| Failed::Usage(error.into()))?;
            last = Some(client.reshare(&request).await?);
        }
        let wallet = last.ok_or_else(|| Failed::Work(anyhow!("the wallet has no keys")))?;
        show(self.json, &wallet, || describe(&wallet))
    }
}

/// The nodes, where all are given by id.
fn ids(nodes: &[String]) -> Option<Vec<NodeId>> {
    nodes.iter().map(|node| node.parse().ok()).collect()
}

/// The nodes, by the names that the cluster knows them by.
fn named(nodes: &[String], known: &[NodeStatus]) -> Result<Vec<NodeId>, Failed> {
    let own = known.iter().map(|node| (node.name.as_str(), node.node_id));
    let peers = known.iter().flat_map(|node| &node.peers).map(|peer| (peer.name.as_str(), peer.node_id));
    let known: BTreeMap<&str, NodeId> = own.chain(peers).collect();
    let id = |node: &String| {
        let found = node.parse().ok().or_else(|| known.get(node.as_str()).copied());
        found.ok_or_else(|| Failed::Usage(anyhow!("no node of the cluster is called {node}")))
    };
    nodes.iter().map(id).collect()
}

/// The committees of a wallet's keys, each with all of its keys.
fn committees(wallet: &Wallet) -> Vec<Committee> {
    let mut committees: Vec<Committee> = Vec::new();
    for key in &wallet.keys {
        let same = |(signers, nodes, _): &&mut Committee| *signers == key.threshold && *nodes == key.committee;
        match committees.iter_mut().find(same) {
            Some((_, _, schemes)) => schemes.push(key.key_type),
            None => committees.push((key.threshold, key.committee.clone(), vec![key.key_type])),
        }
    }
    committees
}
