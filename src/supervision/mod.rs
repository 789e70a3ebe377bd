//! Supervision: how an actor's children are started, watched, joined and started again.

mod address;
mod child;
mod intensity;

pub use address::{Address, CallError, Deliver, Unavailable};
pub use child::{Child, JoinTimeout};
pub use intensity::{Intensity, RestartLimit, Verdict};
