//! The second step: a wallet with a key for each scheme, and what its keys are on the chains.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use bitcoin::NetworkKind;

use super::Demo;
use super::report::{Addresses, PublicKeys, Wallet};
use super::text::Text;
use crate::chain::{Network, bitcoin_p2tr, bitcoin_p2wpkh, ethereum_address, solana_address};
use crate::ids::Scheme;
use crate::keys::{DerivationPath, TapTweak};
use crate::protocol::derivation::{Derived, derive};
use crate::wallet::WalletRecord;

/// The paths whose addresses are shown: the wallet's key, and the first two receiving keys as wallets number them.
const PATHS: [&[u32]; 3] = [&[], &[0, 0], &[0, 1]];
/// How long a caller waits for a wallet at most; its nodes give up before.
const LIMIT: Duration = Duration::from_secs(700);

impl Demo {
    pub(super) async fn make_wallet(&mut self) -> anyhow::Result<WalletRecord> {
        let request = self.cluster.keygen_request(&self.wallet, &Scheme::ALL)?;
        let started = Instant::now();
        let generated = self.progress.during(LIMIT, self.node(0)?.keygen(request), || "making a wallet".to_owned());
        let generated = generated.await?.map_err(|failure| self.described(&failure))?;
        self.record("key generation (3 keys, certified by all)", &[started.elapsed()]);
        let record = generated.certificate.record().clone();
        let keys = PATHS.into_iter().map(|path| addresses(&record, path)).collect::<anyhow::Result<_>>()?;
        self.report.wallet = Some(Wallet { id: self.wallet.to_string(), keys });
        self.show(Text::wallet)?;
        Ok(record)
    }
}

/// The wallet's key for `scheme` at `path`.
pub(super) fn key_at(wallet: &WalletRecord, scheme: Scheme, path: &DerivationPath) -> anyhow::Result<Derived> {
    let key = wallet.key(scheme).ok_or_else(|| anyhow!("the wallet has no key for {scheme}"))?;
    Ok(derive(&key.public_key(), &wallet.chain_code, path)?)
}

fn addresses(wallet: &WalletRecord, path: &[u32]) -> anyhow::Result<Addresses> {
    let path = DerivationPath::try_from(path.to_vec())?;
    let key = |scheme| key_at(wallet, scheme, &path);
    let (ecdsa, ed25519, bip340) = (key(Scheme::Ecdsa)?, key(Scheme::Ed25519)?, key(Scheme::Bip340)?);
    let hex = |key: &Derived| hex::encode(key.public_key.as_bytes());
    Ok(Addresses {
        path: path.to_string(),
        bitcoin_p2wpkh: bitcoin_p2wpkh(&ecdsa.public_key, Network::Mainnet)?,
        bitcoin_p2tr: bitcoin_p2tr(&bip340.public_key, Some(TapTweak::KeyPathOnly), Network::Mainnet)?,
        ethereum: ethereum_address(&ecdsa.public_key)?,
        solana: solana_address(&ed25519.public_key)?,
        xpub: ecdsa.xpub(NetworkKind::Main)?,
        xpub_taproot: bip340.xpub(NetworkKind::Main)?,
        public_keys: PublicKeys { secp256k1: hex(&ecdsa), ed25519: hex(&ed25519), taproot: hex(&bip340) },
    })
}
