//! The keys of one handshake at work: messages into records and back.
//!
//! ```text
//!   record (at most 65 535 bytes) = ChaCha20-Poly1305(key, counter, header ‖ chunk)
//!   header: bit 0 first of its message, bit 1 last of its message, bit 2 control
//! ```
//!
//! The counter authenticates a record's place and the header its message's ends, so records cannot be left out,
//! reordered or moved to another message without notice.

use serde_bytes::ByteBuf;
use snow::StatelessTransportState;
use zeroize::Zeroizing;

use crate::sabotage::{self, Flaw};
use crate::stack::wiped_after;
use crate::transport::noise::NoiseError;
use crate::transport::noise::replay::ReplayWindow;
use crate::wire::frame::{MAX_RECORD_BYTES, MAX_RECORDS};

const TAG_BYTES: usize = 16;
const CHUNK_BYTES: usize = MAX_RECORD_BYTES - TAG_BYTES - 1;

const FIRST: u8 = 1;
const LAST: u8 = 2;
const CONTROL: u8 = 4;

/// The most records that one session seals or opens: far below where Noise and the cipher end, far above where a new
/// handshake is due.
const MAX_COUNTER: u64 = 1 << 40;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Between the links themselves.
    Control,
    /// For a service of the node.
    Message,
}

/// A sealed message.
pub struct Sealed {
    /// The nonce of the first record.
    pub counter: u64,
    /// 1 to [`MAX_RECORDS`] records.
    pub records: Vec<ByteBuf>,
}

/// An opened message.
pub struct Opened {
    /// What it is.
    pub content: Content,
    /// Its bytes, wiped after use.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// The keys of one handshake, and what has been done with them.
pub struct Session {
    link: u64,
    noise: StatelessTransportState,
    sealed: u64,
    opened: ReplayWindow,
}

impl Session {
    pub(super) fn new(link: u64, noise: StatelessTransportState) -> Self {
        Self { link, noise, sealed: 0, opened: ReplayWindow::default() }
    }

    /// The id of the handshake that made the session.
    #[must_use]
    pub fn link(&self) -> u64 {
        self.link
    }

    /// How many records were sealed by the side that sealed more.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.sealed.max(self.opened.next())
    }

    /// Seals one message.
    ///
    /// # Errors
    /// [`NoiseError::TooLong`] when it does not fit a frame, [`NoiseError::Exhausted`] when the keys are used up.
    pub fn seal(&mut self, content: Content, bytes: &[u8]) -> Result<Sealed, NoiseError> {
        let count = bytes.len().div_ceil(CHUNK_BYTES).max(1);
        if count > MAX_RECORDS {
            return Err(NoiseError::TooLong);
        }
        let counter = self.sealed;
        if counter >= MAX_COUNTER {
            return Err(NoiseError::Exhausted);
        }
        let mut records = Vec::with_capacity(count);
        let mut plaintext = Zeroizing::new(Vec::with_capacity(1 + bytes.len().min(CHUNK_BYTES)));
        let mut rest = bytes;
        for index in 0..count {
            let (chunk, later) = rest.split_at(rest.len().min(CHUNK_BYTES));
            rest = later;
            plaintext.clear();
            plaintext.push(header(content, index == 0, index + 1 == count));
            plaintext.extend_from_slice(chunk);
            let mut record = vec![0; plaintext.len() + TAG_BYTES];
            wiped_after(|| self.noise.write_message(self.sealed, &plaintext, &mut record))
                .map_err(|_| NoiseError::Engine)?;
            self.sealed += 1;
            records.push(ByteBuf::from(record));
        }
        Ok(Sealed { counter, records })
    }

    /// Opens one message. Nothing is remembered of what does not open, so forgeries change nothing.
    ///
    /// # Errors
    /// [`NoiseError::Replayed`], [`NoiseError::NotAuthentic`], or [`NoiseError::Spliced`].
    pub fn open(&mut self, counter: u64, records: &[ByteBuf]) -> Result<Opened, NoiseError> {
        let counters = || (counter..MAX_COUNTER + MAX_RECORDS as u64).take(records.len());
        if records.is_empty() || counters().count() != records.len() {
            return Err(NoiseError::NotAuthentic);
        }
        if !counters().all(|counter| self.opened.is_fresh(counter)) && !sabotage::has(Flaw::TakesReplays) {
            return Err(NoiseError::Replayed);
        }
        let total = records.iter().map(|record| record.len()).sum();
        let longest = records.iter().map(|record| record.len()).max().unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(total));
        let mut plaintext = Zeroizing::new(vec![0; longest]);
        let mut headers = Vec::with_capacity(records.len());
        for (counter, record) in counters().zip(records) {
            let len = wiped_after(|| self.noise.read_message(counter, record, &mut plaintext))
                .map_err(|_| NoiseError::NotAuthentic)?;
            let (header, chunk) = plaintext.get(..len).and_then(<[u8]>::split_first).ok_or(NoiseError::NotAuthentic)?;
            headers.push(*header);
            bytes.extend_from_slice(chunk);
        }
        let control = headers.first().is_some_and(|first| first & CONTROL != 0);
        let content = if control { Content::Control } else { Content::Message };
        let whole = (1..).zip(&headers).all(|(nth, found)| *found == header(content, nth == 1, nth == headers.len()));
        if !whole {
            return Err(NoiseError::Spliced);
        }
        counters().for_each(|counter| self.opened.mark(counter));
        Ok(Opened { content, bytes })
    }
}

fn header(content: Content, first: bool, last: bool) -> u8 {
    let kind = match content {
        Content::Control => CONTROL,
        Content::Message => 0,
    };
    kind | if first { FIRST } else { 0 } | if last { LAST } else { 0 }
}
