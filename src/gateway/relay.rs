//! Requests for wallets that this node does not hold: handed on to one that does.
//!
//! Every node takes clients' requests, and not every node is a member of every wallet. One that has no key for a request
//! asks the others in turn, each at its own subject `quorate.<cluster>.v1.at.<node>.<operation>`, until one says anything
//! but `KEY_NOT_FOUND`. Who is asked there answers by itself and hands nothing on.
//!
//! ```text
//!   client ──sign──▶ node 4 ──at.node 1──▶ KEY_NOT_FOUND
//!                      │ ────at.node 2──▶ a member: runs the session
//!          ◀──answer── │ ◀───────────────
//! ```
//!
//! Nobody need trust whoever hands on: a request bears its client's signature, and every member checks that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::client::RequestErrorKind;
use serde::de::DeserializeOwned;

use super::desk::{CHECKUP_SESSIONS, Desk, GRACE};
use crate::error::{Code, Failure};
use crate::ids::NodeId;
use crate::node::RESHARE_ATTEMPTS;
use crate::wire::native::{Answer, Operation};

/// The way to the other nodes as clients have it.
pub(super) struct Relay {
    client: Client,
    /// Whom to ask first: another one each time.
    turn: AtomicUsize,
}

/// A request as it is handed on.
pub(super) struct Question<'a> {
    pub operation: Operation,
    pub payload: &'a [u8],
}

/// What came of asking a node.
enum Asked<T> {
    /// It has no such key.
    NotThere,
    /// It cannot be asked, or was lost before it answered.
    Away,
    Answered(Result<T, Failure>),
}

impl Relay {
    pub fn new(client: Client) -> Self {
        Self { client, turn: AtomicUsize::new(0) }
    }

    /// What `here` comes to; should this node have no such key, what another one answers.
    pub async fn or_elsewhere<T: DeserializeOwned>(
        &self,
        desk: &Desk,
        question: Question<'_>,
        here: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match here.await {
            Err(failure) if failure.code == Code::KeyNotFound => self.elsewhere(desk, question, failure).await,
            done => done,
        }
    }

    async fn elsewhere<T: DeserializeOwned>(
        &self,
        desk: &Desk,
        question: Question<'_>,
        not_here: Failure,
    ) -> Result<T, Failure> {
        let mut others: Vec<NodeId> = desk.peers.ids().filter(|&node| node != desk.me).collect();
        if !others.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % others.len();
            others.rotate_left(first);
        }
        let mut away = Vec::new();
        for node in others {
            match self.ask(desk, node, &question).await {
                Asked::NotThere => {}
                Asked::Away => away.push(node.to_string()),
                Asked::Answered(answer) => return answer,
            }
        }
        let reason = match away.as_slice() {
            [] => not_here.reason,
            away => format!("{}, and it may be on {}, which could not be asked", not_here.reason, away.join(", ")),
        };
        Err(Failure { reason, ..not_here })
    }

    /// Asks one node, for as long as its link is up.
    async fn ask<T: DeserializeOwned>(&self, desk: &Desk, node: NodeId, question: &Question<'_>) -> Asked<T> {
        let mut views = desk.views.clone();
        let is_linked = |node| desk.views.borrow().peers.get(&node).is_some_and(|peer| peer.linked);
        if !is_linked(node) {
            return Asked::Away;
        }
        let lost = views.wait_for(|view| view.peers.get(&node).is_none_or(|peer| !peer.linked));
        let subject = question.operation.subject_at(&desk.cluster, node);
        let request =
            async_nats::Request::new().payload(question.payload.to_vec().into()).timeout(Some(limit(desk, question)));
        let answer = tokio::select! {
            answer = self.client.send_request(subject, request) => answer,
            _ = lost => return Asked::Away,
        };
        let answer = match answer {
            Ok(message) => Answer::decode(&message.payload),
            Err(error) if error.kind() == RequestErrorKind::TimedOut => {
                let late = Failure::new(Code::SessionTimeout, format!("node {node} did not answer in time"));
                return Asked::Answered(Err(Failure { culprits: [node].into(), ..late }));
            }
            Err(error) => {
                tracing::warn!(%node, %error, "failed to hand a request on");
                return Asked::Away;
            }
        };
        match answer.map(Result::from) {
            Some(Err(refused)) if refused.code == Code::KeyNotFound => Asked::NotThere,
            Some(answer) => Asked::Answered(answer),
            None => {
                tracing::warn!(%node, "a request that was handed on has an answer that is none");
                Asked::Away
            }
        }
    }
}

/// How long a node may take: as long as it lets its own clients wait.
fn limit(desk: &Desk, question: &Question<'_>) -> Duration {
    GRACE
        + match question.operation {
            Operation::Sign => desk.signing_deadline,
            Operation::Keygen => desk.keygen_deadline,
            Operation::Reshare => desk.reshare_deadline * RESHARE_ATTEMPTS,
            Operation::Destroy => desk.reshare_deadline,
            Operation::Checkup => desk.signing_deadline * CHECKUP_SESSIONS,
            Operation::Certificate | Operation::Wallet | Operation::Derive | Operation::Status => Duration::ZERO,
        }
}
