//! The third step: a transaction for each chain is signed, put together and checked; then how long signatures take.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::report::{Signed, SpentOutput};
use super::text::Text;
use super::wallet::key_at;
use super::{Demo, Transactions};
use crate::chain::{
    EthereumTransaction, Network, SolanaMessageFile, TaprootSpendFile, bitcoin_p2tr, ethereum_address, solana_address,
    taproot_output_key,
};
use crate::ids::Scheme;
use crate::keys::{DerivationPath, Signature, TapTweak};
use crate::wallet::WalletRecord;

/// How many signatures of each scheme are timed, besides that of its transaction.
const TIMED: usize = 6;

/// The times that signatures took, by scheme.
type Times = BTreeMap<Scheme, Vec<Duration>>;

impl Demo {
    /// Each transaction is signed with another key and led by another node.
    pub(super) async fn sign_transactions(
        &mut self,
        wallet: &WalletRecord,
        transactions: Transactions,
    ) -> anyhow::Result<()> {
        let Transactions { ethereum, bitcoin, solana } = transactions;
        let mut times = Times::new();
        self.sign_ethereum(wallet, &ethereum, &mut times).await?;
        self.sign_bitcoin(wallet, bitcoin, &mut times).await?;
        self.sign_solana(wallet, solana, &mut times).await?;
        self.show(Text::signatures)?;
        for scheme in Scheme::ALL {
            for round in 0..TIMED {
                // No two signatures are of the same message.
                let message = [&[u8::try_from(round).unwrap_or(u8::MAX)][..], &[0x71; 31]].concat();
                let request = self.request(scheme, DerivationPath::default(), &message)?;
                let signing = self.sign(wallet, round % self.cluster.len(), request);
                let state = || format!("timing {scheme} signatures: {round} of {TIMED}");
                let (_, took) = self.progress.during(super::ASK * 10, signing, state).await??;
                times.entry(scheme).or_default().push(took);
            }
            self.record(format!("signature, {scheme}"), times.get(&scheme).map_or(&[], Vec::as_slice));
        }
        Ok(())
    }

    async fn sign_ethereum(
        &mut self,
        wallet: &WalletRecord,
        transaction: &EthereumTransaction,
        times: &mut Times,
    ) -> anyhow::Result<()> {
        let (path, coordinator) = (DerivationPath::try_from(vec![0, 0])?, 0);
        let address = ethereum_address(&key_at(wallet, Scheme::Ecdsa, &path)?.public_key)?;
        let digest = transaction.signing_hash();
        let signature = self.sign_timed(wallet, coordinator, (Scheme::Ecdsa, &path), &digest, times).await?;
        let sender = transaction.recover_sender(&signature)?;
        ensure!(sender == address, "the transaction's sender is {sender}, not {address}");
        let raw = transaction.assemble(&signature, &address)?;
        self.report.signatures.push(Signed {
            chain: "ethereum",
            kind: "Ethereum, EIP-1559 transaction",
            transaction: lines(&transaction.to_string()),
            path: path.to_string(),
            verified: "libsecp256k1: the recovered sender is this address".to_owned(),
            address,
            message: hex::encode(digest),
            signature: hex::encode(signature.to_bytes()),
            raw: format!("0x{}", hex::encode(&raw)),
            raw_bytes: raw.len(),
            spent_outputs: Vec::new(),
            coordinator: self.name(coordinator)?,
        });
        Ok(())
    }

    async fn sign_bitcoin(
        &mut self,
        wallet: &WalletRecord,
        file: TaprootSpendFile,
        times: &mut Times,
    ) -> anyhow::Result<()> {
        let (path, coordinator) = (DerivationPath::try_from(vec![0, 1])?, 1);
        let (key, tweak) = (key_at(wallet, Scheme::Bip340, &path)?.public_key, Some(TapTweak::KeyPathOnly));
        let spend = file.for_wallet(taproot_output_key(&key, tweak)?)?;
        let sighash = spend.sighash();
        let signature = self.sign_timed(wallet, coordinator, (Scheme::Bip340, &path), &sighash, times).await?;
        // Refuses a signature that libsecp256k1 does not verify under the output key.
        let raw = spend.assemble(&signature)?;
        let spent = |output: &bitcoin::TxOut| SpentOutput {
            value_sat: output.value.to_sat(),
            script_pubkey: hex::encode(output.script_pubkey.as_bytes()),
        };
        self.report.signatures.push(Signed {
            chain: "bitcoin",
            kind: "Bitcoin, taproot key-path spend (BIP-341)",
            transaction: lines(&spend.describe(Network::Mainnet)),
            path: path.to_string(),
            address: bitcoin_p2tr(&key, tweak, Network::Mainnet)?,
            message: hex::encode(sighash),
            signature: hex::encode(signature.to_bytes()),
            raw: hex::encode(&raw),
            raw_bytes: raw.len(),
            spent_outputs: spend.spent_outputs().iter().map(spent).collect(),
            coordinator: self.name(coordinator)?,
            verified: "libsecp256k1: BIP-340, under the output key of this address".to_owned(),
        });
        Ok(())
    }

    async fn sign_solana(
        &mut self,
        wallet: &WalletRecord,
        file: SolanaMessageFile,
        times: &mut Times,
    ) -> anyhow::Result<()> {
        let (path, coordinator) = (DerivationPath::default(), self.cluster.len() - 1);
        let key = key_at(wallet, Scheme::Ed25519, &path)?.public_key;
        let message = file.for_wallet(&key)?;
        let signature = self.sign_timed(wallet, coordinator, (Scheme::Ed25519, &path), message.bytes(), times).await?;
        // Refuses a signature that ed25519-dalek does not verify.
        let raw = message.assemble(&signature)?;
        self.report.signatures.push(Signed {
            chain: "solana",
            kind: "Solana, message with one signer",
            transaction: lines(&message.to_string()),
            path: path.to_string(),
            address: solana_address(&key)?,
            message: hex::encode(message.bytes()),
            signature: hex::encode(signature.to_bytes()),
            raw: STANDARD.encode(&raw),
            raw_bytes: raw.len(),
            spent_outputs: Vec::new(),
            coordinator: self.name(coordinator)?,
            verified: "ed25519-dalek: strict RFC 8032, under this address".to_owned(),
        });
        Ok(())
    }

    async fn sign_timed(
        &mut self,
        wallet: &WalletRecord,
        coordinator: usize,
        (scheme, path): (Scheme, &DerivationPath),
        message: &[u8],
        times: &mut Times,
    ) -> anyhow::Result<Signature> {
        let request = self.request(scheme, path.clone(), message)?;
        let (signed, took) = self.sign(wallet, coordinator, request).await?;
        times.entry(scheme).or_default().push(took);
        Ok(signed.signature)
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
