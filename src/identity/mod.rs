//! Who is who: the keys of nodes, initiators and authorizers, in the file formats of mpcium.
//!
//! ```text
//!  peers.json ─► PeerList ─┐
//!  <name>_identity.json ───┴─► PeerBook ── who is trusted, committee order, checks what peers signed
//!  <name>_private.key[.age] ─► NodeIdentity ── signs as this node
//!  *.identity.json, *.key[.age] ─► RequestPublicKey, RequestKey ── initiators and authorizers
//! ```
//!
//! Trust comes from these local files only. What a node signs is always bound to a domain, so that a signature made for
//! one purpose says nothing in another.
//!
//! Private keys lie on the heap, are wiped when dropped and are never printed. Files with private keys are written with
//! mode 0600 and never replaced unless that is asked for.

mod error;
mod key_file;
mod node;
mod peer_book;
mod peer_list;
mod request_files;
mod request_key;
mod sealed;
#[cfg(test)]
mod tests;
mod timestamp;

pub use error::IdentityError;
pub use key_file::{Existing, MAX_FILE_BYTES, Protection, SavedFiles};
pub use node::NodeIdentity;
pub use peer_book::{Member, PeerBook};
pub use peer_list::PeerList;
pub use request_files::RequestKeyFiles;
pub use request_key::{Algorithm, InvalidKey, RequestKey, RequestPublicKey};
pub use sealed::{DEFAULT_WORK_FACTOR, MAX_WORK_FACTOR};
pub(crate) use timestamp::rfc3339;
