//! Wallet certificates at hand: decoded and checked once, not for every signature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::WalletId;
use crate::wallet::WalletCertificate;

/// The most certificates kept, about 2 KiB each in 2-of-3.
const MAX_KEPT: usize = 4096;

/// Certificates by wallet. What is in it is public; clones share it.
#[derive(Clone, Default)]
pub(super) struct Wallets(Arc<Mutex<BTreeMap<WalletId, Arc<WalletCertificate>>>>);

impl Wallets {
    /// The certificate of a wallet, if it is at hand.
    pub fn get(&self, wallet: &WalletId) -> Option<Arc<WalletCertificate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(wallet).cloned()
    }

    /// Lets a certificate go: the wallet may have been reshared.
    pub fn forget(&self, wallet: &WalletId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(wallet);
    }

    /// Keeps a certificate; another one makes room where there is none.
    pub fn keep(&self, certificate: Arc<WalletCertificate>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wallet = certificate.record().wallet.clone();
        if kept.len() >= MAX_KEPT && !kept.contains_key(&wallet) {
            kept.pop_first();
        }
        kept.insert(wallet, certificate);
    }
}
