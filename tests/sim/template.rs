//! What every run of a size begins with: identities, a shared wallet, pair setups. Made once, copied for each run.
//!
//! A pair setup costs a second of computing, and a run has no time for it: three setups are made per process, and planted
//! for all pairs. To nodes they are like any other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quorate::clock::Clock;
use quorate::identity::{Algorithm, NodeIdentity, PeerBook, RequestKey};
use quorate::ids::{ClusterId, NodeId, NodeName, Scheme, Threshold};
use quorate::node::NodeArgs;
use quorate::policy::Policy;
use quorate::protocol::pair::testbed::established;
use quorate::secret::SecretBytes;
use quorate::storage::{
    Argon2Params, Batch, Durability, Family, KeySource, Owner, StorageActor, StorageArguments, StorageHandle,
    StorageTimeouts, StoreOptions,
};
use quorate::supervision::Address;
use quorate::testing::PlantedWallet;
use quorate::transport::inbox_subject;
use quorate::wallet::WalletCertificate;
use ractor::Actor;
use tempfile::TempDir;
use uuid::Uuid;

use crate::plan::{ASIDE, BYSTANDERS, Plan, SHARED};

/// The clock at the beginning of every run, in milliseconds since the epoch.
pub const START_MS: u64 = 1_900_000_000_000;

/// The nodes of all runs of one size, before they start.
pub struct Template {
    pub cluster: ClusterId,
    pub initiator: RequestKey,
    pub peers: Arc<PeerBook>,
    /// What the planted wallets are, by name.
    pub wallets: BTreeMap<String, Arc<WalletCertificate>>,
    policy: Arc<Policy>,
    members: Vec<Member>,
    folder: TempDir,
}

struct Member {
    identity: Arc<NodeIdentity>,
    storage_key: [u8; 32],
}

/// A folder where nothing waits for a disk, if there is one.
pub fn folder() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() { TempDir::new_in(in_memory) } else { TempDir::new() }.unwrap()
}

impl Template {
    /// The template of a plan's size.
    pub fn of(plan: &Plan) -> Arc<Self> {
        type Templates = Mutex<BTreeMap<(u8, u8), Arc<Template>>>;
        static TEMPLATES: OnceLock<Templates> = OnceLock::new();
        let size = (plan.parties, plan.signers);
        let mut templates = TEMPLATES.get_or_init(Templates::default).lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(templates.entry(size).or_insert_with(|| Arc::new(Self::make(plan.threshold()))))
    }

    fn make(threshold: Threshold) -> Self {
        let cluster: ClusterId = "sim".parse().unwrap();
        let members: Vec<Member> = (0..threshold.parties())
            .map(|number| {
                // Ids ascend with the numbers, so that a seed decides who prevails over whom.
                let id = NodeId(Uuid::from_u128(u128::from(number) + 1));
                let identity = NodeIdentity::generate(name(number.into()), id).map(Arc::new).unwrap();
                Member { identity, storage_key: SecretBytes::random(32).unwrap().expose().try_into().unwrap() }
            })
            .collect();
        let identities: Vec<_> = members.iter().map(|member| Arc::clone(&member.identity)).collect();
        let book = |of: &[Arc<NodeIdentity>]| PeerBook::new(of.iter().map(|one| one.member()).collect()).unwrap();
        let peers = book(&identities);
        let aside = &identities[..BYSTANDERS.len()];
        let pair = Threshold::new(2, 2).unwrap();
        let only = [Scheme::Ed25519];
        let wallets = [
            PlantedWallet::deal(&cluster, &peers, &identities, &SHARED.parse().unwrap(), threshold, &Scheme::ALL),
            PlantedWallet::deal(&cluster, &book(aside), aside, &ASIDE.parse().unwrap(), pair, &only),
        ];
        let initiator = RequestKey::generate(Algorithm::Ed25519).unwrap();
        let template = Self {
            cluster,
            policy: Arc::new(Policy::new(initiator.public())),
            initiator,
            peers: Arc::new(peers),
            wallets: wallets
                .iter()
                .map(|w| (w.certificate.record().wallet.to_string(), w.certificate.clone()))
                .collect(),
            members,
            folder: folder(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for number in 0..template.members.len() {
            runtime.block_on(template.fill(number, &wallets));
        }
        template
    }

    /// Fills the store of a member.
    async fn fill(&self, number: usize, wallets: &[PlantedWallet]) {
        let me = self.id(number);
        let (actor, joined) = Actor::spawn(None, StorageActor, self.storage(number, self.folder.path())).await.unwrap();
        let storage = StorageHandle::new(Address::of(actor), StorageTimeouts::default());
        for wallet in wallets.iter().filter(|wallet| wallet.shares.contains_key(&me)) {
            wallet.store(me, &storage).await;
        }
        let mut pairs = Batch::new();
        for other in (0..self.members.len()).filter(|&other| other != number) {
            let halves = &established()[(number + other) % established().len()];
            // The lower id has index 1.
            let state = &halves[usize::from(number > other)];
            pairs = pairs.put(Family::Pairs, self.id(other).0.as_bytes().to_vec(), state.to_secret_bytes().unwrap());
        }
        storage.write(pairs, Durability::Synced).await.unwrap();
        storage.close().await.unwrap();
        joined.await.unwrap();
    }

    fn storage(&self, number: usize, below: &Path) -> StorageArguments {
        let options = StoreOptions {
            folder: below.join(name(number).as_str()),
            owner: Owner { cluster: self.cluster.clone(), node: self.id(number) },
            argon2: Argon2Params::default(),
        };
        StorageArguments::new(options, self.storage_key(number))
    }

    /// What unlocks a member's store.
    pub fn storage_key(&self, number: usize) -> KeySource {
        KeySource::key(SecretBytes::copy_from(&self.members[number].storage_key)).unwrap()
    }

    /// A member's id.
    pub fn id(&self, number: usize) -> NodeId {
        self.members[number].identity.id()
    }

    /// All members' ids, by number.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.iter().map(|member| member.identity.id()).collect()
    }

    /// A member's number.
    pub fn number(&self, id: NodeId) -> usize {
        (0..self.members.len()).find(|&number| self.id(number) == id).unwrap()
    }

    /// Makes a node of a run the member of that number, with a copy of its store below `folder`.
    pub fn become_member(&self, number: usize, args: &mut NodeArgs, folder: &Path) {
        let (from, to) = (self.folder.path().join(name(number).as_str()), folder.join(name(number).as_str()));
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        args.identity = Arc::clone(&self.members[number].identity);
        args.peers = Arc::clone(&self.peers);
        args.policy = Arc::clone(&self.policy);
        args.storage = self.storage(number, folder);
        args.clock = Clock::starting_at(START_MS);
    }
}

/// Where a node's messages arrive.
pub fn inbox_of(template: &Template, number: usize) -> String {
    inbox_subject(&template.cluster, template.id(number))
}

/// The name of a node, and of its connection to the broker.
pub fn name(number: usize) -> NodeName {
    format!("node{number}").parse().unwrap()
}
