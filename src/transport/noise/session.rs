//! The keys of one handshake at work: messages into records and back.
//!
//! ```text
//!   record (at most 65 535 bytes) = ChaCha20-Poly1305(key, counter, header ‖ chunk)
//!   header: bit 0 first of its message, bit 1 last of its message, bit 2 control
//! ```
//!
//! The counter authenticates a record's place and the header its message's ends, so records cannot be left out,
//! reordered or moved to another message without notice.
//!
//! A message is sealed and opened where it lies: the header of a chunk stands on the byte before it, which is room before
//! the first chunk, and before any other the end of a chunk that is sealed already, or is put back.

use std::mem;
use std::ops::Deref;

use serde_bytes::ByteBuf;
use snow::StatelessTransportState;

use crate::sabotage::{self, Flaw};
use crate::secret::SecretBuffer;
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

/// A message in clear, with room for a header before it. Wiped after use.
pub struct Plaintext(SecretBuffer);

impl Plaintext {
    /// How much room there is.
    pub const ROOM: usize = 1;

    /// A message that begins after [`ROOM`](Self::ROOM) bytes of `buffer`.
    #[must_use]
    pub fn behind_room(buffer: SecretBuffer) -> Self {
        Self(buffer)
    }

    /// A message of these bytes.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = SecretBuffer::zeroed(Self::ROOM + bytes.len());
        if let Some(message) = buffer.get_mut(Self::ROOM..) {
            message.copy_from_slice(bytes);
        }
        Self(buffer)
    }
}

impl Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.get(Self::ROOM..).unwrap_or_default()
    }
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
    /// Its bytes.
    pub bytes: Plaintext,
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
    pub fn seal(&mut self, content: Content, message: Plaintext) -> Result<Sealed, NoiseError> {
        let count = message.len().div_ceil(CHUNK_BYTES).max(1);
        if count > MAX_RECORDS {
            return Err(NoiseError::TooLong);
        }
        let counter = self.sealed;
        if counter >= MAX_COUNTER {
            return Err(NoiseError::Exhausted);
        }
        let Plaintext(mut buffer) = message;
        let mut records = Vec::with_capacity(count);
        for index in 0..count {
            let begin = index * CHUNK_BYTES;
            let end = buffer.len().min(begin + Plaintext::ROOM + CHUNK_BYTES);
            let chunk = buffer.get_mut(begin..end).ok_or(NoiseError::Engine)?;
            *chunk.first_mut().ok_or(NoiseError::Engine)? = header(content, index == 0, index + 1 == count);
            let mut record = vec![0; chunk.len() + TAG_BYTES];
            wiped_after(|| self.noise.write_message(self.sealed, chunk, &mut record))
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
        let mut buffer = SecretBuffer::zeroed(records.iter().map(|record| record.len()).sum());
        let mut headers = Vec::with_capacity(records.len());
        // Where the next header is to stand: on the last byte of what is there.
        let mut begin = 0;
        for (counter, record) in counters().zip(records) {
            let room = buffer.get_mut(begin..begin + record.len()).ok_or(NoiseError::NotAuthentic)?;
            let kept = room.first().copied().ok_or(NoiseError::NotAuthentic)?;
            let len =
                wiped_after(|| self.noise.read_message(counter, record, room)).map_err(|_| NoiseError::NotAuthentic)?;
            let Some([head, ..]) = room.get_mut(..len) else { return Err(NoiseError::NotAuthentic) };
            headers.push(mem::replace(head, kept));
            begin += len - Plaintext::ROOM;
        }
        buffer.truncate(begin + Plaintext::ROOM);
        let control = headers.first().is_some_and(|first| first & CONTROL != 0);
        let content = if control { Content::Control } else { Content::Message };
        let whole = (1..).zip(&headers).all(|(nth, found)| *found == header(content, nth == 1, nth == headers.len()));
        if !whole {
            return Err(NoiseError::Spliced);
        }
        counters().for_each(|counter| self.opened.mark(counter));
        Ok(Opened { content, bytes: Plaintext(buffer) })
    }
}

fn header(content: Content, first: bool, last: bool) -> u8 {
    let kind = match content {
        Content::Control => CONTROL,
        Content::Message => 0,
    };
    kind | if first { FIRST } else { 0 } | if last { LAST } else { 0 }
}
