//! What the demonstration found out: the JSON document, and what the text is written from. All of it is public.

use std::time::Duration;

use serde::Serialize;

use crate::error::Code;
use crate::ids::{NodeId, NodeName, Threshold};

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every step was verified.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of this program.
    pub version: &'static str,
    /// `debug` or `release`: what the timings are worth.
    pub profile: &'static str,
    /// How many nodes must sign.
    pub threshold: u8,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// Where their stores are, if they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The wallet that was made.
    pub wallet: Option<Wallet>,
    /// What was signed before a node was killed.
    pub signatures: Vec<Signed>,
    /// How the cluster lost a node.
    pub failure: Option<Failure>,
    /// How it took the node back.
    pub recovery: Option<Recovery>,
    /// How long each step took.
    pub timings: Vec<Timing>,
}

impl Report {
    /// A report of nothing yet.
    pub(super) fn new(threshold: Threshold) -> Self {
        Self {
            ok: false,
            error: None,
            version: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            threshold: threshold.signers(),
            nodes: Vec::new(),
            folder: None,
            wallet: None,
            signatures: Vec::new(),
            failure: None,
            recovery: None,
            timings: Vec::new(),
        }
    }

    /// How many pairs of nodes there are.
    pub(super) fn pairs(&self) -> usize {
        self.nodes.len() * self.nodes.len().saturating_sub(1) / 2
    }
}

/// A node.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub name: NodeName,
    pub id: NodeId,
}

/// A wallet.
#[derive(Debug, Serialize)]
pub(super) struct Wallet {
    pub id: String,
    /// The wallet's own key, then its children.
    pub keys: Vec<Addresses>,
}

/// What the three keys at one path are on the chains.
#[derive(Debug, Serialize)]
pub(super) struct Addresses {
    /// From the wallet's key: `m` is that key itself.
    pub path: String,
    pub bitcoin_p2wpkh: String,
    pub bitcoin_p2tr: String,
    pub ethereum: String,
    pub solana: String,
    /// Of the ECDSA key.
    pub xpub: String,
    /// Of the BIP-340 key.
    pub xpub_taproot: String,
    /// In hex.
    pub public_keys: PublicKeys,
}

/// Keys by scheme, in hex.
#[derive(Debug, Serialize)]
pub(super) struct PublicKeys {
    pub secp256k1: String,
    pub ed25519: String,
    pub taproot: String,
}

/// A signed transaction.
#[derive(Debug, Serialize)]
pub(super) struct Signed {
    /// `ethereum`, `bitcoin` or `solana`.
    pub chain: &'static str,
    /// What kind of transaction.
    pub kind: &'static str,
    /// The transaction in words, a line per field.
    pub transaction: Vec<String>,
    /// The key that signed.
    pub path: String,
    /// Its address.
    pub address: String,
    /// What it signed, in hex: a digest, or the message itself.
    pub message: String,
    /// 64 bytes in hex.
    pub signature: String,
    /// The signed transaction as its chain takes it: hex, for Solana base64.
    pub raw: String,
    /// Its length in bytes.
    pub raw_bytes: usize,
    /// For Bitcoin, what the transaction spends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spent_outputs: Vec<SpentOutput>,
    /// Which node led the session.
    pub coordinator: NodeName,
    /// Who checked what.
    pub verified: String,
}

/// An output that a transaction spends.
#[derive(Debug, Serialize)]
pub(super) struct SpentOutput {
    pub value_sat: u64,
    /// In hex.
    pub script_pubkey: String,
}

/// The loss of a node.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// Who was killed.
    pub killed: NodeName,
    /// Who led the session that it was in.
    pub coordinator: NodeName,
    /// The session's name.
    pub session: String,
    /// The round that was open.
    pub round: u8,
    /// What the client was told.
    pub code: Code,
    /// The same in words.
    pub reason: String,
    /// Who is to blame.
    pub culprits: Vec<NodeName>,
    /// From the kill to the client's answer.
    pub noticed_ms: f64,
    /// How many signatures were begun until a kill came in mid-session: 1, unless one was made before.
    pub tries: u32,
    /// What is left at those who survived.
    pub survivors: Vec<Survivor>,
    /// Whether the survivors can still sign.
    pub still_signing: bool,
    /// What they signed, by scheme.
    pub signed: Vec<String>,
}

/// A node after it lost a peer.
#[derive(Debug, Serialize)]
pub(super) struct Survivor {
    pub name: NodeName,
    /// Sessions that run.
    pub sessions: usize,
    /// Requests at work.
    pub requests: usize,
    /// How its session with the killed node ended, if it took part in that.
    pub ended_as: Option<Code>,
}

/// The return of a node.
#[derive(Debug, Serialize)]
pub(super) struct Recovery {
    /// Who came back.
    pub node: NodeName,
    /// From its start until all nodes were ready and all pairs usable.
    pub ready_ms: f64,
    /// The signatures that it then led, by scheme.
    pub signed: Vec<String>,
}

/// How long something took.
#[derive(Debug, Serialize)]
pub(super) struct Timing {
    pub step: String,
    /// How often it was done.
    pub count: usize,
    pub p50_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
}

impl Timing {
    /// The figures of some samples; `None` without any.
    pub(super) fn of(step: impl Into<String>, samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let (min, max) = (sorted.first()?, sorted.last()?);
        let median = sorted.get((sorted.len() - 1) / 2)?;
        Some(Self {
            step: step.into(),
            count: sorted.len(),
            p50_ms: milliseconds(*median),
            min_ms: milliseconds(*min),
            max_ms: milliseconds(*max),
        })
    }
}

/// A duration in milliseconds, to the microsecond.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing__should_give_the_middle_and_both_ends() {
        let samples = |milliseconds: &[u64]| -> Vec<Duration> {
            milliseconds.iter().copied().map(Duration::from_millis).collect()
        };
        for (given, p50, min, max) in [(&[5][..], 5.0, 5.0, 5.0), (&[9, 1], 1.0, 1.0, 9.0), (&[8, 2, 4], 4.0, 2.0, 8.0)]
        {
            let timing = Timing::of("step", &samples(given)).unwrap();
            assert_eq!((timing.p50_ms, timing.min_ms, timing.max_ms), (p50, min, max), "{given:?}");
            assert_eq!(timing.count, given.len());
        }
        assert!(Timing::of("step", &[]).is_none());
    }
}
