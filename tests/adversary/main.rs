//! Members that lie and outsiders that interfere: real nodes must drop, refuse or abort, name the liar where it can be
//! known, and go on serving everybody else.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod destruction;
mod idempotency;
mod keygen;
mod outsider;
mod pairing;
mod refusals;
mod reshare;
mod signing_proposals;
mod signing_rounds;
mod stage;
