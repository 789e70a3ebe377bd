//! Runs a plan: asks and strikes at their times, then ends all faults and sees whether the cluster is itself again.

mod afterwards;
mod backups;
mod clients;
mod observer;
mod strikes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate::node::Addresses;
use quorate::supervision::RestartLimit;
use quorate::testing::Cluster;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::history::{Asked, At, Ban, History, Struck};
use crate::liar::Lies;
use crate::plan::{BYSTANDERS, Plan};
use crate::template::{Template, folder, name};

/// How long a signing request may take.
pub const SIGNING_DEADLINE: Duration = Duration::from_secs(8);
/// How long a key generation may take.
pub const KEYGEN_DEADLINE: Duration = Duration::from_secs(12);
/// How long a pair setup may take.
pub const PAIR_SETUP_DEADLINE: Duration = Duration::from_secs(20);
/// How often nodes are looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a node that has fallen stays down before it is started again.
const FALLEN_FOR: Duration = Duration::from_millis(500);

/// Where the nodes that run answer, by number.
type Phonebook = Arc<Mutex<Vec<Option<Addresses>>>>;

/// Something to be done at its time.
enum Act {
    Ask(usize),
    Strike(usize),
    /// The end of a strike.
    Over(usize, Repair),
}

/// How the end of a strike is brought about.
#[derive(Debug, Clone, Copy)]
enum Repair {
    Restart(usize),
    Mend(usize, usize),
    Rejoin(usize),
    Reconnect(usize),
    SpeedUp(usize),
}

/// A run on its way.
struct Run {
    plan: Plan,
    template: Arc<Template>,
    cluster: Cluster,
    began: Instant,
    agenda: BTreeMap<(At, usize), Act>,
    phonebook: Phonebook,
    asked: Arc<Mutex<Vec<Asked>>>,
    clients: JoinSet<()>,
    /// Strikes that wait for their message.
    armed: JoinSet<()>,
    struck: Vec<Struck>,
    bans: Vec<(At, Ban)>,
    /// The last backup of each node that has one, and where they are.
    backups: BTreeMap<usize, PathBuf>,
    backup_folder: TempDir,
    /// Whether the member that lies does so.
    lying: Arc<AtomicBool>,
    lies: Lies,
}

/// Runs a plan on a runtime of its own, whose clock stands still while anything is computed or written.
pub fn run(plan: Plan) -> History {
    let template = Template::of(&plan);
    let stores = folder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        // One piece of blocking work after the other, in the order in which they were asked for.
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::start(plan, template, &stores).await;
        let observer = observer::start(&run.phonebook, run.began);
        run.act().await;
        let (recovery, wallets, admissions) = run.afterwards().await;
        let shares = run.shares(&wallets).await;
        let traffic = run.traffic().await;
        let observed = observer.finish().await;
        let asked = run.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        History {
            ids: run.nodes().map(|number| run.template.id(number)).collect(),
            plan: run.plan,
            asked,
            struck: run.struck,
            sessions: observed.sessions,
            aborts: observed.aborts,
            bans: run.bans,
            traffic,
            lies: run.lies.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            recovery,
            wallets,
            shares,
            admissions,
        }
    })
}

impl Run {
    /// Starts the cluster, on a network without faults.
    async fn start(plan: Plan, template: Arc<Template>, stores: &TempDir) -> Self {
        let (members, folder) = (Arc::clone(&template), stores.path().to_owned());
        let (liar, lying, lies) = (plan.liar.clone(), Arc::new(AtomicBool::new(false)), Lies::default());
        let (is_lying, told) = (Arc::clone(&lying), Arc::clone(&lies));
        let cluster = Cluster::builder(template.cluster.clone(), plan.threshold())
            .seed(plan.seed)
            .settings(|settings| {
                settings.signing_deadline = SIGNING_DEADLINE;
                settings.keygen_deadline = KEYGEN_DEADLINE;
                settings.reshare_deadline = KEYGEN_DEADLINE;
                settings.pair_setup_deadline = PAIR_SETUP_DEADLINE;
                settings.on_peer_failure = plan.on_peer_failure;
                settings.link.heartbeat = Duration::from_millis(300);
                settings.restarts.backoff = RestartLimit { ..settings.restarts }.backoff;
            })
            .args(move |number, args| {
                members.become_member(number, args, &folder);
                if let Some(liar) = liar.as_ref().filter(|liar| liar.node == number) {
                    let (is_lying, told) = (Arc::clone(&is_lying), Arc::clone(&told));
                    args.forgery = liar.forgery(Arc::clone(&args.identity), members.ids(), is_lying, told);
                }
            })
            .start()
            .await
            .unwrap();
        if plan.bystanders {
            cluster.network().spare(name(BYSTANDERS[0]).as_str(), name(BYSTANDERS[1]).as_str());
        }
        cluster.network().set(plan.network);
        let mut agenda = BTreeMap::new();
        let times = plan.asks.iter().enumerate().map(|(i, (at, ..))| (*at, Act::Ask(i)));
        for (at, act) in times.chain(plan.strikes.iter().enumerate().map(|(i, (at, _))| (*at, Act::Strike(i)))) {
            agenda.insert((at, agenda.len()), act);
        }
        let phonebook = Phonebook::default();
        let mut run = Self {
            plan,
            template,
            cluster,
            began: Instant::now(),
            agenda,
            phonebook,
            asked: Arc::default(),
            clients: JoinSet::new(),
            armed: JoinSet::new(),
            struck: Vec::new(),
            bans: Vec::new(),
            backups: BTreeMap::new(),
            backup_folder: crate::template::folder(),
            lying,
            lies,
        };
        run.list_all();
        if let Some(liar) = run.plan.liar.as_ref().map(|liar| liar.node) {
            run.note("a member lies".to_owned(), vec![liar], false);
            run.lying.store(true, Ordering::Relaxed);
        }
        run
    }

    fn now(&self) -> At {
        self.began.elapsed()
    }

    fn nodes(&self) -> std::ops::Range<usize> {
        0..usize::from(self.plan.parties)
    }

    /// Does everything at its time, until the faults are to end.
    async fn act(&mut self) {
        let end = self.plan.length;
        loop {
            let look = self.now() + LOOK_EVERY;
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at).filter(|at| *at < end).unwrap_or(end);
            sleep_until(self.began + next.min(look)).await;
            self.note_fallen().await;
            if self.now() >= end {
                return;
            }
            while self.agenda.first_key_value().is_some_and(|((at, _), _)| *at <= self.now()) {
                match self.agenda.pop_first().map(|(_, act)| act) {
                    Some(Act::Ask(index)) => {
                        let (_, node, ask) = self.plan.asks[index].clone();
                        self.ask(node, ask, false);
                    }
                    Some(Act::Strike(index)) => {
                        let strike = self.plan.strikes[index].1.clone();
                        self.strike(strike).await;
                    }
                    Some(Act::Over(struck, repair)) => self.repair(struck, repair).await,
                    None => {}
                }
            }
        }
    }

    /// Plans the end of something that has just struck.
    fn ends(&mut self, struck: usize, after: Duration, repair: Repair) {
        let at = self.now() + after;
        let serial = self.plan.asks.len() + self.plan.strikes.len() + struck;
        self.agenda.insert((at, serial), Act::Over(struck, repair));
    }

    /// Starts nodes that have failed by themselves again after a while, as whoever runs them would.
    async fn note_fallen(&mut self) {
        for node in self.nodes() {
            if self.cluster.node(node).is_ok_and(quorate::node::NodeHandle::is_ended) {
                self.cluster.lose(node).await.unwrap();
                self.list_all();
                let struck = self.note(format!("node {node} has failed"), vec![node], true);
                self.ends(struck, FALLEN_FOR, Repair::Restart(node));
            }
        }
    }

    /// Notes that something has gone wrong from now on.
    fn note(&mut self, what: String, nodes: Vec<usize>, loses_requests: bool) -> usize {
        self.struck.push(Struck { what, nodes, from: self.now(), until: None, loses_requests });
        self.struck.len() - 1
    }

    /// Lists who runs.
    fn list_all(&mut self) {
        let addresses = self.nodes().map(|node| self.cluster.addresses(node).ok().cloned()).collect();
        *self.phonebook.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}
