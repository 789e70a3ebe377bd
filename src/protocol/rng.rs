//! Where the engines take their randomness from: a source handed in, so that a test can seed it.

use rand_core_06::{CryptoRng, OsRng, RngCore};

/// A cryptographic random source that an engine owns for one run.
///
/// The traits are those of `rand_core` 0.6, because FROST takes them.
pub trait EngineRng: RngCore + CryptoRng + Send {}

impl<R: RngCore + CryptoRng + Send> EngineRng for R {}

/// The operating system's randomness: the only source outside tests. It buffers nothing, so there is nothing to wipe.
#[must_use]
pub fn os() -> Box<dyn EngineRng> {
    Box::new(OsRng)
}
