//! Strikes and their ends.

use std::time::Duration;

use quorate::clock::Clock;
use quorate::ids::SheetHash;
use quorate::pairing::PairingMsg;
use quorate::storage::{Action, Family, Fault, Point};
use quorate::testing::ActorName;

use super::{Repair, Run};
use crate::history::Ban;
use crate::plan::{StoreFault, StoreFaultKind, Strike};
use crate::template::{START_MS, inbox_of, name};

/// How long a node may take to make a ban durable.
const BAN: Duration = Duration::from_secs(15);

impl Run {
    /// Something goes wrong. What cannot, because the node is down, does not.
    pub(super) async fn strike(&mut self, strike: Strike) {
        let nodes = strike.nodes(self.plan.parties);
        let running = nodes.first().is_some_and(|&node| self.cluster.node(node).is_ok());
        if !running {
            return;
        }
        if let Strike::BackUp { node } = strike {
            self.back_up(node).await;
            return;
        }
        let loses_requests = match strike {
            Strike::Crash { .. }
            | Strike::PowerCut { .. }
            | Strike::Store { .. }
            | Strike::ClockJump { .. }
            | Strike::Restore { .. } => true,
            Strike::Panic { actor, .. } => {
                matches!(actor, ActorName::Signing | ActorName::Keygen | ActorName::Reshare)
            }
            _ => false,
        };
        let struck = self.note(format!("{strike:?}"), nodes, loses_requests);
        match strike {
            Strike::Crash { node, away, loses_waiting } => {
                if loses_waiting {
                    self.cluster.storage_faults(node).unwrap().lose_waiting();
                }
                self.lose(node).await;
                self.ends(struck, away, Repair::Restart(node));
            }
            Strike::PowerCut { node, away } => {
                self.cluster.cut_power(node).await.unwrap();
                self.list_all();
                self.ends(struck, away, Repair::Restart(node));
            }
            // Told apart above.
            Strike::BackUp { .. } => {}
            Strike::Restore { node, away } => {
                self.restore(node).await;
                self.ends(struck, away, Repair::Restart(node));
            }
            Strike::Cut { from, to, lasts } => {
                self.cluster.network().cut(name(from).as_str(), name(to).as_str());
                self.ends(struck, lasts, Repair::Mend(from, to));
            }
            Strike::Isolate { node, lasts } => {
                self.cluster.isolate(node).unwrap();
                self.ends(struck, lasts, Repair::Rejoin(node));
            }
            Strike::Disconnect { node, lasts } => {
                self.cluster.network().disconnect(name(node).as_str());
                self.ends(struck, lasts, Repair::Reconnect(node));
            }
            Strike::Store { node, fault } => drop(self.cluster.storage_faults(node).unwrap().plan(planned(fault))),
            Strike::SlowDisk { node, pause, lasts } => {
                self.cluster.storage_faults(node).unwrap().slow(pause);
                self.ends(struck, lasts, Repair::SpeedUp(node));
            }
            Strike::ClockJump { node, by_ms } => {
                self.lose(node).await;
                let now_ms = START_MS + u64::try_from(self.now().as_millis()).unwrap();
                let clock = Clock::starting_at(now_ms.saturating_add_signed(by_ms));
                self.cluster.change(node, |args| args.clock = clock).unwrap();
                self.restart(node).await;
            }
            Strike::Panic { node, actor, after_messages } => self.panic_later(node, actor, after_messages),
            Strike::PanicLink { node, peer } => {
                // A transport between two lives has no links.
                let _ = self.cluster.crash_link(node, peer);
                self.struck[struck].until = Some(self.now());
            }
            Strike::PanicSession { node } => {
                let running = self.cluster.signing(node).await.map(|signing| signing.sessions).unwrap_or_default();
                if let Some(&session) = running.first() {
                    // It may have ended since.
                    let _ = self.cluster.crash_session(node, session).await;
                }
                self.struck[struck].until = Some(self.now());
            }
            Strike::Halt { lasts } => {
                tokio::time::advance(lasts).await;
                self.struck[struck].until = Some(self.now());
            }
            Strike::Ban { node, peer } => {
                let (pairing, peer_id) = (&self.cluster.addresses(node).unwrap().pairing, self.template.id(peer));
                let ban = |reply| PairingMsg::Ban { peer: peer_id, session: SheetHash([9; 32]), reply };
                if let Ok(Ok(())) = pairing.call(BAN, ban).await {
                    self.bans.push((self.now(), Ban::Made { node, peer }));
                }
            }
        }
    }

    /// A strike is over.
    pub(super) async fn repair(&mut self, struck: usize, repair: Repair) {
        let network = self.cluster.network();
        match repair {
            Repair::Restart(node) => self.restart(node).await,
            Repair::Mend(from, to) => network.mend(name(from).as_str(), name(to).as_str()),
            Repair::Rejoin(node) => {
                for other in self.nodes().filter(|&other| other != node) {
                    network.mend(name(node).as_str(), name(other).as_str());
                    network.mend(name(other).as_str(), name(node).as_str());
                }
            }
            Repair::Reconnect(node) => {
                // One that has died meanwhile has no connection until it is started.
                if self.cluster.node(node).is_ok() {
                    network.reconnect(name(node).as_str());
                }
            }
            Repair::SpeedUp(node) => self.cluster.storage_faults(node).unwrap().slow(Duration::ZERO),
        }
        // A restored node is not itself before its wallets are confirmed.
        if !self.struck[struck].what.starts_with("Restore") {
            self.struck[struck].until = Some(self.now());
        }
    }

    /// A node's process dies.
    pub(super) async fn lose(&mut self, node: usize) {
        if self.cluster.node(node).is_ok() {
            self.cluster.lose(node).await.unwrap();
            self.list_all();
        }
    }

    /// A node's process starts, unless it runs.
    pub(super) async fn restart(&mut self, node: usize) {
        if let Err(error) = self.cluster.restart(node).await {
            // Whoever runs the node tries again; in the end it must start.
            let struck = self.note(format!("node {node} does not start: {error}"), vec![node], true);
            self.ends(struck, super::FALLEN_FOR, Repair::Restart(node));
        }
        self.list_all();
    }

    /// Makes an actor panic as soon as so many messages have been sent to its node.
    fn panic_later(&mut self, node: usize, actor: ActorName, after_messages: u32) {
        let mut messages = self.cluster.network().tap();
        let to = self.cluster.addresses(node).unwrap().clone();
        let inbox = inbox_of(&self.template, node);
        self.armed.spawn(async move {
            let mut left = after_messages;
            while left > 0 {
                let Some(message) = messages.recv().await else { return };
                left -= u32::from(message.subject == inbox);
            }
            // An actor that is gone by then is spared.
            let _ = actor.panic(&to);
        });
    }
}

fn planned(fault: StoreFault) -> Fault {
    Fault {
        point: if fault.after_write { Point::AfterWrite } else { Point::BeforeWrite },
        family: Some(if fault.of_answers { Family::Results } else { Family::Shares }),
        after_groups: fault.after_groups,
        action: match fault.kind {
            StoreFaultKind::Fail => Action::Fail,
            StoreFaultKind::Panic => Action::Panic,
            StoreFaultKind::Kill => Action::Kill,
        },
    }
}
