//! The secrets that the nodes of this process make and load: for a test that looks for them in its memory.
//!
//! Every place where a secret comes into being tells [`saw`]. Nothing is kept unless a test [listens](listen); then it is a
//! copy under a mask, which a search for the secret does not find.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// Every byte of a kept secret is combined with this by exclusive or.
pub const MASK: u8 = 0xa5;
/// The shortest secret that is kept, in bytes: fewer would be found by chance.
pub const MIN_BYTES: usize = 32;

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A coefficient of a party's polynomial in a key generation.
    Coefficient,
    /// What one party deals to another in a key generation.
    Dealt,
    /// A share of a wallet's key.
    KeyShare,
    /// A share of the key that signs: derived, or tweaked, or weighted for the signers.
    SigningShare,
    /// A nonce of one signature, or what masks it.
    Nonce,
    /// A value of the polynomial in a pair setup, or what an oblivious transfer of it rests on.
    PairSetup,
    /// What two nodes share: a seed of theirs, of an oblivious transfer or of zero shares.
    PairState,
    /// A node's key for all its links.
    Identity,
    /// A key pair of one handshake, or what two of them come to.
    Handshake,
    /// A key of a link, or of its handshake.
    LinkKey,
    /// What unlocks a store.
    KeySource,
    /// A key of a store that wraps another one, or that others are derived from.
    StoreKey,
    /// A key that seals records.
    SealingKey,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Coefficient,
        Self::Dealt,
        Self::KeyShare,
        Self::SigningShare,
        Self::Nonce,
        Self::PairSetup,
        Self::PairState,
        Self::Identity,
        Self::Handshake,
        Self::LinkKey,
        Self::KeySource,
        Self::StoreKey,
        Self::SealingKey,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A secret that was seen.
pub struct Seen {
    /// What it is for.
    pub kind: Kind,
    /// It, under the mask.
    pub masked: Vec<u8>,
}

struct Listening {
    seen: Vec<Seen>,
    counts: BTreeMap<Kind, usize>,
    leaks: Option<Kind>,
}

static LISTENING: Mutex<Option<Listening>> = Mutex::new(None);

/// From now on, keeps what is seen. Secrets of the kind `leaks` are left in memory as they are: whoever looks for them must
/// find these.
pub fn listen(leaks: Option<Kind>) {
    *LISTENING.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(Listening { seen: Vec::new(), counts: BTreeMap::new(), leaks });
}

/// What was seen since it was last asked for.
pub fn take() -> Vec<Seen> {
    let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    listening.as_mut().map(|listening| std::mem::take(&mut listening.seen)).unwrap_or_default()
}

/// How many secrets of a kind were seen so far, those included that were asked for.
pub fn count(kind: Kind) -> usize {
    let listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    listening.as_ref().and_then(|listening| listening.counts.get(&kind).copied()).unwrap_or_default()
}

/// A secret came into being. The blank that takes a wiped one's place is none.
pub fn saw(kind: Kind, secret: &[u8]) {
    if secret.len() < MIN_BYTES || secret.iter().all(|byte| *byte == 0) {
        return;
    }
    if let Some(listening) = &mut *LISTENING.lock().unwrap_or_else(PoisonError::into_inner) {
        if listening.leaks == Some(kind) {
            std::mem::forget(secret.to_vec());
        }
        *listening.counts.entry(kind).or_default() += 1;
        listening.seen.push(Seen { kind, masked: secret.iter().map(|byte| byte ^ MASK).collect() });
    }
}

/// As [`saw`], for what has to be encoded first.
pub fn saw_encoded(kind: Kind, secret: Vec<u8>) {
    saw(kind, &Zeroizing::new(secret));
}
