//! What the demonstration signs: the shipped examples, or the user's own files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::chain::{ChainError, EthereumTransaction, MAX_TRANSACTION_FILE_BYTES, SolanaMessageFile, TaprootSpendFile};

const ETHEREUM: &[u8] = include_bytes!("../../examples/ethereum-transfer.eip1559.hex");
const BITCOIN: &[u8] = include_bytes!("../../examples/bitcoin-taproot-spend.json");
const SOLANA: &[u8] = include_bytes!("../../examples/solana-transfer.json");

/// The x coordinate of secp256k1's generator: an output key that is nobody's.
const ANY_OUTPUT_KEY: [u8; 32] = [
    0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b, 0x07, 0x02, 0x9b, 0xfc,
    0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17, 0x98,
];

/// One unsigned transaction for each chain, parsed.
pub struct Transactions {
    pub(super) ethereum: EthereumTransaction,
    pub(super) bitcoin: TaprootSpendFile,
    pub(super) solana: SolanaMessageFile,
}

impl Transactions {
    /// Reads these files; for each one that is not given, takes the example.
    ///
    /// # Errors
    /// When a file cannot be read, is longer than [`MAX_TRANSACTION_FILE_BYTES`], or is not what it should be.
    pub fn read(ethereum: Option<&Path>, bitcoin: Option<&Path>, solana: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            ethereum: parse(ethereum, ETHEREUM, EthereumTransaction::parse)?,
            bitcoin: parse(bitcoin, BITCOIN, |bytes| {
                let file = TaprootSpendFile::parse(bytes)?;
                // The wallet is new: no script in the file can be its own. Better said now than after a key generation.
                file.clone().for_wallet(ANY_OUTPUT_KEY)?;
                Ok(file)
            })?,
            solana: parse(solana, SOLANA, SolanaMessageFile::parse)?,
        })
    }
}

fn parse<T>(
    path: Option<&Path>,
    example: &[u8],
    parse: impl FnOnce(&[u8]) -> Result<T, ChainError>,
) -> anyhow::Result<T> {
    let Some(path) = path else {
        return parse(example).context("failed to use an example");
    };
    let used = read(path).and_then(|bytes| Ok(parse(&bytes)?));
    used.with_context(|| format!("failed to use {}", path.display()))
}

/// Reads a file, but never more than a byte beyond the limit.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let limit = MAX_TRANSACTION_FILE_BYTES as u64;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TRANSACTION_FILE_BYTES {
        return Err(anyhow!("it is longer than {MAX_TRANSACTION_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}
