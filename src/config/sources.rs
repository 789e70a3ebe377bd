//! Where values come from, besides the file: the environment and the command line.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::Error;
use figment::util::nest;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use zeroize::Zeroizing;

use super::mpcium::Translated;

/// What the variables that are configuration begin with.
const PREFIX: &str = "QUORATE_";
/// What separates sections and keys in their names.
const LEVEL: &str = "__";

/// A copy of environment variables. Wiped when dropped, since passphrases may be among them.
pub struct Environment(BTreeMap<String, Zeroizing<String>>);

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// These variables.
    #[must_use]
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// Adds `QUORATE_SECTION__KEY=value` as `section.key`. Variables with the prefix and without a level are not ours:
    /// container platforms set such for a service that has our name.
    pub(super) fn merge_into(&self, figment: Figment) -> Figment {
        self.0.iter().fold(figment, |figment, (name, value)| {
            let key = name.strip_prefix(PREFIX).filter(|key| key.contains(LEVEL));
            match key.map(|key| key.to_ascii_lowercase().replace(LEVEL, ".")) {
                // A name with an empty level says nothing.
                Some(key) if !key.split('.').any(str::is_empty) => figment.merge(One {
                    origin: format!("environment variable {name}"),
                    key,
                    value: value.parse().unwrap_or_else(|never| match never {}),
                }),
                _ => figment,
            }
        })
    }
}

/// What the command line says, by key. It overrides everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags(Vec<(String, Value)>);

impl Flags {
    /// Adds a value for a key, such as `node.name`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    pub(super) fn merge_into(&self, figment: Figment) -> Figment {
        self.0.iter().fold(figment, |figment, (key, value)| {
            figment.merge(One { origin: "command line".to_owned(), key: key.clone(), value: value.clone() })
        })
    }
}

/// Adds what a mpcium configuration says. Each value is told to come from the key under which it stands there.
pub(super) fn merge_translated(figment: Figment, path: &Path, values: Vec<Translated>) -> Figment {
    values.into_iter().fold(figment, |figment, Translated { theirs, ours, value }| {
        let origin = format!("{theirs} of {}", path.display());
        figment.merge(One { origin, key: ours.to_owned(), value })
    })
}

/// One value with its origin, so that an error can name it.
struct One {
    origin: String,
    key: String,
    value: Value,
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let dict = nest(&self.key, self.value.clone()).into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}
