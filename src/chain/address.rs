//! Addresses of public keys.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address as EthereumAddress;
use bitcoin::hashes::Hash;
use bitcoin::key::{CompressedPublicKey, Secp256k1, TapTweak as _, TweakedPublicKey, UntweakedPublicKey};
use bitcoin::taproot::TapNodeHash;
use bitcoin::{KnownHrp, ScriptBuf, secp256k1};

use super::{ChainError, expect_scheme};
use crate::ids::{InvalidId, Scheme};
use crate::keys::{PublicKey, TapTweak};

/// A Bitcoin network, as far as addresses tell them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// `bc1…`
    #[default]
    Mainnet,
    /// `tb1…`
    Testnet,
    /// `tb1…`
    Signet,
    /// `bcrt1…`
    Regtest,
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 4] = [Self::Mainnet, Self::Testnet, Self::Signet, Self::Regtest];

    /// The usual name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    const fn hrp(self) -> KnownHrp {
        match self {
            Self::Mainnet => KnownHrp::Mainnet,
            Self::Testnet | Self::Signet => KnownHrp::Testnets,
            Self::Regtest => KnownHrp::Regtest,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Network {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|network| network.as_str() == text)
            .ok_or(InvalidId { what: "network", problem: "it is none of mainnet, testnet, signet, regtest" })
    }
}

/// The native segregated-witness address of an ECDSA key (BIP-84, BIP-173).
///
/// # Errors
/// When the key is of another scheme or no point.
pub fn bitcoin_p2wpkh(key: &PublicKey, network: Network) -> Result<String, ChainError> {
    let key = CompressedPublicKey(secp256k1_key(key, Scheme::Ecdsa)?);
    Ok(bitcoin::Address::p2wpkh(&key, network.hrp()).to_string())
}

/// The taproot address of a BIP-340 key (BIP-86, BIP-341, BIP-350), tweaked as signatures under it will be.
///
/// # Errors
/// When the key is of another scheme or no point.
pub fn bitcoin_p2tr(key: &PublicKey, tweak: Option<TapTweak>, network: Network) -> Result<String, ChainError> {
    Ok(bitcoin::Address::p2tr_tweaked(output_key(key, tweak)?, network.hrp()).to_string())
}

/// The x-only key (32 bytes) that a signature with this tweak verifies under, computed by libsecp256k1.
///
/// # Errors
/// When the key is of another scheme or no point.
pub fn taproot_output_key(key: &PublicKey, tweak: Option<TapTweak>) -> Result<[u8; 32], ChainError> {
    Ok(output_key(key, tweak)?.serialize())
}

/// The output script of [`bitcoin_p2tr`].
///
/// # Errors
/// When the key is of another scheme or no point.
pub fn taproot_script(key: &PublicKey, tweak: Option<TapTweak>) -> Result<ScriptBuf, ChainError> {
    Ok(ScriptBuf::new_p2tr_tweaked(output_key(key, tweak)?))
}

/// The Ethereum address of an ECDSA key with its checksum (EIP-55).
///
/// # Errors
/// When the key is of another scheme or no point.
pub fn ethereum_address(key: &PublicKey) -> Result<String, ChainError> {
    Ok(ethereum_address_of(&secp256k1_key(key, Scheme::Ecdsa)?).to_checksum(None))
}

/// The Solana address of an Ed25519 key: its bytes in base58.
///
/// # Errors
/// When the key is of another scheme.
pub fn solana_address(key: &PublicKey) -> Result<String, ChainError> {
    expect_scheme(key.scheme(), Scheme::Ed25519)?;
    Ok(bs58::encode(key.as_bytes()).into_string())
}

/// The last 20 bytes of Keccak-256 of X and Y.
pub(super) fn ethereum_address_of(key: &secp256k1::PublicKey) -> EthereumAddress {
    let [_prefix, coordinates @ ..] = key.serialize_uncompressed();
    EthereumAddress::from_raw_public_key(&coordinates)
}

pub(super) fn secp256k1_key(key: &PublicKey, wanted: Scheme) -> Result<secp256k1::PublicKey, ChainError> {
    expect_scheme(key.scheme(), wanted)?;
    secp256k1::PublicKey::from_slice(key.as_bytes()).map_err(|_| ChainError::Key)
}

fn output_key(key: &PublicKey, tweak: Option<TapTweak>) -> Result<TweakedPublicKey, ChainError> {
    let (internal, _parity): (UntweakedPublicKey, _) = secp256k1_key(key, Scheme::Bip340)?.x_only_public_key();
    let root = match tweak {
        None => return Ok(TweakedPublicKey::dangerous_assume_tweaked(internal)),
        Some(TapTweak::KeyPathOnly) => None,
        Some(TapTweak::MerkleRoot(root)) => Some(TapNodeHash::from_byte_array(root)),
    };
    let (output, _parity) = internal.tap_tweak(&Secp256k1::verification_only(), root);
    Ok(output)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    fn key(scheme: Scheme, hex: &str) -> PublicKey {
        PublicKey::new(scheme, &hex::decode(hex).unwrap()).unwrap()
    }

    /// The first receiving key of BIP-84's test vector.
    const BIP84: &str = "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c";
    /// The first receiving key of BIP-86's test vector (internal key, even y).
    const BIP86: &str = "02cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115";
    /// The secp256k1 generator, the public key of the private key 1.
    const GENERATOR: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    #[test]
    fn bitcoin_p2wpkh__should_match_bip_84() {
        let key = key(Scheme::Ecdsa, BIP84);
        for (network, address) in [
            (Network::Mainnet, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
            (Network::Testnet, "tb1qcr8te4kr609gcawutmrza0j4xv80jy8zmfp6l0"),
        ] {
            assert_eq!(bitcoin_p2wpkh(&key, network).unwrap(), address);
        }
        let generator = self::key(Scheme::Ecdsa, GENERATOR);
        // BIP-173's examples.
        assert_eq!(bitcoin_p2wpkh(&generator, Network::Mainnet).unwrap(), "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
        assert_eq!(bitcoin_p2wpkh(&generator, Network::Signet).unwrap(), "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx");
    }

    #[test]
    fn bitcoin_p2tr__should_match_bip_86() {
        let odd = BIP86.replacen("02", "03", 1);
        // Whichever of the two points has this x.
        for hex in [BIP86, &odd] {
            let key = key(Scheme::Bip340, hex);
            assert_eq!(
                bitcoin_p2tr(&key, Some(TapTweak::KeyPathOnly), Network::Mainnet).unwrap(),
                "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"
            );
        }
    }

    #[test]
    fn taproot_output_key__should_match_bip_341() {
        // From BIP-341's wallet test vectors: with a script tree, and without one.
        for (internal, root, output) in [
            (
                "d6889cb081036e0faefa3a35157ad71086b123b2b144b649798b494c300a961d",
                None,
                "53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343",
            ),
            (
                "187791b6f712a8ea41c8ecdd0ee77fab3e85263b37e1ec18a3651926b3a6cf27",
                Some("5b75adecf53548f3ec6ad7d78383bf84cc57b55a3127c72b9a2481752dd88b21"),
                "147c9c57132f6e7ecddba9800bb0c4449251c92a1e60371ee77557b6620f3ea3",
            ),
        ] {
            let key = key(Scheme::Bip340, &format!("02{internal}"));
            let tweak = root.map_or(TapTweak::KeyPathOnly, |root| {
                TapTweak::MerkleRoot(hex::decode(root).unwrap().try_into().unwrap())
            });
            assert_eq!(hex::encode(taproot_output_key(&key, Some(tweak)).unwrap()), output);
            assert_eq!(hex::encode(taproot_output_key(&key, None).unwrap()), internal);
        }
    }

    #[test]
    fn ethereum_address__should_have_its_checksum() {
        assert_eq!(
            ethereum_address(&key(Scheme::Ecdsa, GENERATOR)).unwrap(),
            "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
        );
        // EIP-55's own examples, whose keys are not given: the checksum alone.
        for address in ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"] {
            assert_eq!(address.parse::<EthereumAddress>().unwrap().to_checksum(None), address);
        }
    }

    #[test]
    fn solana_address__should_be_base58_of_the_key() {
        // The token program's id, which is published in both forms.
        let bytes = "06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9";
        assert_eq!(
            solana_address(&key(Scheme::Ed25519, bytes)).unwrap(),
            "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
        );
    }

    #[test]
    fn addresses__should_refuse_other_schemes_and_what_is_no_point() {
        let ecdsa = key(Scheme::Ecdsa, GENERATOR);
        let off_curve = key(Scheme::Ecdsa, &format!("02{}", "ff".repeat(32)));
        assert_eq!(ethereum_address(&off_curve), Err(ChainError::Key));
        let wrong = |wanted| ChainError::Scheme { found: Scheme::Ecdsa, wanted };
        assert_eq!(solana_address(&ecdsa), Err(wrong(Scheme::Ed25519)));
        assert_eq!(bitcoin_p2tr(&ecdsa, None, Network::Mainnet), Err(wrong(Scheme::Bip340)));
    }
}
