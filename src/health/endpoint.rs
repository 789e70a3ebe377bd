//! Where a node listens for questions about its health.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address} for health and metrics: {cause}")]
pub struct BindError {
    address: SocketAddr,
    cause: std::io::Error,
}

/// A bound address. It outlives the actor that serves at it, so that each new life serves at the same one. Clones are
/// the same.
#[derive(Debug, Clone)]
pub struct Endpoint {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

impl Endpoint {
    /// Listens on `address`; on any free port for port 0. Questions wait until a node serves them.
    ///
    /// # Errors
    /// When another process listens there, the address is none of this machine, or the port is not permitted.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener: Arc::new(listener), address })
        };
        bound.await.map_err(|cause| BindError { address, cause })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn address__should_be_free() {
        let first = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        assert_ne!(first.address().port(), 0);
        let refused = Endpoint::bind(first.address()).await.unwrap_err();
        assert!(refused.to_string().contains(&first.address().to_string()), "{refused}");
    }
}
