//! A server's version.

use std::fmt;

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl Version {
    /// The oldest that a connection is made to: older ones have no key-value buckets that work.
    pub const OLDEST: Self = Self { major: 2, minor: 9, patch: 0 };
    /// The oldest that quorate is tested with. Below it, a warning.
    pub const SUPPORTED: Self = Self { major: 2, minor: 11, patch: 0 };

    /// Reads `2.15.1`, also with a `v` before it, or with more after it (`2.12.0-RC.1`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| part.split_at(end).0);
            digits.parse().ok()
        });
        let mut next = || numbers.next().flatten();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version__should_be_read_from_what_servers_say() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        let table = [
            ("2.15.1", version(2, 15, 1)),
            ("v2.9.10", version(2, 9, 10)),
            ("2.12.0-RC.1", version(2, 12, 0)),
            ("2.12", None),
            ("", None),
            ("two.ten.one", None),
            ("99999999999.0.0", None),
        ];
        for (text, expected) in table {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn versions__should_be_ordered_by_number() {
        assert!(Version::parse("2.9.10") < Some(Version::SUPPORTED));
        assert!(Version::parse("2.8.4") < Some(Version::OLDEST));
        assert!(Version::parse("2.100.0") > Some(Version::SUPPORTED));
    }
}
