//! How many members' queries are answered at a time: pure.

use std::collections::BTreeMap;

use crate::ids::NodeId;

/// The most queries of one member that are answered at a time; it asks again about what it was not told.
pub(crate) const MAX_ANSWERING: usize = 64;

/// The queries that are being answered.
#[derive(Default)]
pub(crate) struct Answering(BTreeMap<NodeId, usize>);

impl Answering {
    /// Another query of `member` comes. Says whether it is to be answered; then [`Answering::done`] must follow.
    pub fn begin(&mut self, member: NodeId) -> bool {
        let count = self.0.entry(member).or_default();
        let has_room = *count < MAX_ANSWERING;
        *count += usize::from(has_room);
        has_room
    }

    /// A query of `member` is answered.
    pub fn done(&mut self, member: NodeId) {
        if let Some(count) = self.0.get_mut(&member) {
            *count = count.saturating_sub(1);
        }
    }

    /// All of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().sum()
    }
}
