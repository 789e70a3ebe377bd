//! What each child of the root is started with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::actor::{Backups, Gateway, NodeState};
use crate::admin::AdminArgs;
use crate::backup::BackupArgs;
use crate::checkup::CheckupArgs;
use crate::destruction::{DestructionArgs, WalletGone};
use crate::gateway::{Desk, GatewayArgs};
use crate::health::HealthArgs;
use crate::ids::{Epoch, NodeId};
use crate::keygen::KeygenArgs;
use crate::pairing::{Banned, PairingArgs};
use crate::registry::{RegistryArgs, View};
use crate::reshare::{ReshareArgs, Switched};
use crate::signing::SigningArgs;
use crate::storage::{StorageHandle, StorageTimeouts};
use crate::supervision::Deliver;
use crate::transport::{Services, TransportArgs};

/// The most wallets of clients that are checked up at a time.
const MAX_CHECKUPS: usize = 8;
/// The most wallets that clients wait to have destroyed at a time.
const MAX_DESTRUCTIONS: usize = 32;

impl NodeState {
    fn storage_handle(&self) -> StorageHandle {
        StorageHandle::new(self.addresses.storage.clone(), StorageTimeouts::default())
    }

    pub(super) fn registry_args(&self) -> RegistryArgs {
        let listeners: Vec<Arc<dyn Deliver<Arc<View>>>> = vec![
            Arc::new(self.addresses.keygen.clone()),
            Arc::new(self.addresses.signing.clone()),
            Arc::new(self.addresses.reshare.clone()),
            Arc::new(self.addresses.checkup.clone()),
            Arc::new(self.addresses.destruction.clone()),
            Arc::clone(&self.views) as Arc<dyn Deliver<Arc<View>>>,
        ];
        RegistryArgs {
            me: self.args.identity.id(),
            peers: self.args.peers.ids().filter(|&peer| peer != self.args.identity.id()).collect(),
            discovery: Arc::clone(&self.args.discovery),
            lease_ttl: self.args.settings.lease_ttl,
            broker: self.args.broker.connection(),
            listeners,
        }
    }

    pub(super) fn pairing_args(&self) -> PairingArgs {
        PairingArgs {
            cluster: self.args.settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: self.args.settings.pair_setup_deadline,
            refresh_every: self.args.settings.pair_refresh_every,
            registry: Arc::new(self.addresses.registry.clone()) as Arc<dyn Deliver<BTreeMap<NodeId, BTreeSet<Epoch>>>>,
            users: vec![
                Arc::new(self.addresses.signing.clone()) as Arc<dyn Deliver<Banned>>,
                Arc::new(self.addresses.reshare.clone()),
                Arc::new(self.addresses.checkup.clone()),
            ],
            myself: self.addresses.pairing.clone(),
        }
    }

    pub(super) fn keygen_args(&self) -> KeygenArgs {
        let settings = &self.args.settings;
        KeygenArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            threshold: settings.threshold,
            chain_code: settings.chain_code,
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            bans: Arc::new(self.addresses.pairing.clone()),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.keygen_deadline,
            resolve_every: settings.resolve_every,
            max_concurrent: settings.max_keygen,
            myself: self.addresses.keygen.clone(),
            writes: Arc::clone(&self.keygen_writes),
        }
    }

    pub(super) fn signing_args(&self) -> SigningArgs {
        let settings = &self.args.settings;
        SigningArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pairing: self.addresses.pairing.clone(),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.signing_deadline,
            max_concurrent: settings.max_signing,
            on_peer_failure: settings.on_peer_failure,
            myself: self.addresses.signing.clone(),
        }
    }

    pub(super) fn reshare_args(&self) -> ReshareArgs {
        let settings = &self.args.settings;
        ReshareArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            refresh: Arc::new(settings.refresh.clone()),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pairing: self.addresses.pairing.clone(),
            users: vec![
                Arc::new(self.addresses.signing.clone()) as Arc<dyn Deliver<Switched>>,
                Arc::new(self.addresses.keygen.clone()),
            ],
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.reshare_deadline,
            resolve_every: settings.resolve_every,
            max_concurrent: settings.max_reshare,
            myself: self.addresses.reshare.clone(),
            writes: Arc::clone(&self.reshare_writes),
        }
    }

    pub(super) fn checkup_args(&self) -> CheckupArgs {
        let settings = &self.args.settings;
        CheckupArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            transport: self.addresses.transport.clone(),
            storage: self.storage_handle(),
            pairing: self.addresses.pairing.clone(),
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.signing_deadline,
            max_concurrent: MAX_CHECKUPS,
            every: settings.checkup_every,
            myself: self.addresses.checkup.clone(),
        }
    }

    pub(super) fn destruction_args(&self) -> DestructionArgs {
        let (settings, to) = (&self.args.settings, &self.addresses);
        DestructionArgs {
            cluster: settings.cluster.clone(),
            identity: Arc::clone(&self.args.identity),
            peers: Arc::clone(&self.args.peers),
            policy: Arc::clone(&self.args.policy),
            transport: to.transport.clone(),
            storage: self.storage_handle(),
            users: vec![
                Arc::new(to.signing.clone()) as Arc<dyn Deliver<WalletGone>>,
                Arc::new(to.reshare.clone()),
                Arc::new(to.checkup.clone()),
                Arc::new(to.keygen.clone()),
            ],
            pool: self.args.pool.clone(),
            clock: self.args.clock,
            deadline: settings.reshare_deadline,
            resolve_every: settings.resolve_every,
            max_concurrent: MAX_DESTRUCTIONS,
            myself: to.destruction.clone(),
        }
    }

    pub(super) fn transport_args(&self) -> TransportArgs {
        let (to, me) = (&self.addresses, self.args.identity.id());
        TransportArgs {
            me,
            cluster: self.args.settings.cluster.clone(),
            secret: Arc::new(self.args.identity.link_secret()),
            peers: self.args.peers.members().iter().filter(|m| m.id != me).map(|m| (m.id, m.key)).collect(),
            broker: Arc::clone(&self.args.broker),
            services: Services {
                keygen: Arc::new(to.keygen.clone()),
                signing: Arc::new(to.signing.clone()),
                pairing: Arc::new(to.pairing.clone()),
                reshare: Arc::new(to.reshare.clone()),
                checkup: Arc::new(to.checkup.clone()),
                destruction: Arc::new(to.destruction.clone()),
            },
            listeners: vec![
                Arc::new(to.registry.clone()),
                Arc::new(to.pairing.clone()),
                Arc::new(to.keygen.clone()),
                Arc::new(to.signing.clone()),
                Arc::new(to.reshare.clone()),
                Arc::new(to.checkup.clone()),
                Arc::new(to.destruction.clone()),
            ],
            config: self.args.settings.link,
            forgery: self.args.forgery.clone(),
        }
    }

    pub(super) fn gateway_args(&self) -> Option<GatewayArgs> {
        let Gateway { settings, connection } = self.args.gateway.clone()?;
        Some(GatewayArgs { settings, connection, desk: self.desk() })
    }

    pub(super) fn health_args(&self) -> Option<HealthArgs> {
        Some(HealthArgs {
            endpoint: self.args.health.clone()?,
            desk: self.desk(),
            addresses: self.addresses.clone(),
            clients: self.args.gateway.as_ref().map(|gateway| gateway.connection.status()),
            backs_up: self.args.backup.is_some(),
            clock: self.args.clock,
        })
    }

    pub(super) fn backup_args(&self) -> Option<BackupArgs> {
        let Backups { settings, period } = self.args.backup.clone()?;
        Some(BackupArgs { settings, period, storage: self.storage_handle(), clock: self.args.clock })
    }

    pub(super) fn admin_args(&self) -> Option<AdminArgs> {
        Some(AdminArgs {
            endpoint: self.args.admin.clone()?,
            identity: Arc::clone(&self.args.identity),
            started: self.started,
            node: self.myself.clone(),
            addresses: self.addresses.clone(),
            storage: self.storage_handle(),
            backs_up: self.args.backup.is_some(),
        })
    }

    fn desk(&self) -> Desk {
        let to = &self.addresses;
        Desk {
            cluster: self.args.settings.cluster.clone(),
            me: self.args.identity.id(),
            peers: Arc::clone(&self.args.peers),
            threshold: self.args.settings.threshold,
            keygen: to.keygen.clone(),
            signing: to.signing.clone(),
            reshare: to.reshare.clone(),
            checkup: to.checkup.clone(),
            destruction: to.destruction.clone(),
            views: self.views.0.subscribe(),
            links: self.args.broker.connection(),
            pool: self.args.pool.clone(),
            keygen_deadline: self.args.settings.keygen_deadline,
            reshare_deadline: self.args.settings.reshare_deadline,
            signing_deadline: self.args.settings.signing_deadline,
            started: self.started,
            recorder: self.recorder.clone(),
        }
    }
}
