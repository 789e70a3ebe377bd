//! Bitcoin: spending a wallet's taproot output by its key (BIP-341).

use std::fmt;

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Address, Amount, ScriptBuf, Transaction, TxOut, Witness, taproot};
use serde::Deserialize;

use super::{ChainError, Network, expect_scheme, file_text};
use crate::ids::Scheme;
use crate::keys::Signature;

/// The most inputs or outputs of a transaction that is accepted.
const MAX_INPUTS_OR_OUTPUTS: usize = 1_000;

/// A spend as its file gives it. The outputs spent may say "wallet" instead of a script, so that one file serves any
/// wallet.
///
/// ```json
/// {"unsigned_tx": "<hex>", "input_index": 0,
///  "spent_outputs": [{"value_sat": 100000, "script_pubkey": "wallet"}]}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaprootSpendFile {
    transaction: Transaction,
    /// What each input spends; no script where it is the wallet's.
    spent: Vec<(Amount, Option<ScriptBuf>)>,
    input_index: usize,
}

impl TaprootSpendFile {
    /// Parses a file.
    ///
    /// # Errors
    /// When it is too long or breaks a rule: the transaction is unsigned, each input has the output that it spends, the
    /// sums hold, and the index is that of an input.
    pub fn parse(file: &[u8]) -> Result<Self, ChainError> {
        let fields: Fields = serde_json::from_str(file_text(KIND, file)?)
            .map_err(|_| invalid("it is not a JSON object of unsigned_tx, spent_outputs and input_index"))?;
        let transaction: Transaction = hex::decode(&fields.unsigned_tx)
            .ok()
            .and_then(|bytes| encode::deserialize(&bytes).ok())
            .ok_or(invalid("unsigned_tx is not the hex of a transaction"))?;
        if transaction.input.len() > MAX_INPUTS_OR_OUTPUTS || transaction.output.len() > MAX_INPUTS_OR_OUTPUTS {
            return Err(invalid("unsigned_tx has more than 1,000 inputs or outputs"));
        }
        if transaction.input.iter().any(|input| !input.script_sig.is_empty() || !input.witness.is_empty()) {
            return Err(invalid("unsigned_tx is signed already"));
        }
        if fields.spent_outputs.len() != transaction.input.len() {
            return Err(invalid("spent_outputs does not have one entry per input"));
        }
        if fields.input_index >= transaction.input.len() {
            return Err(invalid("input_index is not that of an input"));
        }
        let spent = fields.spent_outputs.into_iter().map(SpentOutput::parse).collect::<Result<Vec<_>, _>>()?;
        let paid_in = total(spent.iter().map(|(value, _script)| *value));
        let paid_out = total(transaction.output.iter().map(|output| output.value));
        match (paid_in, paid_out) {
            (Some(paid_in), Some(paid_out)) if paid_in >= paid_out => {}
            _ => return Err(invalid("its amounts do not add up")),
        }
        Ok(Self { transaction, spent, input_index: fields.input_index })
    }

    /// Puts the wallet in: `output_key` is what [`taproot_output_key`](super::taproot_output_key) gives for the key
    /// that will sign.
    ///
    /// # Errors
    /// When the key is no point, or the input to sign spends an output that is not the wallet's.
    pub fn for_wallet(self, output_key: [u8; 32]) -> Result<TaprootSpend, ChainError> {
        let key = XOnlyPublicKey::from_slice(&output_key).map_err(|_| ChainError::Key)?;
        let script = ScriptBuf::new_p2tr_tweaked(bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key));
        let spent: Vec<TxOut> = self
            .spent
            .into_iter()
            .map(|(value, of)| TxOut { value, script_pubkey: of.unwrap_or_else(|| script.clone()) })
            .collect();
        if spent.get(self.input_index).is_none_or(|output| output.script_pubkey != script) {
            return Err(invalid("the input to sign spends an output of another key"));
        }
        let sighash = SighashCache::new(&self.transaction)
            .taproot_key_spend_signature_hash(self.input_index, &Prevouts::All(&spent), TapSighashType::Default)
            .map_err(|_| invalid("it has no signature hash"))?;
        Ok(TaprootSpend {
            transaction: self.transaction,
            spent,
            input_index: self.input_index,
            key,
            sighash: sighash.to_byte_array(),
        })
    }
}

/// A spend of a certain wallet's output, that waits for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaprootSpend {
    transaction: Transaction,
    spent: Vec<TxOut>,
    input_index: usize,
    key: XOnlyPublicKey,
    sighash: [u8; 32],
}

impl TaprootSpend {
    /// What is signed: BIP-341's hash of the transaction and all outputs that it spends, with `SIGHASH_DEFAULT`.
    #[must_use]
    pub const fn sighash(&self) -> [u8; 32] {
        self.sighash
    }

    /// The outputs that the transaction spends, by input.
    #[must_use]
    pub fn spent_outputs(&self) -> &[TxOut] {
        &self.spent
    }

    /// Puts the signature in as the input's witness. The result, in consensus encoding, is ready to be sent if no other
    /// input needs a signature.
    ///
    /// # Errors
    /// When the signature is of another scheme, or libsecp256k1 does not verify it under the output key.
    pub fn assemble(&self, signature: &Signature) -> Result<Vec<u8>, ChainError> {
        expect_scheme(signature.scheme(), Scheme::Bip340)?;
        let signature = schnorr::Signature::from_slice(&signature.to_bytes()).map_err(|_| ChainError::Signature)?;
        Secp256k1::verification_only()
            .verify_schnorr(&signature, &Message::from_digest(self.sighash), &self.key)
            .map_err(|_| ChainError::Signature)?;
        let signature = taproot::Signature { signature, sighash_type: TapSighashType::Default };
        let mut transaction = self.transaction.clone();
        if let Some(input) = transaction.input.get_mut(self.input_index) {
            input.witness = Witness::p2tr_key_spend(&signature);
        }
        Ok(encode::serialize(&transaction))
    }

    /// The transaction in words: one line per input and output, addresses as `network` writes them, and the fee.
    #[must_use]
    pub fn describe(&self, network: Network) -> String {
        Description { spend: self, network }.to_string()
    }
}

struct Description<'a> {
    spend: &'a TaprootSpend,
    network: Network,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spend = self.spend;
        for (index, (input, output)) in spend.transaction.input.iter().zip(&spend.spent).enumerate() {
            let signed_here = if index == spend.input_index { " (signed here)" } else { "" };
            writeln!(f, "spends: {} of {}{signed_here}", output.value, input.previous_output)?;
        }
        for output in &spend.transaction.output {
            writeln!(f, "pays:   {} to {}", output.value, address_text(output, self.network))?;
        }
        let paid = |outputs: &[TxOut]| total(outputs.iter().map(|output| output.value)).unwrap_or(Amount::ZERO);
        let fee = paid(&spend.spent).checked_sub(paid(&spend.transaction.output)).unwrap_or(Amount::ZERO);
        write!(f, "fee:    {fee}")
    }
}

fn address_text(output: &TxOut, network: Network) -> String {
    let network = match network {
        Network::Mainnet => bitcoin::Network::Bitcoin,
        Network::Testnet => bitcoin::Network::Testnet,
        Network::Signet => bitcoin::Network::Signet,
        Network::Regtest => bitcoin::Network::Regtest,
    };
    Address::from_script(&output.script_pubkey, network)
        .map_or_else(|_| format!("script {:x}", output.script_pubkey), |address| address.to_string())
}

/// The sum, unless it is more money than there is.
fn total(mut amounts: impl Iterator<Item = Amount>) -> Option<Amount> {
    amounts.try_fold(Amount::ZERO, Amount::checked_add).filter(|sum| *sum <= Amount::MAX_MONEY)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    unsigned_tx: String,
    spent_outputs: Vec<SpentOutput>,
    input_index: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpentOutput {
    value_sat: u64,
    script_pubkey: String,
}

impl SpentOutput {
    fn parse(self) -> Result<(Amount, Option<ScriptBuf>), ChainError> {
        let script = match self.script_pubkey.as_str() {
            "wallet" => None,
            text => Some(ScriptBuf::from_bytes(
                hex::decode(text).map_err(|_| invalid("a script_pubkey is neither hex nor \"wallet\""))?,
            )),
        };
        Ok((Amount::from_sat(self.value_sat), script))
    }
}

const fn invalid(problem: &'static str) -> ChainError {
    ChainError::Transaction { kind: KIND, problem }
}

const KIND: &str = "Bitcoin taproot spend";

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use bitcoin::key::{Keypair, TapTweak as _};
    use bitcoin::secp256k1::SecretKey;
    use bitcoin::taproot::TapNodeHash;
    use bitcoinconsensus::Utxo;

    use super::*;
    use crate::chain::{bitcoin_p2tr, taproot_output_key, taproot_script};
    use crate::keys::{PublicKey, TapTweak};

    const EXAMPLE: &[u8] = include_bytes!("../../examples/bitcoin-taproot-spend.json");

    struct Wallet {
        pair: Keypair,
        tweak: Option<TapTweak>,
    }

    impl Wallet {
        fn new(seed: u8, tweak: Option<TapTweak>) -> Self {
            let pair = Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[seed; 32]).unwrap());
            Self { pair, tweak }
        }

        fn key(&self) -> PublicKey {
            PublicKey::new(Scheme::Bip340, &self.pair.public_key().serialize()).unwrap()
        }

        fn output_key(&self) -> [u8; 32] {
            taproot_output_key(&self.key(), self.tweak).unwrap()
        }

        fn sign(&self, sighash: [u8; 32]) -> Signature {
            let secp = Secp256k1::new();
            let pair = match self.tweak {
                None => self.pair,
                Some(TapTweak::KeyPathOnly) => self.pair.tap_tweak(&secp, None).to_keypair(),
                Some(TapTweak::MerkleRoot(root)) => {
                    self.pair.tap_tweak(&secp, Some(TapNodeHash::from_byte_array(root))).to_keypair()
                }
            };
            Signature::Bip340(secp.sign_schnorr_no_aux_rand(&Message::from_digest(sighash), &pair).serialize())
        }
    }

    /// Bitcoin Core's own script check, with every rule up to and including taproot.
    fn consensus_accepts(spend: &TaprootSpend, raw: &[u8]) -> bool {
        let utxos: Vec<Utxo> = spend
            .spent_outputs()
            .iter()
            .map(|output| Utxo {
                script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
                script_pubkey_len: output.script_pubkey.len().try_into().unwrap(),
                value: output.value.to_sat().try_into().unwrap(),
            })
            .collect();
        let output = &spend.spent_outputs()[0];
        let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT | bitcoinconsensus::VERIFY_TAPROOT;
        let script = output.script_pubkey.as_bytes();
        bitcoinconsensus::verify_with_flags(script, output.value.to_sat(), raw, Some(&utxos), 0, flags).is_ok()
    }

    #[test]
    fn assemble__should_satisfy_the_consensus_rules() {
        for seed in 1..=8 {
            for tweak in [None, Some(TapTweak::KeyPathOnly), Some(TapTweak::MerkleRoot([seed; 32]))] {
                let wallet = Wallet::new(seed, tweak);
                let spend = TaprootSpendFile::parse(EXAMPLE).unwrap().for_wallet(wallet.output_key()).unwrap();
                assert_eq!(spend.spent_outputs()[0].script_pubkey, taproot_script(&wallet.key(), tweak).unwrap());
                let raw = spend.assemble(&wallet.sign(spend.sighash())).unwrap();
                assert!(consensus_accepts(&spend, &raw), "{seed} {tweak:?}");
                // The check can fail: here by another amount paid.
                let mut altered: Transaction = encode::deserialize(&raw).unwrap();
                altered.output[0].value -= Amount::ONE_SAT;
                assert!(!consensus_accepts(&spend, &encode::serialize(&altered)));
            }
        }
    }

    #[test]
    fn assemble__should_refuse_other_signatures() {
        let wallet = Wallet::new(1, Some(TapTweak::KeyPathOnly));
        let spend = TaprootSpendFile::parse(EXAMPLE).unwrap().for_wallet(wallet.output_key()).unwrap();
        for bad in [
            wallet.sign([0; 32]),
            Wallet::new(1, None).sign(spend.sighash()),
            Wallet::new(2, Some(TapTweak::KeyPathOnly)).sign(spend.sighash()),
            Signature::Bip340([0; 64]),
            Signature::Bip340([0xff; 64]),
        ] {
            assert_eq!(spend.assemble(&bad), Err(ChainError::Signature));
        }
        let wrong = ChainError::Scheme { found: Scheme::Ed25519, wanted: Scheme::Bip340 };
        assert_eq!(spend.assemble(&Signature::Ed25519([0; 64])), Err(wrong));
    }

    #[test]
    fn describe__should_show_addresses_and_fee() {
        let wallet = Wallet::new(1, Some(TapTweak::KeyPathOnly));
        let spend = TaprootSpendFile::parse(EXAMPLE).unwrap().for_wallet(wallet.output_key()).unwrap();
        let text = spend.describe(Network::Mainnet);
        for part in [
            "spends: 0.00100000 BTC of ",
            "pays:   0.00060000 BTC to bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "fee:    0.00000400 BTC",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(
            address_text(&spend.spent_outputs()[0], Network::Regtest),
            bitcoin_p2tr(&wallet.key(), wallet.tweak, Network::Regtest).unwrap()
        );
    }

    #[test]
    fn for_wallet__should_sign_only_what_is_the_wallets() {
        let file = |script: &str| {
            let mut json: serde_json::Value = serde_json::from_slice(EXAMPLE).unwrap();
            json["spent_outputs"][0]["script_pubkey"] = script.into();
            TaprootSpendFile::parse(json.to_string().as_bytes()).unwrap()
        };
        let (mine, other) = (Wallet::new(1, None), Wallet::new(2, None));
        let script = hex::encode(taproot_script(&mine.key(), None).unwrap());
        assert!(file(&script).for_wallet(mine.output_key()).is_ok());
        assert!(file(&script).for_wallet(other.output_key()).is_err());
        assert_eq!(file("wallet").for_wallet([0xff; 32]), Err(ChainError::Key));
    }

    #[test]
    fn parse__should_refuse_what_breaks_a_rule() {
        let good: serde_json::Value = serde_json::from_slice(EXAMPLE).unwrap();
        let wallet = Wallet::new(1, None);
        let spend = TaprootSpendFile::parse(EXAMPLE).unwrap().for_wallet(wallet.output_key()).unwrap();
        let signed = hex::encode(spend.assemble(&wallet.sign(spend.sighash())).unwrap());
        let output = &good["spent_outputs"][0];
        for (field, value) in [
            ("unsigned_tx", "".into()),
            ("unsigned_tx", "00".into()),
            ("unsigned_tx", signed.into()),
            ("unsigned_tx", format!("{}00", good["unsigned_tx"].as_str().unwrap()).into()),
            ("input_index", 1.into()),
            ("input_index", (-1).into()),
            ("spent_outputs", serde_json::Value::Array(vec![])),
            ("spent_outputs", vec![output.clone(), output.clone()].into()),
            ("spent_outputs", serde_json::json!([{"value_sat": 99_599, "script_pubkey": "wallet"}])),
            ("spent_outputs", serde_json::json!([{"value_sat": u64::MAX, "script_pubkey": "wallet"}])),
            ("spent_outputs", serde_json::json!([{"value_sat": 100_000, "script_pubkey": "Wallet"}])),
            ("extra", 1.into()),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(TaprootSpendFile::parse(bad.to_string().as_bytes()).is_err(), "{bad}");
        }
    }
}
