//! The layout of a Solana message, checked from its first byte to its last.
//!
//! All lists are preceded by their length as a compact-u16 of 1 to 3 bytes:
//!
//! ```text
//!  [0x80 for version 0] ‖ signatures required ‖ signed read-only ‖ unsigned read-only
//!  ‖ account keys, 32 bytes each ‖ recent blockhash, 32 bytes
//!  ‖ instructions: program index ‖ account indices ‖ data
//!  [‖ version 0: address table lookups: table key ‖ writable indices ‖ read-only indices]
//! ```

use super::ChainError;
use super::solana::{MAX_TRANSACTION_BYTES, SIGNATURE_BYTES, invalid};

/// A message whose layout was checked to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// Where the account keys begin; the first is the signer.
    pub(super) keys_at: usize,
    keys: usize,
    pub(super) instructions: usize,
    pub(super) transfers: Vec<Transfer>,
}

/// `SystemInstruction::Transfer`: accounts from and to, data `2_u32 ‖ lamports_u64`, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) lamports: u64,
}

impl Message {
    /// Checks the layout, and that there is exactly one signer.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, ChainError> {
        if bytes.len() > MAX_TRANSACTION_BYTES - SIGNATURE_BYTES {
            return Err(invalid("the message is too long for a transaction of 1,232 bytes"));
        }
        let mut walk = Walk { bytes: &bytes, at: 0 };
        let versioned = match bytes.first() {
            Some(0x80) => walk.byte().map(|_| true)?,
            Some(0x81..) => return Err(invalid("the message is of an unknown version")),
            _ => false,
        };
        let [signers, read_only_signed, read_only_unsigned] = *walk.chunk::<3>()?;
        if signers != 1 || read_only_signed != 0 {
            return Err(invalid("the message does not have exactly one signer, who pays the fee"));
        }
        let keys = walk.length()?;
        let keys_at = walk.at;
        for _ in 0..keys {
            walk.chunk::<32>()?;
        }
        if keys < 1 + usize::from(read_only_unsigned) {
            return Err(invalid("the message has fewer account keys than its header counts"));
        }
        let _blockhash = walk.chunk::<32>()?;
        let mut message =
            Self { bytes: Vec::new(), keys_at, keys, instructions: walk.length()?, transfers: Vec::new() };
        let mut highest_account = 0;
        for _ in 0..message.instructions {
            let program = walk.byte()?;
            let (accounts, data) = (walk.list()?, walk.list()?);
            // The fee payer is never a program.
            if program == 0 || usize::from(program) >= keys {
                return Err(invalid("an instruction's program is not among the account keys"));
            }
            highest_account = accounts.iter().copied().fold(highest_account, u8::max);
            let program_key = bytes.get(keys_at + usize::from(program) * 32..).and_then(<[u8]>::first_chunk);
            if program_key == Some(&SYSTEM_PROGRAM) {
                message.transfers.extend(Transfer::parse(accounts, data));
            }
        }
        let looked_up = if versioned { walk.table_lookups()? } else { 0 };
        if usize::from(highest_account) >= keys + looked_up {
            return Err(invalid("an instruction's account is not among the account keys"));
        }
        if walk.at != bytes.len() {
            return Err(invalid("bytes follow the message"));
        }
        let mut distinct: Vec<&[u8]> =
            bytes.get(keys_at..).map(|rest| rest.chunks(32).take(keys).collect()).unwrap_or_default();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != keys {
            return Err(invalid("the message lists an account key twice"));
        }
        message.bytes = bytes;
        Ok(message)
    }

    pub(super) fn account_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.get(self.keys_at..).unwrap_or_default().chunks(32).take(self.keys)
    }

    pub(super) fn signer(&self) -> &[u8] {
        self.account_keys().next().unwrap_or_default()
    }
}

impl Transfer {
    fn parse(accounts: &[u8], data: &[u8]) -> Option<Self> {
        let ([from, to], [2, 0, 0, 0, lamports @ ..]) = (accounts, data) else { return None };
        let lamports = u64::from_le_bytes(lamports.try_into().ok()?);
        Some(Self { from: *from, to: *to, lamports })
    }
}

/// Reads a message from its start to its end.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ChainError> {
        let end = self.at.checked_add(count).ok_or(CUT_SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(CUT_SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], ChainError> {
        self.take(N)?.first_chunk().ok_or(CUT_SHORT)
    }

    fn byte(&mut self) -> Result<u8, ChainError> {
        self.chunk::<1>().map(|[byte]| *byte)
    }

    /// A compact-u16: 7 bits per byte, lowest first, at most 3 bytes, in its only encoding.
    fn length(&mut self) -> Result<usize, ChainError> {
        let mut value = 0_usize;
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let one_way = shift == 0 || byte != 0;
                return if one_way && u16::try_from(value).is_ok() { Ok(value) } else { Err(BAD_LENGTH) };
            }
        }
        Err(BAD_LENGTH)
    }

    fn list(&mut self) -> Result<&'a [u8], ChainError> {
        let length = self.length()?;
        self.take(length)
    }

    /// Gives the number of accounts that the lookups add.
    fn table_lookups(&mut self) -> Result<usize, ChainError> {
        let mut accounts = 0_usize;
        for _ in 0..self.length()? {
            let _table = self.chunk::<32>()?;
            let added = self.list()?.len() + self.list()?.len();
            accounts = accounts.saturating_add(added);
        }
        Ok(accounts)
    }
}

const CUT_SHORT: ChainError = invalid("the message is cut short");
const BAD_LENGTH: ChainError = invalid("a length in the message is malformed");
const SYSTEM_PROGRAM: [u8; 32] = [0; 32];

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    #[test]
    fn length__should_have_one_encoding() {
        let length = |bytes: &[u8]| Walk { bytes, at: 0 }.length().ok();
        for (bytes, value) in [
            (&[0][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x80, 1], Some(128)),
            (&[0xff, 0xff, 3], Some(65_535)),
            (&[0x80, 0], None),
            (&[0x80, 0x80, 0], None),
            (&[0x80, 0x80, 4], None),
            (&[0x80, 0x80, 0x80, 1], None),
            (&[0x80], None),
        ] {
            assert_eq!(length(bytes), value, "{bytes:x?}");
        }
    }
}
