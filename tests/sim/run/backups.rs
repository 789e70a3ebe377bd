//! Backups of nodes that run, and nodes that come back out of them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use quorate::backup::{BackupSettings, Seal, Target, Unlock, Wanted, create, restore};
use quorate::secret::SecretBytes;
use tokio::task::spawn_blocking;

use super::Run;
use crate::template::START_MS;

/// What backups are encrypted with.
const PASSPHRASE: &[u8] = b"of all backups";
/// How long a store may take to be let go of.
const CLOSING: Duration = Duration::from_secs(10);

impl Run {
    /// Backs up a node that runs. One whose store is not there at the moment has no newer backup.
    pub(super) async fn back_up(&mut self, node: usize) {
        let args = self.cluster.local().args(node).unwrap();
        let settings = BackupSettings {
            folder: self.backup_folder.path().to_owned(),
            owner: args.storage.options.owner.clone(),
            name: args.identity.name().clone(),
            signer: Arc::clone(&args.identity),
            seal: Box::new(|| Seal::insecure_for_tests(SecretBytes::copy_from(PASSPHRASE))),
            keep: 10,
            files: Vec::new(),
        };
        let (store, now_ms) = (self.cluster.store(node).unwrap(), self.now_ms());
        let made = store
            .export(move |export| create(export, &settings, Wanted::Smaller, now_ms, &AtomicBool::new(false)))
            .await;
        if let Ok(Ok(made)) = made {
            self.backups.insert(node, made.path);
        }
    }

    /// A node dies, its disk is gone, and its last backup is restored to another one. Without a backup, only its process
    /// dies.
    pub(super) async fn restore(&mut self, node: usize) {
        self.lose(node).await;
        let Some(backup) = self.backups.get(&node).cloned() else { return };
        let args = self.cluster.local().args(node).unwrap();
        let (storage, peers, now_ms) = (args.storage.clone(), Arc::clone(&args.peers), self.now_ms());
        storage.gate.closed(CLOSING).await.unwrap();
        storage.faults.disarm();
        let key = self.template.storage_key(node);
        let restored = spawn_blocking(move || {
            fs::remove_dir_all(&storage.options.folder).unwrap();
            let unlock = Unlock::passphrase(SecretBytes::copy_from(PASSPHRASE));
            let target = Target { store: storage.options, key: &key, files: None, aside: None, now_ms };
            restore(&backup, &unlock, Some(&peers), target).map(drop)
        });
        restored.await.unwrap().unwrap();
    }

    fn now_ms(&self) -> u64 {
        START_MS + u64::try_from(self.now().as_millis()).unwrap()
    }
}
