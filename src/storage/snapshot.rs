//! What can be seen of the storage actor.

use std::time::Duration;

use super::StorageError;
use super::writer::GroupReport;

/// The storage actor's account of itself since it started.
#[derive(Debug, Clone, Default)]
pub struct StorageSnapshot {
    /// Writes that wait for the disk.
    pub waiting: usize,
    /// The bytes of the writes that wait.
    pub waiting_bytes: usize,
    /// Writes that are on their way to the disk.
    pub writing: usize,
    /// Reads on the blocking pool.
    pub reading: usize,
    /// Reads begun.
    pub reads: u64,
    /// Writes that were written, or not written for a reason of their own, such as a condition.
    pub writes: u64,
    /// Of those, the ones that were not written.
    pub unwritten: u64,
    /// Groups that came back from the disk.
    pub groups: u64,
    /// Of those, the ones that were synced.
    pub synced_groups: u64,
    /// How long groups took on their way to the disk, together.
    pub group_time: Duration,
    /// How long the slowest took.
    pub slowest_group: Duration,
    /// The writes of the last group.
    pub last_group: usize,
    /// The writes of the largest group.
    pub largest_group: usize,
    /// Reads and writes that were refused because too many waited.
    pub refused: u64,
    /// The last failed read. A failed group ends the actor, and is told by its supervision event.
    pub last_error: Option<StorageError>,
}

impl StorageSnapshot {
    /// Counts a group that came back, and hands on why it failed, if it did.
    pub(super) fn take_group(&mut self, report: GroupReport) -> Option<StorageError> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.groups = self.groups.saturating_add(1);
        self.synced_groups = self.synced_groups.saturating_add(u64::from(report.synced));
        self.group_time = self.group_time.saturating_add(report.took);
        self.slowest_group = self.slowest_group.max(report.took);
        self.writes = self.writes.saturating_add(count(report.writes));
        self.unwritten = self.unwritten.saturating_add(count(report.unwritten));
        self.last_group = report.writes;
        self.largest_group = self.largest_group.max(report.writes);
        report.failure
    }
}
