//! Supervision: how an actor's children are started, watched, joined and started again.

mod address;

pub use address::{Address, CallError, Deliver, Unavailable};
