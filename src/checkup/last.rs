//! When a wallet was checked last, and how that went: kept by the node that checked it.

use serde::{Deserialize, Serialize};

use crate::ids::WalletId;
use crate::secret::SecretBytes;
use crate::wire::codec::{self, CodecError};

/// What the storage keys of these records begin with, among results.
const CHECKUP_PREFIX: &[u8] = b"checkup\0";
/// The longest encoded record, in bytes.
const MAX_RECORD_BYTES: usize = 64;

/// The last check-up of a wallet that this node made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheckup {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When the last good one was.
    pub good_ms: Option<u64>,
}

impl LastCheckup {
    /// This check-up after `earlier`.
    pub(super) fn after(earlier: Option<Self>, at_ms: u64, good: bool) -> Self {
        let good_ms = if good { Some(at_ms) } else { earlier.and_then(|earlier| earlier.good_ms) };
        Self { at_ms, good_ms }
    }

    /// Whether it was bad.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.good_ms != Some(self.at_ms)
    }

    /// Encodes the record. It is not secret.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn encode(&self) -> Result<SecretBytes, CodecError> {
        codec::encode(self, MAX_RECORD_BYTES).map(SecretBytes::from_vec)
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_RECORD_BYTES)
    }
}

/// Whether this is a stored record of a check-up: for whoever checks a whole store.
pub(crate) fn is_checkup(key: &[u8], value: &[u8]) -> bool {
    let wallet = key.strip_prefix(CHECKUP_PREFIX).and_then(|name| std::str::from_utf8(name).ok());
    wallet.is_some_and(|name| name.parse::<WalletId>().is_ok()) && LastCheckup::decode(value).is_ok()
}

/// Where the record of a wallet is.
pub(super) fn last_key(wallet: &WalletId) -> Vec<u8> {
    [CHECKUP_PREFIX, wallet.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_check_up__should_remember_the_last_good_one() {
        let good = LastCheckup::after(None, 7, true);
        assert_eq!((good.good_ms, good.is_bad()), (Some(7), false));
        let bad = LastCheckup::after(Some(good), 9, false);
        assert_eq!((bad.at_ms, bad.good_ms, bad.is_bad()), (9, Some(7), true));
        assert_eq!(LastCheckup::decode(bad.encode().unwrap().expose()).unwrap(), bad);
        assert!(LastCheckup::decode(&[0xc1]).is_err());
    }
}
