//! Whom to sign with: exactly t ready members of a committee who can all work with each other.

use crate::ids::{NodeId, Scheme};
use crate::registry::View;
use crate::wire::sheet::Participant;

/// Fewer members are ready than must sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{ready} of {needed} signers are ready")]
pub struct TooFewReady {
    /// The most that could sign together.
    pub ready: usize,
    /// How many must.
    pub needed: usize,
}

/// Picks `signers` members of `committee`, this node among them, all ready and pairwise able to run `scheme`.
/// Peers in `without` are not considered. `turn` rotates the order of preference, so that the load is shared.
///
/// The committee has at most 32 members; the search tries members in turn and steps back where they cannot all work
/// together.
///
/// # Errors
/// When there is no such quorum.
pub fn choose_quorum(
    view: &View,
    scheme: Scheme,
    committee: &[Participant],
    signers: u8,
    without: &[NodeId],
    turn: u64,
) -> Result<Vec<Participant>, TooFewReady> {
    let needed = usize::from(signers);
    let ready = view.ready();
    let Some(me) = committee.iter().find(|member| member.node == view.me && ready.contains(&member.node)) else {
        return Err(TooFewReady { ready: 0, needed });
    };
    let mut candidates: Vec<Participant> = committee
        .iter()
        .filter(|member| member.node != view.me && ready.contains(&member.node) && !without.contains(&member.node))
        .copied()
        .collect();
    if let Ok(len) = u64::try_from(candidates.len())
        && len > 0
    {
        candidates.rotate_left(usize::try_from(turn % len).unwrap_or(0));
    }
    let mut chosen = vec![*me];
    let mut most = 1;
    if extend(view, scheme, &candidates, needed, &mut chosen, &mut most) {
        chosen.sort_by_key(|member| member.index);
        Ok(chosen)
    } else {
        Err(TooFewReady { ready: most, needed })
    }
}

/// Grows `chosen` from `candidates` until it has `needed` members; leaves it as it was if that cannot be.
fn extend(
    view: &View,
    scheme: Scheme,
    candidates: &[Participant],
    needed: usize,
    chosen: &mut Vec<Participant>,
    most: &mut usize,
) -> bool {
    *most = (*most).max(chosen.len());
    if chosen.len() >= needed {
        return true;
    }
    let missing = needed - chosen.len();
    let mut rest = candidates;
    while rest.len() >= missing
        && let Some((&next, after)) = rest.split_first()
    {
        rest = after;
        if chosen.iter().all(|member| view.can_run(scheme, member.node, next.node)) {
            chosen.push(next);
            if extend(view, scheme, rest, needed, chosen, most) {
                return true;
            }
            chosen.pop();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::ids::{Epoch, PartyIndex};
    use crate::registry::PeerStatus;

    fn node(number: u8) -> NodeId {
        NodeId(Uuid::from_u128(u128::from(number)))
    }

    fn committee(n: u8) -> Vec<Participant> {
        (1..=n).map(|i| Participant { node: node(i), index: PartyIndex::try_from(i).unwrap() }).collect()
    }

    /// Node 1's view of n nodes where the listed pairs hold no common epoch.
    fn view(n: u8, unpaired: &[(u8, u8)]) -> View {
        let epoch = |a: u8, b: u8| {
            let apart = unpaired.contains(&(a, b)) || unpaired.contains(&(b, a));
            (!apart && a != b).then_some(Epoch(1))
        };
        let peers = (2..=n)
            .map(|i| {
                let announced: BTreeMap<_, _> =
                    (1..=n).filter_map(|j| Some((node(j), [epoch(i, j)?].into()))).collect();
                let status = PeerStatus {
                    leased: true,
                    linked: true,
                    serving: true,
                    own_epochs: epoch(1, i).into_iter().collect(),
                    announced,
                    rtt: None,
                };
                (node(i), status)
            })
            .collect();
        View { me: node(1), peers, able: true }
    }

    fn indices(quorum: &[Participant]) -> Vec<u8> {
        quorum.iter().map(|p| p.index.get()).collect()
    }

    #[test]
    fn quorum__should_hold_this_node_and_exactly_t_members_in_order() {
        let view = view(5, &[]);
        for turn in 0..7 {
            let quorum = choose_quorum(&view, Scheme::Ecdsa, &committee(5), 3, &[], turn).unwrap();
            assert_eq!((quorum.len(), quorum[0].node), (3, node(1)));
            assert!(quorum.is_sorted_by_key(|p| p.index));
        }
    }

    #[test]
    fn quorum__should_step_back_from_members_that_cannot_work_together() {
        // 2 works with nobody but 1; 3 and 4 work with everybody else.
        let view = view(4, &[(2, 3), (2, 4)]);
        let quorum = choose_quorum(&view, Scheme::Ecdsa, &committee(4), 3, &[], 0).unwrap();
        assert_eq!(indices(&quorum), [1, 3, 4]);
        let quorum = choose_quorum(&view, Scheme::Ed25519, &committee(4), 3, &[], 0).unwrap();
        assert_eq!(indices(&quorum), [1, 2, 3], "only ECDSA needs pairs");
    }

    #[test]
    fn quorum__should_not_be_found_by_a_node_that_is_not_ready_itself() {
        let mut view = view(3, &[]);
        view.able = false;
        let none = choose_quorum(&view, Scheme::Ed25519, &committee(3), 2, &[], 0);
        assert_eq!(none.unwrap_err(), TooFewReady { ready: 0, needed: 2 });
    }

    #[test]
    fn quorum__should_leave_out_the_unready_and_the_unwanted_and_say_how_many_remain() {
        let mut view = view(3, &[]);
        view.peers.get_mut(&node(2)).unwrap().linked = false;
        let chosen = choose_quorum(&view, Scheme::Ed25519, &committee(3), 2, &[], 0).unwrap();
        assert_eq!(indices(&chosen), [1, 3]);
        let none = choose_quorum(&view, Scheme::Ed25519, &committee(3), 2, &[node(3)], 0);
        assert_eq!(none.unwrap_err(), TooFewReady { ready: 1, needed: 2 });
    }
}
