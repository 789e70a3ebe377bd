//! Ethereum: an unsigned EIP-1559 transaction.

use std::fmt;

use alloy_consensus::transaction::{RlpEcdsaDecodableTx, RlpEcdsaEncodableTx};
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Signature as AlloySignature, TxKind, U256};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use bitcoin::secp256k1::{Message, Secp256k1};

use super::address::ethereum_address_of;
use super::{ChainError, expect_scheme, file_text};
use crate::ids::Scheme;
use crate::keys::Signature;

/// A transaction of type 2 that waits for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EthereumTransaction(TxEip1559);

impl EthereumTransaction {
    /// Parses the hex, with or without `0x`, of `0x02 ‖ rlp([chain id, nonce, max priority fee, max fee, gas limit, to,
    /// value, data, access list])` (EIP-1559).
    ///
    /// # Errors
    /// When it is too long or anything else than that, or not in the one encoding that a signature covers.
    pub fn parse(file: &[u8]) -> Result<Self, ChainError> {
        let text = file_text(KIND, file)?;
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = hex::decode(digits).map_err(|_| invalid("it is not hex"))?;
        let Some((2, mut rlp)) = bytes.split_first() else {
            return Err(invalid("it does not begin with 02, the type of EIP-1559"));
        };
        let transaction = TxEip1559::rlp_decode(&mut rlp)
            .map_err(|_| invalid("it is not the RLP of the nine fields of an unsigned transaction"))?;
        if !rlp.is_empty() {
            return Err(invalid("bytes follow the transaction"));
        }
        if transaction.encoded_for_signing() != bytes {
            return Err(invalid("it is not in its canonical encoding"));
        }
        Ok(Self(transaction))
    }

    /// The transaction's fields.
    #[must_use]
    pub const fn fields(&self) -> &TxEip1559 {
        &self.0
    }

    /// Keccak-256 of the transaction: the digest that is signed.
    #[must_use]
    pub fn signing_hash(&self) -> [u8; 32] {
        self.0.signature_hash().0
    }

    /// The address, with its checksum, whose key made `signature`; recovered by libsecp256k1.
    ///
    /// # Errors
    /// When the signature is of another scheme, out of range, or belongs to no key.
    pub fn recover_sender(&self, signature: &Signature) -> Result<String, ChainError> {
        let (r, s, y_is_odd) = scalars(signature)?;
        let id = RecoveryId::from_i32(i32::from(y_is_odd)).map_err(|_| ChainError::Signature)?;
        let signature = RecoverableSignature::from_compact(&[r, s].concat(), id).map_err(|_| ChainError::Signature)?;
        let key = Secp256k1::verification_only()
            .recover_ecdsa(&Message::from_digest(self.signing_hash()), &signature)
            .map_err(|_| ChainError::Signature)?;
        Ok(ethereum_address_of(&key).to_checksum(None))
    }

    /// The signed transaction, ready to be sent (`eth_sendRawTransaction`).
    ///
    /// # Errors
    /// When the signature is not that of `sender`, an address with its checksum, or its s is high (EIP-2).
    pub fn assemble(&self, signature: &Signature, sender: &str) -> Result<Vec<u8>, ChainError> {
        if self.recover_sender(signature)? != sender {
            return Err(ChainError::Signature);
        }
        let (r, s, y_is_odd) = scalars(signature)?;
        let signature = AlloySignature::new(U256::from_be_bytes(r), U256::from_be_bytes(s), y_is_odd);
        if signature.normalize_s().is_some() {
            return Err(ChainError::Signature);
        }
        let mut raw = Vec::new();
        self.0.eip2718_encode(&signature, &mut raw);
        Ok(raw)
    }
}

/// One line per field, amounts in their smallest unit.
impl fmt::Display for EthereumTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = &self.0;
        writeln!(f, "chain id:         {}", fields.chain_id)?;
        writeln!(f, "nonce:            {}", fields.nonce)?;
        match fields.to {
            TxKind::Call(to) => writeln!(f, "to:               {}", to.to_checksum(None))?,
            TxKind::Create => writeln!(f, "to:               (creates a contract)")?,
        }
        writeln!(f, "value:            {} wei", fields.value)?;
        writeln!(f, "gas limit:        {}", fields.gas_limit)?;
        writeln!(f, "max fee per gas:  {} wei", fields.max_fee_per_gas)?;
        writeln!(f, "priority fee:     {} wei", fields.max_priority_fee_per_gas)?;
        write!(f, "data:             {} bytes", fields.input.len())
    }
}

/// r, s, and whether R's y is odd. Ethereum has no room for an R whose x was reduced.
fn scalars(signature: &Signature) -> Result<([u8; 32], [u8; 32], bool), ChainError> {
    expect_scheme(signature.scheme(), Scheme::Ecdsa)?;
    match signature {
        Signature::Ecdsa { r, s, recovery: recovery @ (0 | 1) } => Ok((*r, *s, *recovery == 1)),
        _ => Err(ChainError::Signature),
    }
}

const fn invalid(problem: &'static str) -> ChainError {
    ChainError::Transaction { kind: KIND, problem }
}

const KIND: &str = "Ethereum transaction";

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use k256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::chain::ethereum_address;
    use crate::keys::PublicKey;

    const EXAMPLE: &[u8] = include_bytes!("../../examples/ethereum-transfer.eip1559.hex");

    fn sign(transaction: &EthereumTransaction, key: &SigningKey) -> Signature {
        let (signature, id) = key.sign_prehash_recoverable(&transaction.signing_hash());
        let (r, s) = signature.split_bytes();
        Signature::Ecdsa { r: r.into(), s: s.into(), recovery: id.to_byte() }
    }

    fn address(key: &SigningKey) -> String {
        let encoded = key.verifying_key().to_sec1_point(true);
        ethereum_address(&PublicKey::new(Scheme::Ecdsa, encoded.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn ethereum_example__should_be_a_transfer() {
        let text = EthereumTransaction::parse(EXAMPLE).unwrap().to_string();
        for line in [
            "chain id:         1",
            "to:               0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045",
            "value:            50000000000000000 wei",
            "gas limit:        21000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn assemble__should_give_a_transaction_that_alloy_attributes_to_the_signer() {
        let transaction = EthereumTransaction::parse(EXAMPLE).unwrap();
        // Several keys, so that both parities occur.
        let mut parities = std::collections::BTreeSet::new();
        for scalar in 1..=16 {
            let key = SigningKey::from_slice(&[scalar; 32]).unwrap();
            let signature = sign(&transaction, &key);
            let Signature::Ecdsa { recovery, .. } = signature else { unreachable!() };
            parities.insert(recovery);
            let raw = transaction.assemble(&signature, &address(&key)).unwrap();
            let signed = TxEip1559::eip2718_decode(&mut raw.as_slice()).unwrap();
            assert_eq!(signed.tx(), transaction.fields());
            assert_eq!(signed.recover_signer().unwrap().to_checksum(None), address(&key));
        }
        assert_eq!(parities.len(), 2);
    }

    #[test]
    fn assemble__should_refuse_signatures_that_are_not_the_senders() {
        let transaction = EthereumTransaction::parse(EXAMPLE).unwrap();
        let (key, other) = (SigningKey::from_slice(&[1; 32]).unwrap(), SigningKey::from_slice(&[2; 32]).unwrap());
        let good = sign(&transaction, &key);
        let Signature::Ecdsa { r, s, recovery } = good else { unreachable!() };
        let high_s = (-*k256::ecdsa::Signature::from_scalars(r, s).unwrap().s()).to_bytes().into();
        for bad in [
            sign(&transaction, &other),
            Signature::Ecdsa { r, s, recovery: 1 - recovery },
            Signature::Ecdsa { r, s, recovery: recovery + 2 },
            Signature::Ecdsa { r, s: high_s, recovery: 1 - recovery },
            Signature::Ecdsa { r: [0; 32], s, recovery },
            Signature::Ecdsa { r: [0xff; 32], s, recovery },
        ] {
            assert_eq!(transaction.assemble(&bad, &address(&key)), Err(ChainError::Signature), "{bad:?}");
        }
        let wrong = ChainError::Scheme { found: Scheme::Ed25519, wanted: Scheme::Ecdsa };
        assert_eq!(transaction.assemble(&Signature::Ed25519([1; 64]), &address(&key)), Err(wrong));
    }

    #[test]
    fn parse__should_refuse_what_is_no_unsigned_eip_1559_transaction() {
        let good = String::from_utf8(EXAMPLE.to_vec()).unwrap().trim().to_owned();
        let digits = good.trim_start_matches("0x");
        let key = SigningKey::from_slice(&[1; 32]).unwrap();
        let transaction = EthereumTransaction::parse(EXAMPLE).unwrap();
        let signed = transaction.assemble(&sign(&transaction, &key), &address(&key)).unwrap();
        for bad in [
            String::new(),
            "0x".to_owned(),
            "0x02".to_owned(),
            "zz".to_owned(),
            format!("{good}00"),
            good[..good.len() - 2].to_owned(),
            format!("01{}", &digits[2..]),
            hex::encode(signed),
        ] {
            assert!(EthereumTransaction::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(EthereumTransaction::parse(digits.to_uppercase().as_bytes()).unwrap(), transaction);
        let long = vec![b'0'; super::super::MAX_TRANSACTION_FILE_BYTES + 1];
        assert_eq!(EthereumTransaction::parse(&long), Err(ChainError::TooLong { len: long.len() }));
    }

    proptest! {
        #[test]
        fn parse__should_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = format!("02{}", hex::encode(&bytes));
            drop(EthereumTransaction::parse(text.as_bytes()));
            drop(EthereumTransaction::parse(&bytes));
        }
    }
}
