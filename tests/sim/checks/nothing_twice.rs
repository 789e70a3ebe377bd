//! No message comes out of a link twice, however often the broker delivers it.

use super::Found;
use crate::history::{History, Traffic};

pub fn check(history: &History) -> Found {
    let more = history.traffic.iter().filter(|traffic| traffic.delivered > traffic.sent);
    let found = more.map(|Traffic { from, to, sent, delivered }| {
        format!("node {from} sent {sent} messages to node {to}, which got {delivered}")
    });
    found.collect()
}
