//! The files of a cluster on this machine: made where they are missing, never replaced.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::Failed;
use super::super::key_args::make_directory;
use crate::identity::{Algorithm, Existing, NodeIdentity, PeerList, Protection, RequestKey, RequestKeyFiles};
use crate::ids::{ClusterId, NodeName, Threshold};
use crate::secret::SecretBytes;

/// The file that names the process which runs the cluster, and is locked while it does.
pub(super) const PID_FILE: &str = "cluster.pid";
/// The cluster's name.
const CLUSTER: &str = "local";

/// What is where.
pub(super) struct Layout {
    pub dir: PathBuf,
    pub cluster: ClusterId,
    pub nodes: Vec<NodeName>,
    pub port: u16,
    pub health_port: u16,
}

impl Layout {
    pub(super) fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn config(&self, node: &NodeName) -> PathBuf {
        self.dir.join(format!("{node}.toml"))
    }

    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.dir.join(format!("{process}.log"))
    }
}

/// Makes what is missing. Configurations are written anew each time, since ports may differ.
pub(super) fn prepare(dir: &Path, threshold: Threshold, port: u16, health_port: u16) -> Result<Layout, Failed> {
    let work = |error: std::io::Error| Failed::Work(error.into());
    let dir = dir.canonicalize().map_err(work)?;
    let (list, identities) = (dir.join("peers.json"), dir.join("identity"));
    make_directory(&identities)?;
    let peers = if list.exists() {
        PeerList::load(&list)?
    } else {
        let peers = PeerList::generate(threshold.parties())?;
        peers.save(&list, Existing::Keep)?;
        peers
    };
    if peers.nodes().len() != usize::from(threshold.parties()) {
        let there = peers.nodes().len();
        return Err(Failed::Usage(anyhow::anyhow!("{} has a cluster of {there} nodes: use -n {there}", dir.display())));
    }
    for (name, id) in peers.nodes() {
        if !identities.join(format!("{name}_identity.json")).exists() {
            NodeIdentity::generate(name.clone(), *id)?.save(&identities, Protection::FileMode, Existing::Keep)?;
        }
        let key = dir.join(format!("{name}.storage-key"));
        if !key.exists() {
            let secret = SecretBytes::random(32).map_err(|error| Failed::Work(error.into()))?;
            // Whole or not at all: half a key would be kept for ever.
            let new = key.with_extension("new");
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(work)?;
            file.write_all(secret.expose()).and_then(|()| file.sync_all()).map_err(work)?;
            std::fs::rename(&new, &key).map_err(work)?;
        }
    }
    let invalid = |error: crate::ids::InvalidId| Failed::Work(error.into());
    let initiator: NodeName = RequestKeyFiles::DEFAULT_INITIATOR.to_owned().try_into().map_err(invalid)?;
    let files = RequestKeyFiles::initiator(&dir, &initiator);
    if !dir.join(format!("{initiator}.identity.json")).exists() {
        let key = RequestKey::generate(Algorithm::Ed25519).map_err(|error| Failed::Work(error.into()))?;
        files.save(&key, Protection::FileMode, Existing::Keep)?;
    }
    let layout = Layout {
        cluster: CLUSTER.to_owned().try_into().map_err(invalid)?,
        nodes: peers.nodes().iter().map(|(name, _)| name.clone()).collect(),
        dir,
        port,
        health_port,
    };
    let public = files.load_public()?.to_string();
    for (name, health) in layout.nodes.iter().zip(health_port..) {
        std::fs::write(layout.config(name), config(&layout, name, threshold, health, &public)).map_err(work)?;
    }
    let client = format!(
        "export QUORATE_CLIENT_NATS={}\nexport QUORATE_CLIENT_CLUSTER={}\nexport QUORATE_CLIENT_INITIATOR_DIR='{}'\n",
        layout.nats_url(),
        layout.cluster,
        layout.dir.display()
    );
    std::fs::write(layout.dir.join("client.env"), client).map_err(work)?;
    Ok(layout)
}

fn config(layout: &Layout, node: &NodeName, threshold: Threshold, health: u16, initiator: &str) -> String {
    let dir = layout.dir.display();
    format!(
        "[node]\nname = \"{node}\"\ndata_dir = '{dir}/data'\npeers_file = '{dir}/peers.json'\nidentity_dir = '{dir}/identity'\n\n\
         [cluster]\nid = \"{}\"\nthreshold = {}\n\n\
         [nats]\nservers = [\"{}\"]\n\n\
         [storage]\nkey_file = '{dir}/{node}.storage-key'\n\n\
         [health]\naddress = \"127.0.0.1:{health}\"\n\n\
         [policy]\n# mpcium's clients sign requests without their derivation path.\nallow_legacy_path = true\n\n\
         [policy.initiator]\nalgorithm = \"ed25519\"\npublic_key = \"{initiator}\"\n",
        layout.cluster,
        threshold.signers(),
        layout.nats_url(),
    )
}
