//! The server's side of the mpcium client protocol: streams, subjects, result events and error codes.
//!
//! ```text
//!  client ──▶ mpc-keygen  (mpc.keygen_request.*)  ──▶ node ──▶ mpc (mpc.mpc_keygen_result.>)  ──▶ client
//!         ──▶ mpc-signing (mpc.signing_request.*) ──▶ node ──▶ mpc (mpc.mpc_signing_result.>) ──▶ client
//!         ──▶ mpc:reshare (no stream)             ──▶ node ──▶ mpc (mpc.mpc_reshare_result.>) ──▶ client
//! ```
//!
//! Requests are in [`wire::request`](crate::wire::request). Everything here is a value: no connection, no runtime.

mod code;
mod event;
mod subject;

pub use code::{ErrorCode, MAX_DELIVERY_ATTEMPTS};
pub use event::{EventError, KeygenEvent, ReshareEvent, ResultType, SigningEvent};
pub use subject::{
    CLIENT_ID_HEADER, ClientId, KEYGEN, KEYGEN_RESULT, MessageKey, RESHARE_REQUEST, RESHARE_RESULT, RESULT_STREAM,
    RESULT_SUBJECTS, Requests, SIGNING, SIGNING_RESULT,
};
