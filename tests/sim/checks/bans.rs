//! A ban that was said to be durable holds through everything, until it is lifted.

use super::Found;
use crate::history::{Ban, History};

pub fn check(history: &History) -> Found {
    let held = |node: usize, peer: usize| {
        let mut ends = history.bans.iter().filter_map(|(_, ban)| match ban {
            Ban::Held { node: at, banned } if *at == node => Some(banned.contains(&peer)),
            _ => None,
        });
        ends.all(|held| held)
    };
    let lost = history.bans.iter().filter_map(|(at, ban)| match ban {
        Ban::Made { node, peer } if !held(*node, *peer) => {
            Some(format!("node {node} has forgotten the ban of node {peer} at {at:?}"))
        }
        _ => None,
    });
    lost.collect()
}
