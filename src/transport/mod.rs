//! transport
pub mod broker;
mod identity;
pub mod memory;
pub mod noise;
pub use identity::IdentityKey;
