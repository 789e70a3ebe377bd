//! The two messages that make a session.

use std::hint::black_box;
use std::mem;

use snow::{Builder, HandshakeState};

use crate::stack::wiped_after_engine;
use crate::transport::noise::keys::{LinkKeys, Role};
use crate::transport::noise::primitives::WipingResolver;
use crate::transport::noise::{NoiseError, Session};

const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_BLAKE2s";
/// A pattern without static keys, for a state that only takes another's place.
const BLANK_PATTERN: &str = "Noise_NN_25519_ChaChaPoly_BLAKE2s";

/// The length of an encoded [`Hello`], in bytes.
pub const HELLO_BYTES: usize = 16;
/// An ephemeral key, a hello and its tag.
const MESSAGE_BYTES: usize = 32 + HELLO_BYTES + 16;

/// What both handshake messages carry, sealed: which life of the sender's link speaks, and which of its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Random; a new one for every life of the link. When it changes, the sender has lost all sessions with us.
    pub life: u64,
    /// Counts the initiator's handshakes within its life, from 1; the response repeats it.
    pub attempt: u64,
}

impl Hello {
    fn to_bytes(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let (life, attempt) = bytes.split_at_mut(8);
        life.copy_from_slice(&self.life.to_be_bytes());
        attempt.copy_from_slice(&self.attempt.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; HELLO_BYTES]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { life: (number >> 64) as u64, attempt: number as u64 }
    }
}

/// A handshake that waits for its response.
pub struct Initiation {
    link: u64,
    state: Box<HandshakeState>,
}

impl Initiation {
    /// Starts a handshake with the random id `link`; gives the message to send.
    ///
    /// # Errors
    /// [`NoiseError::Engine`], for instance when the operating system gives no randomness.
    pub fn start(keys: &LinkKeys, link: u64, hello: Hello) -> Result<(Self, Vec<u8>), NoiseError> {
        wiped_after_engine(|| {
            let mut state = build(keys, link)?;
            let message = write(&mut state, hello)?;
            Ok((Self { link, state }, message))
        })
    }

    /// The handshake's link id.
    #[must_use]
    pub fn link(&self) -> u64 {
        self.link
    }

    /// Takes the response. One that is not authentic changes nothing: the true one may still come. After success the
    /// handshake is of no further use.
    ///
    /// # Errors
    /// [`NoiseError::NotAuthentic`].
    pub fn finish(&mut self, response: &[u8]) -> Result<(Session, Hello), NoiseError> {
        wiped_after_engine(|| {
            let hello = read(&mut self.state, response)?;
            Ok((into_session(self.link, &mut self.state)?, hello))
        })
    }
}

/// Answers the first message of a handshake: gives the session, which the caller must not write to before something
/// authentic has come out of it, the initiator's hello, and the response to send.
///
/// Costs four Diffie-Hellman computations if `init` is authentic, and two otherwise: about 0.3 ms.
///
/// # Errors
/// [`NoiseError::NotAuthentic`] when `init` is not from the peer or not for this link.
pub fn respond(keys: &LinkKeys, link: u64, init: &[u8], life: u64) -> Result<(Session, Hello, Vec<u8>), NoiseError> {
    wiped_after_engine(|| {
        let mut state = build(keys, link)?;
        let hello = read(&mut state, init)?;
        let response = write(&mut state, Hello { life, attempt: hello.attempt })?;
        Ok((into_session(link, &mut state)?, hello, response))
    })
}

fn build(keys: &LinkKeys, link: u64) -> Result<Box<HandshakeState>, NoiseError> {
    let params = PATTERN.parse().map_err(|_| NoiseError::Engine)?;
    let prologue = keys.prologue(link);
    let builder = Builder::with_resolver(params, Box::new(WipingResolver))
        .local_private_key(keys.secret())
        .and_then(|builder| builder.remote_public_key(keys.peer()))
        .and_then(|builder| builder.prologue(&prologue))
        .map_err(|_| NoiseError::Engine)?;
    let state = match keys.role() {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    };
    state.map(Box::new).map_err(|_| NoiseError::Engine)
}

fn write(state: &mut HandshakeState, hello: Hello) -> Result<Vec<u8>, NoiseError> {
    let mut message = vec![0; MESSAGE_BYTES];
    match state.write_message(&hello.to_bytes(), &mut message) {
        Ok(MESSAGE_BYTES) => Ok(message),
        Ok(_) | Err(_) => Err(NoiseError::Engine),
    }
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Hello, NoiseError> {
    if message.len() != MESSAGE_BYTES {
        return Err(NoiseError::NotAuthentic);
    }
    let mut hello = [0; HELLO_BYTES];
    match state.read_message(message, &mut hello) {
        Ok(HELLO_BYTES) => Ok(Hello::from_bytes(hello)),
        Ok(_) | Err(_) => Err(NoiseError::NotAuthentic),
    }
}

/// Turns a finished handshake into its session and overwrites, in place, the chaining key that it leaves behind.
fn into_session(link: u64, state: &mut HandshakeState) -> Result<Session, NoiseError> {
    let params = BLANK_PATTERN.parse().map_err(|_| NoiseError::Engine)?;
    let blank = Builder::with_resolver(params, Box::new(WipingResolver));
    let blank = blank.build_initiator().map_err(|_| NoiseError::Engine)?;
    let finished = mem::replace(state, blank);
    black_box(state);
    finished.into_stateless_transport_mode().map(|noise| Session::new(link, noise)).map_err(|_| NoiseError::Engine)
}
