//! Solana: a transaction message with one signer, from a file to the signed transaction.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};
use serde::Deserialize;

use super::solana_layout::Message;
use super::{ChainError, expect_scheme, file_text};
use crate::ids::Scheme;
use crate::keys::{PublicKey, Signature};

/// The longest transaction that Solana carries, in bytes, with its signature.
pub(super) const MAX_TRANSACTION_BYTES: usize = 1232;
/// One signature with its count before it.
pub(super) const SIGNATURE_BYTES: usize = 65;

/// A message as its file gives it, for any wallet: `{"message": "<base64>", "signer": "<base58>" | null}`. `signer` is
/// the key in the message that the wallet's key replaces; null, for whichever key is the signer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolanaMessageFile(Message);

impl SolanaMessageFile {
    /// Parses a file.
    ///
    /// # Errors
    /// When it is too long or breaks a rule: the message is whole, small enough to be sent, and has exactly one signer,
    /// which is the one that the file names, if it does.
    pub fn parse(file: &[u8]) -> Result<Self, ChainError> {
        let fields: Fields = serde_json::from_str(file_text(KIND, file)?)
            .map_err(|_| invalid("it is not a JSON object of message and signer"))?;
        let bytes = STANDARD.decode(&fields.message).map_err(|_| invalid("message is not standard base64"))?;
        let message = Message::parse(bytes)?;
        if let Some(signer) = fields.signer {
            let signer = bs58::decode(signer).into_vec().map_err(|_| invalid("signer is not base58"))?;
            if signer != message.signer() {
                return Err(invalid("signer is not the key that has to sign"));
            }
        }
        Ok(Self(message))
    }

    /// Puts the wallet's Ed25519 key in the signer's place, which also pays the fee.
    ///
    /// # Errors
    /// When the key is of another scheme, no point, or in the message already in another place.
    pub fn for_wallet(self, key: &PublicKey) -> Result<SolanaMessage, ChainError> {
        expect_scheme(key.scheme(), Scheme::Ed25519)?;
        let bytes = <[u8; 32]>::try_from(key.as_bytes()).map_err(|_| ChainError::Key)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| ChainError::Key)?;
        let mut message = self.0;
        if message.account_keys().skip(1).any(|other| other == bytes) {
            return Err(invalid("the wallet's key is in it already, in another place"));
        }
        if let Some(signer) = message.bytes.get_mut(message.keys_at..).and_then(|rest| rest.first_chunk_mut()) {
            *signer = bytes;
        }
        Ok(SolanaMessage { message, key })
    }
}

/// A message that waits for its wallet's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolanaMessage {
    message: Message,
    key: VerifyingKey,
}

impl SolanaMessage {
    /// The message: what is signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.message.bytes
    }

    /// The signed transaction, ready to be sent (`sendTransaction`, in base58 or base64).
    ///
    /// # Errors
    /// When the signature is of another scheme or does not verify (strictly, RFC 8032).
    pub fn assemble(&self, signature: &Signature) -> Result<Vec<u8>, ChainError> {
        expect_scheme(signature.scheme(), Scheme::Ed25519)?;
        let signature = signature.to_bytes();
        self.key
            .verify_strict(&self.message.bytes, &Ed25519Signature::from_bytes(&signature))
            .map_err(|_| ChainError::Signature)?;
        Ok([&[1], signature.as_slice(), &self.message.bytes].concat())
    }
}

/// The signer, the number of instructions, and every transfer of the system program among them.
impl fmt::Display for SolanaMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "signer:       {}", bs58::encode(self.key.as_bytes()).into_string())?;
        write!(f, "instructions: {}", self.message.instructions)?;
        for transfer in &self.message.transfers {
            let key = |index: u8| {
                self.message
                    .account_keys()
                    .nth(usize::from(index))
                    .map_or_else(|| "(looked up)".to_owned(), |key| bs58::encode(key).into_string())
            };
            write!(f, "\ntransfer:     {} lamports", transfer.lamports)?;
            write!(f, "\n  from:       {}", key(transfer.from))?;
            write!(f, "\n  to:         {}", key(transfer.to))?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    message: String,
    signer: Option<String>,
}

pub(super) const fn invalid(problem: &'static str) -> ChainError {
    ChainError::Transaction { kind: KIND, problem }
}

const KIND: &str = "Solana message";
#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;
    use solana_message::compiled_instruction::CompiledInstruction;
    use solana_message::{Address, Hash, MessageHeader};
    use solana_transaction::Transaction;

    use super::*;

    const EXAMPLE: &[u8] = include_bytes!("../../examples/solana-transfer.json");

    fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn public(key: &SigningKey) -> PublicKey {
        PublicKey::new(Scheme::Ed25519, key.verifying_key().as_bytes()).unwrap()
    }

    fn sign(message: &SolanaMessage, key: &SigningKey) -> Signature {
        Signature::Ed25519(key.sign(message.bytes()).to_bytes())
    }

    fn example_message() -> Vec<u8> {
        let json: serde_json::Value = serde_json::from_slice(EXAMPLE).unwrap();
        STANDARD.decode(json["message"].as_str().unwrap()).unwrap()
    }

    fn file(message: &[u8]) -> Vec<u8> {
        serde_json::json!({"message": STANDARD.encode(message), "signer": null}).to_string().into_bytes()
    }

    #[test]
    fn solana_example__should_be_a_transfer_from_the_wallet() {
        let key = public(&signing_key(1));
        let text = SolanaMessageFile::parse(EXAMPLE).unwrap().for_wallet(&key).unwrap().to_string();
        let from = bs58::encode(key.as_bytes()).into_string();
        for line in [
            "transfer:     250000000 lamports",
            &format!("  from:       {from}"),
            "  to:         9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn assemble__should_give_a_transaction_that_solana_verifies() {
        let example = example_message();
        let key = signing_key(1);
        let message = SolanaMessageFile::parse(EXAMPLE).unwrap().for_wallet(&public(&key)).unwrap();
        let raw = message.assemble(&sign(&message, &key)).unwrap();
        // The same transaction in Solana's own types, which verify it over their own encoding.
        let address = |at: usize| Address::from(<[u8; 32]>::try_from(&example[at..at + 32]).unwrap());
        let theirs = solana_message::Message {
            header: MessageHeader {
                num_required_signatures: 1,
                num_readonly_signed_accounts: 0,
                num_readonly_unsigned_accounts: 1,
            },
            account_keys: vec![Address::from(key.verifying_key().to_bytes()), address(36), address(68)],
            recent_blockhash: Hash::new_from_array(example[100..132].try_into().unwrap()),
            instructions: vec![CompiledInstruction {
                program_id_index: 2,
                accounts: vec![0, 1],
                data: [2_u32.to_le_bytes().as_slice(), &250_000_000_u64.to_le_bytes()].concat(),
            }],
        };
        assert_eq!(theirs.serialize(), message.bytes());
        let mut transaction = Transaction::new_unsigned(theirs);
        assert!(transaction.verify().is_err());
        transaction.signatures[0] = <[u8; 64]>::try_from(&raw[1..65]).unwrap().into();
        transaction.verify().unwrap();
        assert_eq!((raw[0], &raw[65..]), (1, message.bytes()));
    }

    #[test]
    fn assemble__should_refuse_other_signatures() {
        let key = signing_key(1);
        let message = SolanaMessageFile::parse(EXAMPLE).unwrap().for_wallet(&public(&key)).unwrap();
        for bad in [sign(&message, &signing_key(2)), Signature::Ed25519([0; 64]), Signature::Ed25519([0xff; 64])] {
            assert_eq!(message.assemble(&bad), Err(ChainError::Signature));
        }
        let wrong = ChainError::Scheme { found: Scheme::Bip340, wanted: Scheme::Ed25519 };
        assert_eq!(message.assemble(&Signature::Bip340([0; 64])), Err(wrong));
    }

    #[test]
    fn for_wallet__should_refuse_a_key_that_is_in_another_place() {
        let recipient = PublicKey::new(Scheme::Ed25519, &example_message()[36..68]).unwrap();
        assert!(SolanaMessageFile::parse(EXAMPLE).unwrap().for_wallet(&recipient).is_err());
    }

    #[test]
    fn parse__should_take_version_0_with_lookups() {
        let mut message = example_message();
        message.insert(0, 0x80);
        let no_lookups = [message.as_slice(), &[0]].concat();
        assert!(SolanaMessageFile::parse(&file(&no_lookups)).is_ok());
        let one_lookup = [message.as_slice(), &[1], &[9; 32], &[1, 0], &[0]].concat();
        assert!(SolanaMessageFile::parse(&file(&one_lookup)).is_ok());
        assert!(SolanaMessageFile::parse(&file(&message)).is_err(), "lookups are missing");
        message[0] = 0x81;
        assert!(SolanaMessageFile::parse(&file(&[message.as_slice(), &[0]].concat())).is_err());
    }

    #[test]
    fn parse__should_refuse_every_cut_and_broken_rule() {
        let good = example_message();
        for end in 0..good.len() {
            assert!(SolanaMessageFile::parse(&file(&good[..end])).is_err(), "cut at {end}");
        }
        assert!(SolanaMessageFile::parse(&file(&[good.as_slice(), &[0]].concat())).is_err(), "one byte more");
        // Two signers, no signer, a read-only payer, too few keys, a long length, the payer as program, no such program,
        // no such account.
        for (at, byte) in [(0, 2), (0, 0), (1, 1), (2, 3), (3, 0x83), (133, 0), (133, 3), (136, 3)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(SolanaMessageFile::parse(&file(&bad)).is_err(), "{byte} at {at}");
        }
        let mut twice = good.clone();
        twice.copy_within(4..36, 36);
        assert!(SolanaMessageFile::parse(&file(&twice)).is_err());
        let other_signer = serde_json::json!({
            "message": STANDARD.encode(&good),
            "signer": bs58::encode([1; 32]).into_string(),
        });
        assert!(SolanaMessageFile::parse(other_signer.to_string().as_bytes()).is_err());
        assert!(SolanaMessageFile::parse(&file(&[0; 1168])).is_err());
    }

    proptest! {
        #[test]
        fn parse__should_survive_any_change(at in 0..150_usize, byte: u8, tail in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut message = example_message();
            let at = at % message.len();
            message[at] = byte;
            message.extend(tail);
            drop(SolanaMessageFile::parse(&file(&message)));
        }
    }
}
