//! The end of all faults, and what comes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use quorate::clock::Clock;
use quorate::ids::Scheme;
use quorate::pairing::PairingMsg;
use quorate::signing::{AdmissionRecord, RequestKey};
use quorate::storage::Family;
use quorate::testing::{Cluster, eventually};
use quorate::transport::memory::Conditions;
use quorate::wallet::{ACTIVE_PREFIX, RESHARING_PREFIX, WalletCertificate, share_key};
use tokio::time::Instant;

use super::Run;
use crate::history::{Ban, Outcome, Recovery, Shares, Traffic};
use crate::plan::{ASIDE, Ask, SHARED, SignAsk, Strike};
use crate::template::{START_MS, name};

/// How long after a cut began links are lost by it: five heartbeats and a half.
const CUTS_SHOW: Duration = Duration::from_secs(2);
/// How long an operator's command may take.
const COMMAND: Duration = Duration::from_secs(15);
/// How long all clients that wait may take to get their answers.
const LAST_ANSWER: Duration = Duration::from_secs(90);

type Wallets = BTreeMap<String, Vec<Option<Arc<WalletCertificate>>>>;
type Admissions = BTreeMap<(String, String), Vec<Option<AdmissionRecord>>>;

impl Run {
    /// Ends all faults, asks everything again, and collects what every node has.
    pub(super) async fn afterwards(&mut self) -> (Result<Recovery, String>, Wallets, Admissions) {
        self.end_faults().await;
        let recovery = self.recover().await;
        if recovery.is_ok() {
            self.ask_again().await;
        }
        let settled = self.settle().await;
        let recovery = recovery.and_then(|ready| settled.map(|idle| Recovery { ready, idle }));
        (recovery, self.wallets().await, self.admissions().await)
    }

    async fn end_faults(&mut self) {
        let network = self.cluster.network().clone();
        network.set(Conditions::PERFECT);
        network.heal();
        self.lying.store(false, Ordering::Relaxed);
        self.armed.shutdown().await;
        for node in self.nodes() {
            let faults = self.cluster.storage_faults(node).unwrap();
            faults.slow(Duration::ZERO);
            faults.disarm();
            if self.cluster.node(node).is_ok() {
                network.reconnect(name(node).as_str());
            }
        }
        let wrong: BTreeSet<usize> = self.plan.strikes.iter().filter_map(|(_, strike)| clock_of(strike)).collect();
        for node in wrong {
            self.lose(node).await;
            let now_ms = START_MS + u64::try_from(self.now().as_millis()).unwrap();
            self.cluster.change(node, |args| args.clock = Clock::starting_at(now_ms)).unwrap();
        }
        self.note_fallen().await;
        for node in self.nodes() {
            self.restart(node).await;
        }
        let now = self.now();
        for struck in &mut self.struck {
            struck.until.get_or_insert(now);
        }
    }

    /// Waits until all nodes are ready, lifts the bans, and waits until all work has ended. Says how long it took until all
    /// were ready.
    async fn recover(&mut self) -> Result<Duration, String> {
        let ended = Instant::now();
        // A cut that has just ended may still show: until then, views are older than it.
        tokio::time::sleep(CUTS_SHOW).await;
        self.cluster.until_ready().await.map_err(|error| error.to_string())?;
        let ready = ended.elapsed();
        for node in self.nodes() {
            let pairing = self.cluster.pairing(node).await.map_err(|error| error.to_string())?;
            let banned: BTreeSet<usize> = pairing.banned.iter().map(|&peer| self.template.number(peer)).collect();
            for &peer in &banned {
                let peer = self.template.id(peer);
                let lift = |reply| PairingMsg::LiftBan { peer, reply };
                let lifted = self.cluster.addresses(node).unwrap().pairing.call(COMMAND, lift).await;
                lifted.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            }
            self.bans.push((self.now(), Ban::Held { node, banned }));
        }
        let paired = self.cluster.until_all("all pairs are set up", |view| view.is_complete(Scheme::Ecdsa)).await;
        paired.map_err(|error| error.to_string())?;
        self.settle().await?;
        if self.plan.restores() {
            self.repair_restored().await?;
        }
        Ok(ready)
    }

    /// Waits until restored wallets are confirmed, and has the shares dealt again that a backup did not hold.
    async fn repair_restored(&mut self) -> Result<(), String> {
        let confirmed = eventually("restored wallets are confirmed", async || {
            for node in self.nodes() {
                if !self.cluster.keygen(node).await.is_ok_and(|keygen| keygen.quarantined.is_empty()) {
                    return false;
                }
            }
            true
        });
        confirmed.await.map_err(|error| error.to_string())?;
        let ask =
            Ask::Reshare { session: "repair".to_owned(), schemes: Scheme::ALL.to_vec(), signers: self.plan.signers };
        self.ask(0, ask, true);
        self.settle().await.map(drop)
    }

    /// Asks every node for something new, and for everything that was asked before, in two turns. What a node has told
    /// already, that node is asked for first.
    async fn ask_again(&mut self) {
        let before: BTreeSet<Ask> =
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|asked| asked.ask.clone()).collect();
        let (reshares, others): (Vec<Ask>, Vec<Ask>) =
            before.into_iter().partition(|ask| matches!(ask, Ask::Reshare { .. }));
        let (signs, keygens): (Vec<Ask>, Vec<Ask>) = others.into_iter().partition(|ask| matches!(ask, Ask::Sign(_)));
        let nodes = self.nodes().len();
        for turn in 0..2 {
            // One after the other: of several at once, one would win.
            for (number, ask) in reshares.iter().enumerate() {
                self.ask((number + turn) % nodes, ask.clone(), true);
                self.all_answered().await;
                self.all_know().await;
            }
            // A restored node has forgotten what it answered since its backup.
            let signs = if self.plan.restores() { &[][..] } else { &signs };
            for asks in [&keygens[..], signs] {
                for (number, ask) in asks.iter().enumerate() {
                    if !matches!(ask, Ask::Sign(sign) if sign.wallet == ASIDE) {
                        let node = self.who_told(ask).unwrap_or(number);
                        self.ask((node + turn) % nodes, ask.clone(), true);
                    }
                }
                self.all_answered().await;
            }
            for node in self.nodes() {
                // One node of each turn signs with ECDSA, which costs the machine most.
                let scheme = if node == turn { Scheme::Ecdsa } else { Scheme::Ed25519 };
                let (wallet, request) = (SHARED.to_owned(), format!("afterwards-{turn}-{node}"));
                let ask = SignAsk { wallet, request, scheme, path: Vec::new(), content: 7 };
                self.ask(node, Ask::Sign(ask), true);
            }
            self.all_answered().await;
        }
        let ask = Ask::Keygen { wallet: "afterwards".to_owned(), schemes: vec![Scheme::Ed25519] };
        self.ask(0, ask, true);
        self.all_answered().await;
    }

    /// Waits until no node has to be told of a reshare.
    async fn all_know(&self) {
        let known = eventually("all know of the reshare", async || {
            for node in self.nodes() {
                let Ok(resharing) = self.cluster.resharing(node).await else { return false };
                if resharing.to_tell > 0 || !resharing.running.is_empty() {
                    return false;
                }
            }
            true
        });
        // What is asked next tells whether they do.
        let _ = known.await;
    }

    /// A node that has answered this with success.
    fn who_told(&self, ask: &Ask) -> Option<usize> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |ended: &Option<_>| matches!(ended, Some((_, Outcome::Signed(_) | Outcome::Generated(_))));
        asked.iter().find(|asked| asked.ask == *ask && told(&asked.ended)).map(|asked| asked.node)
    }

    async fn all_answered(&mut self) {
        let all = async { while self.clients.join_next().await.is_some() {} };
        // Who still waits then, is found without an answer.
        let _ = tokio::time::timeout(LAST_ANSWER, all).await;
    }

    /// Waits until all clients have their answers and no node is at work. Says how long the latter took.
    async fn settle(&mut self) -> Result<Duration, String> {
        self.all_answered().await;
        let since = Instant::now();
        let idle = eventually("no node is at work", async || {
            for node in self.nodes() {
                if !is_idle(&self.cluster, node).await {
                    return false;
                }
            }
            true
        });
        idle.await.map(|()| since.elapsed()).map_err(|error| error.to_string())
    }

    async fn wallets(&self) -> Wallets {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let names = asked.iter().filter_map(|asked| match &asked.ask {
            Ask::Keygen { wallet, .. } => Some(wallet.clone()),
            Ask::Sign(_) | Ask::Reshare { .. } => None,
        });
        let names: BTreeSet<String> = names.chain([SHARED.to_owned()]).collect();
        let aside = self.template.wallets[ASIDE].clone();
        let mut wallets = Wallets::from([(ASIDE.to_owned(), vec![Some(aside)])]);
        for wallet in names {
            let mut of_nodes = Vec::new();
            for node in self.nodes() {
                let certificate = match self.cluster.node(node) {
                    Ok(node) => node.wallet(wallet.parse().unwrap()).await.ok().flatten(),
                    Err(_) => None,
                };
                of_nodes.push(certificate);
            }
            wallets.insert(wallet, of_nodes);
        }
        wallets
    }

    /// What each node holds of each wallet that it has, and what it ought to.
    pub(super) async fn shares(&self, wallets: &Wallets) -> BTreeMap<(usize, String), Shares> {
        let mut shares = BTreeMap::new();
        for (wallet, of_nodes) in wallets {
            for (node, certificate) in of_nodes.iter().enumerate() {
                let (Some(certificate), Ok(id)) = (certificate, self.cluster.id(node)) else { continue };
                let prefix = [ACTIVE_PREFIX, wallet.as_bytes(), b"\0"].concat();
                let Ok(held) = self.cluster.stored_keys(node, Family::Shares, &prefix).await else { continue };
                let record = certificate.record();
                let keys = record.keys.iter().filter(|key| key.member(id).is_some());
                let expected = keys.map(|key| share_key(&record.wallet, key.group.scheme(), key.generation));
                shares.insert((node, wallet.clone()), Shares { held, expected: expected.collect() });
            }
        }
        shares
    }

    /// What passed between nodes whose transports have counted from the beginning.
    pub(super) async fn traffic(&self) -> Vec<Traffic> {
        let counts = |node: &usize| {
            let resets = |strike: &Strike| !matches!(strike, Strike::SlowDisk { .. } | Strike::PanicSession { .. });
            !self
                .plan
                .strikes
                .iter()
                .any(|(_, strike)| resets(strike) && strike.nodes(self.plan.parties).contains(node))
        };
        let mut links = BTreeMap::new();
        for node in self.nodes().filter(counts) {
            if let Ok(transport) = self.cluster.transport(node).await {
                let peers = transport.links.into_iter();
                links.extend(peers.map(|(peer, link)| ((node, self.template.number(peer)), link.traffic)));
            }
        }
        let both = links.iter().filter_map(|(&(from, to), link)| {
            let delivered = links.get(&(to, from))?.delivered;
            Some(Traffic { from, to, sent: link.sent, delivered })
        });
        both.collect()
    }

    async fn admissions(&self) -> Admissions {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let names: BTreeSet<(String, String)> = asked
            .into_iter()
            .filter_map(|asked| match asked.ask {
                Ask::Sign(SignAsk { wallet, request, .. }) => Some((wallet, request)),
                Ask::Keygen { .. } | Ask::Reshare { .. } => None,
            })
            .collect();
        let mut admissions = Admissions::new();
        for (wallet, request) in names {
            let key = RequestKey { wallet: wallet.parse().unwrap(), request: request.parse().unwrap() };
            let mut of_nodes = Vec::new();
            for node in self.nodes() {
                let record = match self.cluster.store(node) {
                    Ok(store) => store.get(Family::Results, key.storage_key()).await.ok().flatten(),
                    Err(_) => None,
                };
                of_nodes.push(record.map(|bytes| AdmissionRecord::decode(bytes.expose()).unwrap()));
            }
            admissions.insert((wallet, request), of_nodes);
        }
        admissions
    }
}

/// The node whose clock a strike makes wrong.
fn clock_of(strike: &Strike) -> Option<usize> {
    if let Strike::ClockJump { node, .. } = strike { Some(*node) } else { None }
}

/// Whether a node is at no work, and nothing of its wallets is open.
async fn is_idle(cluster: &Cluster, node: usize) -> bool {
    let (Ok(signing), Ok(keygen), Ok(pairing), Ok(resharing)) = (
        cluster.signing(node).await,
        cluster.keygen(node).await,
        cluster.pairing(node).await,
        cluster.resharing(node).await,
    ) else {
        return false;
    };
    let resharing_idle = resharing.running.is_empty() && resharing.unsettled.is_empty() && resharing.to_tell == 0;
    let reshares_pend = cluster.stored_keys(node, Family::Shares, RESHARING_PREFIX).await;
    if !resharing_idle || !reshares_pend.is_ok_and(|pending| pending.is_empty()) {
        return false;
    }
    let nothing_pends = cluster.pending_wallets(node).await.is_ok_and(|pending| pending.is_empty());
    let signing_idle = signing.requests == 0 && signing.sessions.is_empty();
    let keygen_idle = keygen.running.is_empty() && keygen.unsettled.is_empty();
    nothing_pends && signing_idle && keygen_idle && pairing.running.is_empty()
}
