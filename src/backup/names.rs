//! How backups are named: by node and time, so that a folder sorts itself.
//!
//! ```text
//! <node>-20261120T193817042Z.full.age                          a full one
//! <node>-20261120T193817042Z.full.manifest                     what it holds
//! <node>-20261120T193817042Z.to-20261121T193817042Z.diff.age   what has changed since
//! ```

use std::path::Path;

use crate::identity::rfc3339;
use crate::ids::NodeName;

const FULL: &str = ".full.age";
const MANIFEST: &str = ".full.manifest";
const DIFFERENTIAL: &str = ".diff.age";
/// Stands between the two times of a differential one, and sorts it behind the full one.
const TO: &str = ".to-";
/// What is not finished ends so.
const NEW: &str = ".new";

/// The name of one backup. Orders by time: a full one, then the differential ones that rest on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BackupName {
    /// When the full one was made, in milliseconds since the Unix epoch.
    pub full_ms: u64,
    /// When this was made, if it is not the full one itself.
    pub differential_ms: Option<u64>,
}

impl BackupName {
    /// Parses the name of a file; `None` if it is no backup of this node.
    pub(super) fn parse(node: &NodeName, file: &str) -> Option<Self> {
        let rest = file.strip_prefix(node.as_str())?.strip_prefix('-')?;
        if let Some(full) = rest.strip_suffix(FULL) {
            return Some(Self { full_ms: parse_time(full)?, differential_ms: None });
        }
        let (full, differential) = rest.strip_suffix(DIFFERENTIAL)?.split_once(TO)?;
        Some(Self { full_ms: parse_time(full)?, differential_ms: Some(parse_time(differential)?) })
    }

    /// When it was made.
    pub(super) fn made_ms(self) -> u64 {
        self.differential_ms.unwrap_or(self.full_ms)
    }

    /// The name of the file.
    pub(super) fn file(self, node: &NodeName) -> String {
        let full = time(self.full_ms);
        match self.differential_ms {
            None => format!("{node}-{full}{FULL}"),
            Some(made) => format!("{node}-{full}{TO}{}{DIFFERENTIAL}", time(made)),
        }
    }

    /// The name of the file that says what the full one holds.
    pub(super) fn manifest(self, node: &NodeName) -> String {
        format!("{node}-{}{MANIFEST}", time(self.full_ms))
    }
}

/// What a file is called while it is being written.
pub(super) fn unfinished(file: &str) -> String {
    format!("{file}{NEW}")
}

/// Whether a file is one of this node's that was never finished.
pub(super) fn is_unfinished(node: &NodeName, file: &str) -> bool {
    let Some(finished) = file.strip_suffix(NEW) else { return false };
    let of_manifest = finished.strip_suffix(MANIFEST).map(|start| format!("{start}{FULL}"));
    BackupName::parse(node, of_manifest.as_deref().unwrap_or(finished)).is_some()
}

/// The full backup that a differential one rests on, by its name; `None` if its name is not one of a differential one.
pub(super) fn base_of(path: &Path) -> Option<std::path::PathBuf> {
    let (full, _) = path.file_name()?.to_str()?.strip_suffix(DIFFERENTIAL)?.rsplit_once(TO)?;
    Some(path.with_file_name(format!("{full}{FULL}")))
}

/// `20261120T193817042Z`.
fn time(ms: u64) -> String {
    let text: String = rfc3339(ms / 1000).chars().filter(|c| !matches!(c, '-' | ':' | 'Z')).collect();
    format!("{text}{:03}Z", ms % 1000)
}

/// The inverse of [`time`]: it is the same text again, or none.
fn parse_time(text: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| -> Option<u64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute, second, ms) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?, digits(15, 18)?);
    // Days since the epoch, counting years from March so that the leap day comes last.
    let (years, months) = if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day.checked_sub(1)?;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second;
    let parsed = seconds * 1000 + ms;
    (time(parsed) == text).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names__should_sort_as_backups_were_made() {
        let node: NodeName = "node-1.a".parse().unwrap();
        let names = [(0, None), (0, Some(5)), (0, Some(86_400_000)), (4_107_542_400_123, None)]
            .map(|(full_ms, differential_ms)| BackupName { full_ms, differential_ms });
        let files = names.map(|name| name.file(&node));
        assert_eq!(files[1], "node-1.a-19700101T000000000Z.to-19700101T000000005Z.diff.age");
        assert_eq!(files[3], "node-1.a-21000301T000000123Z.full.age");
        for (name, file) in names.iter().zip(&files) {
            assert_eq!(BackupName::parse(&node, file), Some(*name));
            assert!(is_unfinished(&node, &unfinished(file)) && !is_unfinished(&node, file));
        }
        assert!(is_unfinished(&node, &unfinished(&names[0].manifest(&node))));
        assert!(names.is_sorted() && files.is_sorted());
        assert_eq!(base_of(Path::new(&files[1])).as_deref(), Some(Path::new(&files[0])));
        assert_eq!(base_of(Path::new(&files[0])), None);
    }

    #[test]
    fn names__should_be_read_strictly() {
        let node: NodeName = "a".parse().unwrap();
        for file in [
            "b-19700101T000000000Z.full.age",
            "a-x-19700101T000000000Z.full.age",
            "a-19700101T000000000Z.full.manifest",
            "a-19700101T000000000.full.age",
            "a-19700100T000000000Z.full.age",
            "a-19700231T000000000Z.full.age",
            "a-19700101T240000000Z.full.age",
            "a-1970010\u{e9}T000000000Z.full.age",
            "a-19700101T000000000Z.to-x.diff.age",
            "a-00000101T000000000Z.full.age",
        ] {
            assert_eq!(BackupName::parse(&node, file), None, "{file}");
        }
    }
}
