//! What every run must keep, one promise per file. A checker looks at a history and says what breaks its promise.

mod bans;
mod blame;
mod bystanders;
mod deadlines;
mod ends;
mod honest;
mod nothing_twice;
mod one_generation;
mod one_signature;
mod recovery;
mod verifies;

use crate::history::History;

/// What a checker found.
pub type Found = Vec<String>;

/// Looks at a history, and says what breaks its promise.
type Checker = fn(&History) -> Found;

/// All checkers, by name.
const ALL: [(&str, Checker); 11] = [
    ("ends", ends::check),
    ("one_signature", one_signature::check),
    ("verifies", verifies::check),
    ("deadlines", deadlines::check),
    ("bystanders", bystanders::check),
    ("one_generation", one_generation::check),
    ("blame", blame::check),
    ("honest", honest::check),
    ("bans", bans::check),
    ("nothing_twice", nothing_twice::check),
    ("recovery", recovery::check),
];

/// Everything that all checkers find: the checker's name, and what it says.
pub fn all(history: &History) -> Vec<(&'static str, String)> {
    ALL.into_iter().flat_map(|(name, check)| check(history).into_iter().map(move |found| (name, found))).collect()
}
