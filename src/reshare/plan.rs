//! Who deals what to whom: choosing it as the coordinator, and checking it as a participant. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Code, Failure};
use crate::ids::{NodeId, PartyIndex};
use crate::protocol::reshare::{OldKey, ResharePlan};
use crate::wallet::{KeyRecord, WalletRecord};
use crate::wire::request::ReshareRequest;
use crate::wire::sheet::{DealtKey, Participant, Sheet, Task};

/// What a coordinator chooses.
pub(super) struct Choice {
    /// The keys, and who deals them.
    pub keys: Vec<DealtKey>,
    /// Everybody who takes part.
    pub participants: Vec<Participant>,
}

/// Chooses the dealers of each key among `ready` nodes that are not in `without`, this node and new members first, and says
/// who takes part.
///
/// # Errors
/// What the client is told: too few can deal, or somebody whose signature is needed is not ready.
pub(super) fn choose(
    record: &WalletRecord,
    request: &ReshareRequest,
    me: NodeId,
    ready: &BTreeSet<NodeId>,
    without: &BTreeSet<NodeId>,
) -> Result<Choice, Failure> {
    let signers = others_who_sign(record, request);
    let absent: BTreeSet<NodeId> = signers.iter().copied().filter(|node| !ready.contains(node)).collect();
    if !absent.is_empty() {
        let reason = format!("{} of the nodes whose signature the reshare needs are not ready", absent.len());
        return Err(Failure { code: Code::ClusterNotReady, reason, culprits: absent });
    }
    let mut keys = Vec::new();
    for scheme in request.schemes() {
        let key = record
            .key(scheme)
            .ok_or_else(|| Failure::new(Code::KeyNotFound, format!("the wallet has no {scheme} key")))?;
        let needed = usize::from(key.group.threshold().signers());
        let mut dealers: Vec<Participant> = key
            .committee
            .iter()
            .filter(|member| ready.contains(&member.node) && !without.contains(&member.node))
            .copied()
            .collect();
        dealers.sort_by_key(|member| (member.node != me, !signers.contains(&member.node), member.index));
        if dealers.len() < needed {
            let reason = format!("{} of {needed} nodes that can deal the {scheme} key are ready", dealers.len());
            return Err(Failure::new(Code::NotMajority, reason));
        }
        dealers.truncate(needed);
        dealers.sort_by_key(|member| member.index);
        keys.push(DealtKey { scheme, generation: key.generation, dealers });
    }
    let nodes = participants(&keys, signers, me);
    Ok(Choice { keys, participants: numbered(nodes)? })
}

/// Checks what a sheet says of a wallet with this record against the client's request. The request's signatures are
/// checked apart.
///
/// # Errors
/// The code to refuse with.
pub(super) fn check(sheet: &Sheet, record: &WalletRecord, request: &ReshareRequest) -> Result<(), Code> {
    let Task::Reshare { wallet, keys, threshold, committee, .. } = &sheet.task else {
        return Err(Code::MsgValidation);
    };
    let as_asked = wallet == request.wallet()
        && *threshold == request.threshold()
        && committee == request.committee()
        && keys.iter().map(|key| key.scheme).eq(request.schemes());
    if !as_asked || record.wallet != *wallet {
        return Err(Code::ProtocolViolation);
    }
    for dealt in keys {
        let key = record.key(dealt.scheme).ok_or(Code::KeyNotFound)?;
        if dealt.generation != key.generation {
            return Err(Code::SessionStale);
        }
        let members = dealt.dealers.iter().all(|dealer| key.committee.contains(dealer));
        if !members || dealt.dealers.len() != usize::from(key.group.threshold().signers()) {
            return Err(Code::ProtocolViolation);
        }
    }
    let expected = participants(keys, others_who_sign(record, request), sheet.coordinator);
    let expected = numbered(expected).map_err(|failure| failure.code)?;
    if sheet.participants == expected { Ok(()) } else { Err(Code::ProtocolViolation) }
}

/// The engine's plan of a sheet that was checked.
///
/// # Errors
/// When it is none.
pub(super) fn engine_plan(sheet: &Sheet, record: &WalletRecord) -> Result<ResharePlan, Code> {
    let Task::Reshare { keys, threshold, committee, .. } = &sheet.task else { return Err(Code::Internal) };
    let seats = |members: &[Participant]| -> Result<BTreeMap<PartyIndex, PartyIndex>, Code> {
        members.iter().map(|member| Ok((sheet.index_of(member.node).ok_or(Code::Internal)?, member.index))).collect()
    };
    let old_key = |dealt: &DealtKey| {
        let group = record.key(dealt.scheme).ok_or(Code::KeyNotFound)?.group.clone();
        Ok((dealt.scheme, OldKey { group, dealers: seats(&dealt.dealers)? }))
    };
    let keys = keys.iter().map(old_key).collect::<Result<_, Code>>()?;
    Ok(ResharePlan { keys, threshold: *threshold, receivers: seats(committee)? })
}

/// Everybody who must sign the record that follows: the new committee, and the members of keys that stay.
fn others_who_sign(record: &WalletRecord, request: &ReshareRequest) -> BTreeSet<NodeId> {
    let schemes = request.schemes();
    let stays = |key: &&KeyRecord| !schemes.contains(&key.group.scheme());
    let of_keys_that_stay = record.keys.iter().filter(stays).flat_map(|key| &key.committee);
    request.committee().iter().chain(of_keys_that_stay).map(|member| member.node).collect()
}

/// Everybody who takes part: who deals, who must sign, and the coordinator.
fn participants(keys: &[DealtKey], signers: BTreeSet<NodeId>, coordinator: NodeId) -> BTreeSet<NodeId> {
    let dealers = keys.iter().flat_map(|key| &key.dealers).map(|dealer| dealer.node);
    dealers.chain(signers).chain([coordinator]).collect()
}

/// Numbers nodes for a session, by rank.
fn numbered(nodes: BTreeSet<NodeId>) -> Result<Vec<Participant>, Failure> {
    let index = |rank: usize| u8::try_from(rank + 1).ok().and_then(|rank| PartyIndex::try_from(rank).ok());
    let numbered = nodes.into_iter().enumerate().map(|(rank, node)| Some(Participant { node, index: index(rank)? }));
    numbered
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Failure::new(Code::MsgValidation, "more nodes would take part than a session can have"))
}
