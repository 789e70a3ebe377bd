//! Which writes go to the disk together: a plain value that the actor asks.
//!
//! ```text
//!  push ──► waiting ──► next_group ──► (the disk) ──► group_done ──► next_group ...
//!           bounded     all that waits, in order, up to the limits of a group
//! ```
//!
//! While one group is being synced the next one gathers. Under load a sync is shared by all that came meanwhile; a
//! write that comes alone goes alone, at once.

use std::collections::VecDeque;

/// Limits of the queue of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most writes that may wait.
    pub waiting: usize,
    /// The most bytes that may wait. One write is let in whatever its size when nothing waits.
    pub waiting_bytes: usize,
    /// The most writes of one group.
    pub group: usize,
    /// A group ends before the write that would bring it over this many bytes.
    pub group_bytes: usize,
}

impl Default for QueueLimits {
    /// 1024 writes and 16 MiB waiting; groups of up to 128 writes and 4 MiB.
    fn default() -> Self {
        Self { waiting: 1024, waiting_bytes: 16 << 20, group: 128, group_bytes: 4 << 20 }
    }
}

/// Writes of type `W` and their sizes, in the order in which they came.
#[derive(Debug)]
pub(super) struct WriteQueue<W> {
    waiting: VecDeque<(W, usize)>,
    waiting_bytes: usize,
    writing: usize,
    limits: QueueLimits,
}

impl<W> WriteQueue<W> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { waiting: VecDeque::new(), waiting_bytes: 0, writing: 0, limits }
    }

    /// Takes a write in, or gives it back where too much waits.
    pub(super) fn push(&mut self, write: W, bytes: usize) -> Result<(), W> {
        let after = self.waiting_bytes.saturating_add(bytes);
        let full = self.waiting.len() >= self.limits.waiting;
        if full || (!self.waiting.is_empty() && after > self.limits.waiting_bytes) {
            return Err(write);
        }
        self.waiting.push_back((write, bytes));
        self.waiting_bytes = after;
        Ok(())
    }

    /// What is to be written now: empty while a group is on its way, and when nothing waits.
    pub(super) fn next_group(&mut self) -> Vec<W> {
        let mut group = Vec::new();
        let mut group_bytes = 0_usize;
        if self.writing > 0 {
            return group;
        }
        while let Some((_, bytes)) = self.waiting.front() {
            group_bytes = group_bytes.saturating_add(*bytes);
            if group.len() >= self.limits.group || (!group.is_empty() && group_bytes > self.limits.group_bytes) {
                break;
            }
            if let Some((write, bytes)) = self.waiting.pop_front() {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
                group.push(write);
            }
        }
        self.writing = group.len();
        group
    }

    /// The group has come back from the disk.
    pub(super) const fn group_done(&mut self) {
        self.writing = 0;
    }

    /// How many writes wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes wait.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How many writes are on their way to the disk.
    pub(super) const fn writing(&self) -> usize {
        self.writing
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "a test is named subject__should_claim")]

    use super::*;

    const LIMITS: QueueLimits = QueueLimits { waiting: 4, waiting_bytes: 100, group: 3, group_bytes: 50 };

    fn queue(writes: &[(u8, usize)]) -> WriteQueue<u8> {
        let mut queue = WriteQueue::new(LIMITS);
        for (write, bytes) in writes {
            queue.push(*write, *bytes).unwrap();
        }
        queue
    }

    #[test]
    fn queue__should_group_all_that_came_meanwhile_in_order() {
        let mut queue = queue(&[(1, 1)]);
        assert_eq!(queue.next_group(), [1]);
        for write in [2, 3, 4] {
            queue.push(write, 1).unwrap();
            assert!(queue.next_group().is_empty(), "one group at a time");
        }
        queue.group_done();
        assert_eq!(queue.next_group(), [2, 3, 4]);
        queue.group_done();
        assert!(queue.next_group().is_empty());
        assert_eq!((queue.waiting(), queue.waiting_bytes(), queue.writing()), (0, 0, 0));
    }

    #[test]
    fn queue__should_limit_a_group_by_number_and_bytes() {
        let mut by_number = queue(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(by_number.next_group(), [1, 2, 3]);
        by_number.group_done();
        assert_eq!(by_number.next_group(), [4]);

        let mut by_bytes = queue(&[(1, 30), (2, 20), (3, 1)]);
        assert_eq!(by_bytes.next_group(), [1, 2]);
        by_bytes.group_done();
        assert_eq!(by_bytes.next_group(), [3]);

        let mut large_alone = queue(&[(1, 80), (2, 1)]);
        assert_eq!(large_alone.next_group(), [1]);
    }

    #[test]
    fn queue__should_give_back_what_exceeds_its_limits() {
        let mut by_number = queue(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(by_number.push(5, 1), Err(5));
        assert_eq!(by_number.next_group(), [1, 2, 3]);
        assert_eq!(by_number.push(5, 1), Ok(()));

        let mut by_bytes = queue(&[(1, 60)]);
        assert_eq!(by_bytes.push(2, 41), Err(2));
        assert_eq!(by_bytes.push(3, 40), Ok(()));
        let mut empty = queue(&[]);
        assert_eq!(empty.push(1, 1000), Ok(()), "one is let in whatever its size");
        assert_eq!(empty.push(2, 1), Err(2));
    }
}
