//! Carries commands out: asks the actor that it is for.

use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, BackupDone, BackupStatus, Command, Done, NodeState, Refused, Secret};
use crate::backup::{BackupMsg, BackupSnapshot, Made, Wanted};
use crate::error::Code;
use crate::ids::{NodeId, WalletId};
use crate::keygen::KeygenMsg;
use crate::node::{Addresses, NodeMsg};
use crate::storage::{StorageError, StorageHandle};
use crate::supervision::{Address, CallError};

/// How long an actor may take to say how it is.
const SNAPSHOT: Duration = Duration::from_secs(1);
/// How long the backup actor may take for a backup.
const BACKUP: Duration = Duration::from_secs(3_600);
/// How long locking a store anew may take: two hashes of passphrases, and a compaction.
const REKEY: Duration = Duration::from_secs(60);
/// How long the node may take to open its store and start its actors, or to stop them.
const SEAL: Duration = Duration::from_secs(60);

/// How long letting a wallet out of quarantine may take: a write.
const RELEASE: Duration = Duration::from_secs(10);

/// What commands are carried out with.
#[derive(Clone)]
pub(super) struct Executor {
    pub name: String,
    pub me: NodeId,
    pub started: Instant,
    pub node: Address<NodeMsg>,
    pub addresses: Addresses,
    pub storage: StorageHandle,
    pub backs_up: bool,
}

impl Executor {
    pub(super) async fn execute(&self, command: Command) -> Answer {
        let done = match command {
            Command::Backup { full } => self.back_up(full).await,
            Command::Rekey { current, new } => self.rekey(&current, &new).await,
            Command::Rotate { secret } => self.rotate(&secret).await,
            Command::Seal {} => self.seal().await,
            Command::Unseal { secret } => self.unseal(&secret).await,
            Command::Release { wallets } => self.release(wallets).await,
            Command::Status {} => self.status().await.map(|status| Done::Status(Box::new(status))),
        };
        match done {
            Ok(done) => Answer::Done(done),
            Err(refused) => Answer::Refused(refused),
        }
    }

    async fn back_up(&self, full: bool) -> Result<Done, Refused> {
        if !self.backs_up {
            let problem = "nothing says what backups are encrypted with: see the section backup of the configuration";
            return Err(Refused { code: Code::StorageWrite, problem: problem.to_owned() });
        }
        let wanted = if full { Wanted::Full } else { Wanted::Smaller };
        let made = self.addresses.backup.call(BACKUP, |reply| BackupMsg::Create { wanted, reply }).await;
        let made = made.map_err(unanswered)?;
        let Made { path, is_full, records, bytes, removed, warning, .. } =
            made.map_err(|error| Refused { code: error.code, problem: error.problem })?;
        Ok(Done::Backup(BackupDone { path, full: is_full, records, bytes, removed, warning }))
    }

    async fn rekey(&self, current: &Secret, new: &Secret) -> Result<Done, Refused> {
        let source = |secret: &Secret| secret.source().map_err(|error| Refused::from(&error));
        let rewrapped = self.storage.rewrap(source(current)?, source(new)?, REKEY).await;
        rewrapped.map_err(|error| Refused::from(&error))?;
        tracing::info!("the store is locked with another secret");
        Ok(Done::Rekeyed)
    }

    async fn rotate(&self, secret: &Secret) -> Result<Done, Refused> {
        let source = secret.source().map_err(|error| Refused::from(&error))?;
        let records = self.storage.rotate(source).await.map_err(|error| Refused::from(&error))?;
        tracing::info!(records, "the store has a new key");
        Ok(Done::Rotated(records))
    }

    async fn seal(&self) -> Result<Done, Refused> {
        let sealed = self.node.call(SEAL, NodeMsg::Seal).await.map_err(unanswered)?;
        sealed.map_err(|error| Refused { code: error.code(), problem: error.to_string() })?;
        Ok(Done::Sealed)
    }

    async fn unseal(&self, secret: &Secret) -> Result<Done, Refused> {
        let key = secret.source().map_err(|error| Refused::from(&error))?;
        let unsealed = self.node.call(SEAL, |reply| NodeMsg::Unseal { key, reply }).await.map_err(unanswered)?;
        unsealed.map_err(|error| Refused { code: error.code(), problem: error.to_string() })?;
        Ok(Done::Unsealed)
    }

    async fn release(&self, wallets: Vec<WalletId>) -> Result<Done, Refused> {
        let keygen = &self.addresses.keygen;
        let wallets = if wallets.is_empty() {
            let seen = keygen.call(SNAPSHOT, KeygenMsg::Snapshot).await.map_err(unanswered)?;
            seen.quarantined.into_iter().collect()
        } else {
            wallets
        };
        let mut released = 0;
        for wallet in wallets {
            let answer =
                keygen.call(RELEASE, |reply| KeygenMsg::Release { wallet, reply }).await.map_err(unanswered)?;
            answer.map_err(|failure| Refused { code: failure.code, problem: failure.reason })?;
            released += 1;
        }
        Ok(Done::Released(released))
    }

    async fn status(&self) -> Result<NodeState, Refused> {
        let sealed = self.node.call(SNAPSHOT, NodeMsg::IsSealed).await.map_err(unanswered)?;
        let (keygen, backup) = tokio::join!(
            self.addresses.keygen.call(SNAPSHOT, KeygenMsg::Snapshot),
            self.addresses.backup.call(SNAPSHOT, BackupMsg::Snapshot),
        );
        Ok(NodeState {
            name: self.name.clone(),
            node_id: self.me,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sealed,
            uptime_seconds: self.started.elapsed().as_secs(),
            // A sealed node has neither.
            quarantined: keygen.map(|seen| seen.quarantined.into_iter().collect()).unwrap_or_default(),
            backup: backup.ok().map(BackupStatus::from),
        })
    }
}

impl From<BackupSnapshot> for BackupStatus {
    fn from(seen: BackupSnapshot) -> Self {
        let BackupSnapshot { running, made, failed, age, last_problem, .. } = seen;
        Self { running, age_seconds: age.map(|age| age.as_secs()), made, failed, last_problem }
    }
}

fn unanswered(error: CallError) -> Refused {
    let (code, problem) = match error {
        CallError::Unavailable => (Code::Cancelled, StorageError::Sealed.to_string()),
        CallError::Timeout => (Code::SessionTimeout, "the node did not answer in time".to_owned()),
    };
    Refused { code, problem }
}
