//! Every accepted request ends exactly once: in a result, or in a typed failure, in time.
//!
//! An answer travels on a port that takes one answer; so what is left to check is that there is one. Only a node or an
//! actor that goes away may leave its clients without, and they notice at once.

use std::time::Duration;

use super::Found;
use crate::history::{Asked, History, Outcome};
use crate::plan::Ask;
use crate::run::{KEYGEN_DEADLINE, SIGNING_DEADLINE};

/// What a request may take beyond its deadline: a wallet that is pending is waited for, a slow disk is waited for, a halted
/// machine is not aware of it.
const GRACE: Duration = Duration::from_secs(12);

pub fn check(history: &History) -> Found {
    history.asked.iter().filter_map(|asked| broken(history, asked)).collect()
}

fn broken(history: &History, asked: &Asked) -> Option<String> {
    let Asked { node, ask, at, ended, .. } = asked;
    let Some((end, outcome)) = ended else {
        return Some(format!("node {node} never answered {ask:?}, asked at {at:?}"));
    };
    let limit = GRACE + if matches!(ask, Ask::Sign(_)) { SIGNING_DEADLINE } else { KEYGEN_DEADLINE };
    match outcome {
        Outcome::Nothing => Some(format!("node {node} did not answer {ask:?}, asked at {at:?}")),
        _ if *end - *at > limit => Some(format!("node {node} took {:?} for {ask:?}, asked at {at:?}", *end - *at)),
        Outcome::Lost if !history.struck_between(Some(*node), *at, *end).any(|struck| struck.loses_requests) => {
            Some(format!("node {node} lost {ask:?}, asked at {at:?}, and nothing had happened to it"))
        }
        _ => None,
    }
}
