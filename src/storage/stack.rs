//! The stack that a cipher leaves behind.
//!
//! Ciphers wipe what they own. What the compiler spills, round keys and blocks under work, stays on the stack until
//! something else is called that deep; on a thread that then waits, that is for long.

use std::hint::black_box;

use zeroize::Zeroize;

/// How deep the wiped stack reaches, in words of 8 bytes: 16 KiB, which takes less than a microsecond.
const DEPTH_WORDS: usize = 2 << 10;

/// Does the work, and wipes the stack that it used.
///
/// This is a precaution that the language does not promise: it relies on one frame being laid where another was.
pub(super) fn wiped_after<T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    wipe();
    result
}

/// Keeps the work out of the caller's own frame, which is not wiped.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    let mut area = [0_u64; DEPTH_WORDS];
    black_box(&mut area).zeroize();
}
