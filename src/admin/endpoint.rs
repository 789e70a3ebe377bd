//! The socket of a node.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::ids::NodeName;

/// The longest path that a socket can have on Linux, in bytes.
const MAX_PATH_BYTES: usize = 107;

/// The socket of a node, in its data folder.
#[must_use]
pub fn socket_path(data_dir: &Path, name: &NodeName) -> PathBuf {
    data_dir.join(format!("{name}.sock"))
}

/// There is no socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another process of the same node listens there.
    #[error("failed to listen at {}: it is in use", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Its name is too long for a socket.
    #[error("failed to listen at {}: the path is longer than {MAX_PATH_BYTES} bytes; choose a shorter node.data_dir", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// Anything else.
    #[error("failed to listen at {}: {source}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

/// A bound socket. It outlives the actor that serves at it; clones are the same. The file goes with the last.
#[derive(Debug, Clone)]
pub struct AdminEndpoint(Arc<Bound>);

#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // One that stays is replaced by the next life of the node.
        drop(fs::remove_file(&self.path));
    }
}

impl AdminEndpoint {
    /// Listens at `path`. Its folder is made if it is not there. A socket that nobody listens at is replaced.
    ///
    /// # Errors
    /// When somebody listens there, or it cannot be made. Call within a runtime.
    pub fn bind(path: PathBuf) -> Result<Self, AdminError> {
        if path.as_os_str().len() > MAX_PATH_BYTES {
            return Err(AdminError::TooLong { path });
        }
        let bound = (|| {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            if fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
                if std::os::unix::net::UnixStream::connect(&path).is_ok() {
                    return Ok(None);
                }
                fs::remove_file(&path)?;
            }
            let listener = UnixListener::bind(&path)?;
            // Between the two, whoever connects is still asked who he is.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(Some(listener))
        })();
        match bound {
            Ok(Some(listener)) => Ok(Self(Arc::new(Bound { listener, path }))),
            Ok(None) => Err(AdminError::InUse { path }),
            Err(source) => Err(AdminError::Failed { path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.0.listener
    }
}
