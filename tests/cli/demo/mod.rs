//! The demonstration, checked with libraries that the program does not use for it.

mod report;
mod text;
