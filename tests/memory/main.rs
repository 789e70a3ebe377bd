//! Where the secrets of a node are in the memory of its process, and where they are no longer.
//!
//! ```text
//!   this process                         another one of this program
//!   ────────────                         ───────────────────────────
//!   starts it ─────────────────────────▶ a cluster of real nodes
//!                ◀── secrets, masked ─── does something, says which secrets it saw, and waits
//!   reads its memory, counts copies
//!                ─── go on ────────────▶ ...
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `claims` | what is claimed of each phase |
//! | `child` | the phases: what the other process does |
//! | `process` | that process, as this one sees it |
//! | `scan` | the search |
//!
//! Looked for are 16 bytes in a row of each secret, either half of it, in both byte orders, in every mapping that may be
//! written or belongs to no file. What is not found so: a secret under another representation, as a table of digits of a
//! scalar or limbs of 52 bits; registers.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails should stop")]

mod child;
mod claims;
mod process;
mod scan;

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// As the program has it: what is freed is wiped.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);
