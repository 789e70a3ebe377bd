//! The stack that a computation with secrets leaves behind.
//!
//! Ciphers and engines wipe what they own. What the compiler spills, and what they pass by value, stays on the stack until
//! something else is called that deep; on a thread that then waits, that is for long.

use std::hint::black_box;

/// How deep the stack is wiped behind a cipher, in words of 8 bytes: 16 KiB, which takes less than a microsecond.
const CIPHER_WORDS: usize = 2 << 10;
/// How deep it is wiped behind an engine: 256 KiB of the 2 MiB that a thread has, which takes some ten microseconds.
const ENGINE_WORDS: usize = 32 << 10;

/// Does the work of a cipher, and wipes the stack that it used.
///
/// This is a precaution that the language does not promise: it relies on one frame being laid where another was.
pub fn wiped_after<T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    wipe::<CIPHER_WORDS>();
    result
}

/// As [`wiped_after`], for the work of an engine, which reaches deeper. Also where the work panics.
pub fn wiped_after_engine<T>(work: impl FnOnce() -> T) -> T {
    /// Wipes when it goes, whichever way the work ends.
    struct Wiping;

    impl Drop for Wiping {
        fn drop(&mut self) {
            wipe::<ENGINE_WORDS>();
        }
    }

    let _wiping = Wiping;
    apart(work)
}

/// Keeps the work out of the caller's own frame, which is not wiped.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe<const WORDS: usize>() {
    let mut area = [0_u64; WORDS];
    // Nobody reads it: the compiler must not find that out.
    black_box(&mut area);
}
