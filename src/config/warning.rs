//! What works, and what an operator should know of all the same.

use std::fmt;

/// Something about a configuration that is no error. It names keys and never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// `mpc_threshold` counts otherwise than `cluster.threshold`.
    ThresholdConverted {
        /// What the file says: one less than the number of signers.
        mpc_threshold: u64,
        /// How many nodes must sign.
        signers: u8,
    },
    /// A mpcium configuration implies that signatures need not cover the derivation path.
    LegacyPathAllowed,
    /// Keys that mean nothing here.
    Ignored {
        /// The key, or what all of them begin with.
        key: &'static str,
        /// Why, and what there is instead.
        instead: &'static str,
    },
    /// A key that mpcium does not have either.
    UnknownKey(String),
    /// A secret stands in the configuration file itself.
    SecretInFile {
        /// The key.
        key: &'static str,
        /// What to use instead.
        instead: &'static str,
    },
    /// The wallets that mpcium made are not taken over.
    OwnStore,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThresholdConverted { mpc_threshold, signers } => write!(
                f,
                "mpc_threshold = {mpc_threshold} is one less than the number of signers: {signers} nodes must sign \
                 with a new wallet. If you mean {mpc_threshold}, set QUORATE_CLUSTER__THRESHOLD={mpc_threshold}"
            ),
            Self::LegacyPathAllowed => f.write_str(
                "a mpcium configuration takes signing requests whose signature does not cover the derivation path, as \
                 mpcium's clients make them: whoever carries a request can change which child key signs. Once your \
                 clients sign the complete form, set QUORATE_POLICY__ALLOW_LEGACY_PATH=false",
            ),
            Self::Ignored { key, instead } => write!(f, "{key} is not used: {instead}"),
            Self::UnknownKey(key) => write!(f, "{key} is no key of a mpcium configuration, and is not used"),
            Self::SecretInFile { key, instead } => {
                write!(f, "{key} is a secret in a configuration file: better take it out, and set {instead}")
            }
            Self::OwnStore => f.write_str(
                "wallets that mpcium made stay with mpcium: their shares are of another protocol, and its store is \
                 neither read nor changed",
            ),
        }
    }
}
