//! No session is slowed by faults that have nothing to do with it.
//!
//! The two bystanders hold a wallet of their own. Whatever happens to the other nodes and to the ways to them, requests for
//! that wallet get their signatures as on any other day.

use std::time::Duration;

use super::Found;
use crate::history::{Asked, History, Outcome};
use crate::plan::{ASIDE, Ask};

/// Virtual time stands still while nodes compute, so all of this is waiting.
const LIMIT: Duration = Duration::from_millis(250);

pub fn check(history: &History) -> Found {
    let mut found = Found::new();
    for Asked { node, ask, at, ended, .. } in &history.asked {
        if !matches!(ask, Ask::Sign(sign) if sign.wallet == ASIDE) {
            continue;
        }
        match ended {
            Some((end, Outcome::Signed(_))) if *end - *at <= LIMIT => {}
            Some((end, Outcome::Signed(_))) => {
                found.push(format!("node {node} took {:?} for {ask:?} at {at:?}", *end - *at));
            }
            other => found.push(format!("node {node} did not sign {ask:?} at {at:?}: {other:?}")),
        }
    }
    found
}
