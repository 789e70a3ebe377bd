//! What was handed to the server and is not known to have arrived there: numbers in, outcomes out.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::transport::broker::PublishError;

/// How many messages may be unconfirmed.
const MAX_MESSAGES: usize = 4096;
/// How many bytes they may have together.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What becomes of a message.
pub(super) type Outcome = oneshot::Receiver<Result<(), PublishError>>;

/// Messages in the order in which they were handed over, numbered without gaps.
#[derive(Default)]
pub(super) struct Unconfirmed {
    waiting: VecDeque<Waiting>,
    next: u64,
    bytes: usize,
}

struct Waiting {
    bytes: usize,
    outcome: Option<oneshot::Sender<Result<(), PublishError>>>,
}

impl Waiting {
    fn settle(&mut self, outcome: Result<(), PublishError>) {
        if let Some(waiting) = self.outcome.take() {
            // Nobody may be interested any more.
            let _ = waiting.send(outcome);
        }
    }
}

impl Unconfirmed {
    /// The number of the next message, if there is room for it.
    pub(super) fn room_for(&self, bytes: usize) -> Option<u64> {
        let fits = self.waiting.len() < MAX_MESSAGES && self.bytes.saturating_add(bytes) <= MAX_BYTES;
        fits.then_some(self.next)
    }

    /// The next message was handed over.
    pub(super) fn push(&mut self, bytes: usize) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        self.waiting.push_back(Waiting { bytes, outcome: Some(sender) });
        self.bytes = self.bytes.saturating_add(bytes);
        self.next += 1;
        outcome
    }

    /// Whether anything is unconfirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The server says that nobody listens where message `number` went.
    pub(super) fn unheard(&mut self, number: u64) {
        let position = number.checked_sub(self.first()).and_then(|position| usize::try_from(position).ok());
        if let Some(waiting) = position.and_then(|position| self.waiting.get_mut(position)) {
            waiting.settle(Err(PublishError::NoResponders));
        }
    }

    /// The server has come to message `number`, and so past all before it. A number that was not given yet, which
    /// somebody must have made up, means nothing.
    pub(super) fn reached(&mut self, number: u64) {
        while number < self.next && self.first() <= number {
            let Some(mut waiting) = self.waiting.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(waiting.bytes);
            waiting.settle(Ok(()));
        }
    }

    /// The connection was lost, and with it perhaps any of them.
    pub(super) fn lost(&mut self) {
        self.bytes = 0;
        for mut waiting in self.waiting.drain(..) {
            waiting.settle(Err(PublishError::Disconnected));
        }
    }

    /// The number of the oldest unconfirmed message, or of the next one if there is none.
    fn first(&self) -> u64 {
        self.next.saturating_sub(u64::try_from(self.waiting.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(outcomes: &mut [Outcome]) -> Vec<Option<Result<(), PublishError>>> {
        outcomes.iter_mut().map(|outcome| outcome.try_recv().ok()).collect()
    }

    #[test]
    fn messages__should_be_settled_in_order_and_once() {
        let mut table = Unconfirmed::default();
        let mut all: Vec<Outcome> = (0..4).map(|_| table.push(1)).collect();
        table.unheard(1);
        assert_eq!(outcomes(&mut all), [None, Some(Err(PublishError::NoResponders)), None, None]);
        table.reached(2);
        assert_eq!(outcomes(&mut all), [Some(Ok(())), None, Some(Ok(())), None], "the second has its outcome already");
        table.unheard(0);
        table.reached(1);
        assert_eq!(outcomes(&mut all), [None; 4], "what comes late changes nothing");
        table.lost();
        assert_eq!(outcomes(&mut all), [None, None, None, Some(Err(PublishError::Disconnected))]);
        assert!(table.is_empty());
        let mut later = [table.push(1)];
        table.unheard(4);
        assert_eq!(outcomes(&mut later), [Some(Err(PublishError::NoResponders))], "numbers go on after a loss");
    }

    #[test]
    fn numbers__should_mean_nothing_before_they_are_given() {
        let mut table = Unconfirmed::default();
        let mut all = [table.push(1)];
        for made_up in [1, 7, u64::MAX] {
            table.unheard(made_up);
            table.reached(made_up);
        }
        assert_eq!(outcomes(&mut all), [None]);
    }

    #[test]
    fn table__should_bound_messages_and_bytes() {
        let mut table = Unconfirmed::default();
        for _ in 0..MAX_MESSAGES {
            assert!(table.room_for(0).is_some());
            drop(table.push(0));
        }
        assert_eq!(table.room_for(0), None);
        table.reached(0);
        assert!(table.room_for(MAX_BYTES).is_some());
        drop(table.push(MAX_BYTES));
        table.reached(1);
        assert_eq!(table.room_for(1), None);
        table.lost();
        assert!(table.room_for(MAX_BYTES).is_some());
        assert_eq!(table.room_for(usize::MAX), None);
    }
}
