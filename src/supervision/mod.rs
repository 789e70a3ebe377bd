//! Supervision: how an actor's children are started, watched, joined and started again.

mod address;
mod beside;
mod child;
mod intensity;
mod watched;

pub use address::{Address, CallError, Deliver, Unavailable};
pub use beside::beside;
pub(crate) use beside::heard_as;
pub use child::{Child, JoinTimeout};
pub use intensity::{Intensity, RestartLimit, Verdict};
pub(crate) use watched::Watched;
pub use watched::{STUCK_AFTER, Stuck};
