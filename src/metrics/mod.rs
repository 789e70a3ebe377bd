//! What happens to clients' requests, counted where they enter a node and leave it.
//!
//! ```text
//!  NodeHandle ─┐
//!  queue ──────┼─▶ Recorder ──▶ counters and histograms ──▶ /metrics
//!  native ─────┘
//! ```
//!
//! What actors know of themselves is not kept here: their snapshots are asked for when somebody looks. Labels are of
//! closed sets (kinds, schemes, codes, nodes of the peer book): what a client sends never becomes one.

mod recorder;

pub use recorder::{Kind, Recorder};
