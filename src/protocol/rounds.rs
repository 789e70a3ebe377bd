//! What every engine with rounds does alike: take messages, step from one complete round to the next, end on a fault.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::slots::{Received, Slots};
use super::{Abort, AbortReason, Outgoing, Progress, Recipient};
use crate::ids::PartyIndex;
use crate::wire::codec;

/// An engine that goes through stages, one for each open round.
pub(super) trait Staged {
    /// What the run is for.
    type Output;

    /// Where its messages wait.
    fn slots(&mut self) -> &mut Slots;

    /// Whether the first messages have been made. Those of others may be there before.
    fn is_started(&self) -> bool;

    /// Leaves the open stage for the next, with all messages of its round. After a fault no stage must be open.
    fn step(&mut self, received: &Received) -> Result<Progress<Self::Output>, Fault>;

    /// Starts with the first messages, and goes on with what had come before.
    fn begin(&mut self, first: Result<Progress<Self::Output>, Fault>) -> Result<Progress<Self::Output>, Abort> {
        let progress = first.map_err(|fault| self.end(fault, 1))?;
        self.advance(progress)
    }

    /// Takes one message.
    fn take(&mut self, from: PartyIndex, round: u8, payload: &[u8]) -> Result<Progress<Self::Output>, Abort> {
        match self.slots().put(from, round, payload) {
            Ok(()) => self.advance(Progress::default()),
            Err(dropped) => Ok(Progress { dropped: Some(dropped), ..Progress::default() }),
        }
    }

    /// Takes every round that is complete.
    fn advance(&mut self, mut progress: Progress<Self::Output>) -> Result<Progress<Self::Output>, Abort> {
        while self.is_started() {
            let round = self.slots().open_round();
            let Some(received) = self.slots().take_complete() else { break };
            let step = self.step(&received).map_err(|fault| self.end(fault, round))?;
            progress.send.extend(step.send);
            progress.output = step.output;
        }
        Ok(progress)
    }

    /// Ends the run: nothing is taken any more.
    fn end(&mut self, fault: Fault, round: u8) -> Abort {
        self.slots().end();
        fault.at(round)
    }
}

/// Decodes a round's messages, or names everybody whose message does not decode or is not `well_formed`.
pub(super) fn decode_all<T: DeserializeOwned>(
    received: &Received,
    max_bytes: usize,
    well_formed: impl Fn(&T) -> bool,
) -> Result<BTreeMap<PartyIndex, T>, Fault> {
    let mut decoded = BTreeMap::new();
    let mut culprits = BTreeSet::new();
    for (&party, payload) in received {
        match codec::decode::<T>(payload, max_bytes) {
            Ok(message) if well_formed(&message) => {
                decoded.insert(party, message);
            }
            _ => {
                culprits.insert(party);
            }
        }
    }
    Fault::unless_empty(AbortReason::Malformed, culprits)?;
    Ok(decoded)
}

/// One message to everybody else.
pub(super) fn broadcast<T: Serialize, O>(round: u8, message: &T, max_bytes: usize) -> Result<Progress<O>, Fault> {
    let payload = codec::encode(message, max_bytes).map_err(|_| Fault::engine())?;
    let outgoing = Outgoing { to: Recipient::All, round, payload: payload.into() };
    Ok(Progress { send: vec![outgoing], ..Progress::default() })
}
