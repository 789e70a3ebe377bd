//! What can be wrong with a configuration.

use std::path::PathBuf;

use figment::error::Kind;
use figment::{Figment, Metadata, Source};

use crate::error::Code;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be used at all.
    #[error("failed to read the configuration file {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The sources do not parse.
    #[error("failed to parse the configuration{origin}: {problem}")]
    Syntax {
        /// Where, as ` (in …)`; empty if unknown.
        origin: String,
        /// What is wrong. Never repeats a line of the file.
        problem: String,
    },
    /// A key is unknown or missing, or its value breaks its rules.
    #[error("configuration key `{key}`{origin}: {problem}; {fix}")]
    Key {
        /// The key, sections before it.
        key: String,
        /// Where its value came from, as ` (in …)`; empty if it has none or the rule is about several.
        origin: String,
        /// What is wrong. Never repeats the value.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// A secret cannot be read.
    #[error("failed to read the secret that `{key}` names: {problem}; {fix}")]
    Secret {
        /// The key or the flag that says where the secret is.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
}

impl ConfigError {
    /// The stable code of the error.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::Internal
    }

    pub(super) fn key(key: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Key { key: key.into(), origin: String::new(), problem: problem.into(), fix: fix.into() }
    }

    /// Adds where the value came from, if the error is about the value of one key.
    pub(super) fn located(mut self, sources: &Figment) -> Self {
        if let Self::Key { key, origin: place, .. } = &mut self
            && place.is_empty()
            && let Ok(value) = sources.find_value(key)
            && value.as_dict().is_none()
        {
            *place = sources.get_metadata(value.tag()).map_or_else(String::new, origin);
        }
        self
    }

    /// Says what figment found without repeating values: its own texts quote them, and the parsers quote whole lines.
    pub(super) fn from_figment(error: &figment::Error) -> Self {
        let origin = error.metadata.as_ref().map_or_else(String::new, origin);
        let mut key = error.path.join(".");
        let (problem, fix) = match &error.kind {
            // The path ends in the unknown key already.
            Kind::UnknownField(_, known) => {
                ("there is no such key".to_owned(), format!("remove it, or use one of: {}", known.join(", ")))
            }
            Kind::UnknownVariant(_, known) => {
                ("its value is not one of those it takes".to_owned(), format!("use one of: {}", known.join(", ")))
            }
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                ("its value is of the wrong kind or out of range".to_owned(), format!("give {}", in_words(expected)))
            }
            Kind::MissingField(name) => {
                key = if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
                ("it is missing".to_owned(), "give it a value".to_owned())
            }
            Kind::Message(text) if key.is_empty() => {
                return Self::Syntax { origin, problem: without_quoted_lines(text) };
            }
            _ => ("its value cannot be used".to_owned(), "see the commented sample configuration".to_owned()),
        };
        Self::Key { key, origin, problem, fix }
    }
}

/// Where a value came from; empty for a default.
fn origin(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(path)) => format!(" (in {})", path.display()),
        Some(Source::Code(_)) => String::new(),
        _ => format!(" (in {})", metadata.name),
    }
}

/// The TOML parser shows the line at fault between its first line, which says where, and its last, which says what.
fn without_quoted_lines(text: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.next_back() {
        None => first.to_owned(),
        Some(last) => format!("{first}: {last}"),
    }
}

/// serde's name of a type, as an operator would say it.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "a boolean" => "true or false",
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list",
        text if text.starts_with("struct ") => "a section of keys",
        text => text,
    }
}
