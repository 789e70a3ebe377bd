//! The kinds of records, one column family each.

use std::fmt;

/// A kind of record. Each has a column family and a sealing key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Key shares, pending and active.
    Shares,
    /// Pair setups: the state that two nodes share for ECDSA.
    Pairs,
    /// Wallet records and their certificates.
    Wallets,
    /// Requests and their results, by wallet and request id.
    Results,
    /// The append-only log of what was asked and decided.
    Audit,
    /// Pairs of nodes that must not run ECDSA together.
    Bans,
    /// The node's own notes.
    Meta,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 7] =
        [Self::Shares, Self::Pairs, Self::Wallets, Self::Results, Self::Audit, Self::Bans, Self::Meta];

    /// The name of the column family. Part of the format: it is bound into keys and seals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shares => "shares",
            Self::Pairs => "pairs",
            Self::Wallets => "wallets",
            Self::Results => "results",
            Self::Audit => "audit",
            Self::Bans => "bans",
            Self::Meta => "meta",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
