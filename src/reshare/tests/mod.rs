//! Who deals what to whom, as coordinators choose it and participants check it.

mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use uuid::Uuid;

use super::plan;
use crate::error::Code;
use crate::identity::{Algorithm, NodeIdentity, PeerBook, RequestKey};
use crate::ids::{Generation, NodeId, PartyIndex, Scheme, SessionId, Threshold};
use crate::testing::PlantedWallet;
use crate::wallet::WalletRecord;
use crate::wire::request::ReshareRequest;
use crate::wire::sheet::{Participant, SHEET_VERSION, Sheet, Task};

/// The record of a wallet of nodes 1 to 3, in 2-of-3, in all schemes.
static RECORD: LazyLock<WalletRecord> = LazyLock::new(|| {
    let identity =
        |number: u8| Arc::new(NodeIdentity::generate(format!("node{number}").parse().unwrap(), node(number)).unwrap());
    let identities: Vec<_> = (1..=3).map(identity).collect();
    let peers = PeerBook::new(identities.iter().map(|identity| identity.member()).collect()).unwrap();
    let (cluster, wallet, threshold) = ("c".parse().unwrap(), "w".parse().unwrap(), Threshold::new(2, 3).unwrap());
    let planted = PlantedWallet::deal(&cluster, &peers, &identities, &wallet, threshold, &Scheme::ALL);
    planted.certificate.record().clone()
});

fn node(number: u8) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(number)))
}

fn nodes(numbers: &[u8]) -> BTreeSet<NodeId> {
    numbers.iter().map(|&number| node(number)).collect()
}

fn participants(numbers: &[u8]) -> Vec<Participant> {
    let index = |index: u8| PartyIndex::try_from(index).unwrap();
    (1..).zip(numbers).map(|(rank, &number)| Participant { node: node(number), index: index(rank) }).collect()
}

fn request(signers: u8, to: &[u8], schemes: &[Scheme]) -> ReshareRequest {
    let initiator = RequestKey::generate(Algorithm::Ed25519).unwrap();
    let nodes: Vec<NodeId> = to.iter().map(|&number| node(number)).collect();
    let request = ReshareRequest::builder("w".parse().unwrap(), "r".parse().unwrap(), signers, &nodes);
    request.key_types(schemes).sign_with(&initiator).unwrap()
}

/// The numbers of the nodes that deal the ECDSA key, and of those that take part.
fn chosen(to: &[u8], me: u8, ready: &[u8], without: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Code> {
    let request = request(2, to, &Scheme::ALL);
    let choice = plan::choose(&RECORD, &request, node(me), &nodes(ready), &nodes(without));
    let choice = choice.map_err(|failure| failure.code)?;
    let numbers = |list: &[Participant]| list.iter().map(|p| p.node.0.as_u128() as u8).collect::<Vec<_>>();
    assert!(choice.keys.iter().map(|key| key.scheme).eq(Scheme::ALL));
    Ok((numbers(&choice.keys[0].dealers), numbers(&choice.participants)))
}

#[test]
fn dealers__should_be_this_node_and_new_members_before_others() {
    let all = [1, 2, 3, 4, 5, 6];
    for (to, me, ready, without, expected) in [
        // A refresh.
        (&[1, 2, 3][..], 2, &all[..], &[][..], Ok((vec![1, 2], vec![1, 2, 3]))),
        // A disjoint committee: no more of the old one than deal.
        (&[4, 5, 6], 3, &all, &[], Ok((vec![1, 3], vec![1, 3, 4, 5, 6]))),
        // New members that are old ones deal, so that fewer take part.
        (&[2, 3, 4], 4, &all, &[], Ok((vec![2, 3], vec![2, 3, 4]))),
        // Who lost its share does not deal; its coordinator takes part all the same.
        (&[1, 2, 3], 2, &all, &[1], Ok((vec![2, 3], vec![1, 2, 3]))),
        (&[4, 5], 1, &all, &[1], Ok((vec![2, 3], vec![1, 2, 3, 4, 5]))),
        // Old members that are away are not needed.
        (&[3, 4], 3, &[2, 3, 4], &[], Ok((vec![2, 3], vec![2, 3, 4]))),
        (&[3, 4], 3, &[3, 4], &[], Err(Code::NotMajority)),
        (&[3, 4], 3, &all, &[1, 2], Err(Code::NotMajority)),
        // New members are.
        (&[3, 4], 3, &[1, 2, 3], &[], Err(Code::ClusterNotReady)),
    ] {
        assert_eq!(chosen(to, me, ready, without), expected, "{to:?} by {me}, {ready:?} are ready");
    }
}

#[test]
fn dealers__should_be_joined_by_the_members_of_keys_that_stay() {
    let request = request(2, &[4, 5], &[Scheme::Ed25519]);
    let choice = plan::choose(&RECORD, &request, node(1), &nodes(&[1, 2, 3, 4, 5]), &nodes(&[])).unwrap();
    assert_eq!(choice.participants, participants(&[1, 2, 3, 4, 5]));
    assert_eq!((choice.keys.len(), choice.keys[0].scheme), (1, Scheme::Ed25519));
    let away = plan::choose(&RECORD, &request, node(1), &nodes(&[1, 2, 4, 5]), &nodes(&[])).err().unwrap();
    assert_eq!((away.code, away.culprits), (Code::ClusterNotReady, nodes(&[3])), "it has to sign the record");
}

/// What a coordinator on node 1 writes for a reshare from nodes 1 to 3 to 2, 3 and 4.
fn sheet(request: &ReshareRequest) -> Sheet {
    let choice = plan::choose(&RECORD, request, node(1), &nodes(&[1, 2, 3, 4]), &nodes(&[])).unwrap();
    Sheet {
        version: SHEET_VERSION,
        cluster: "c".parse().unwrap(),
        session: SessionId([1; 32]),
        task: Task::Reshare {
            wallet: "w".parse().unwrap(),
            certificate: Vec::new(),
            keys: choice.keys,
            threshold: request.threshold(),
            committee: request.committee().to_vec(),
            request: request.bytes().to_vec(),
        },
        participants: choice.participants,
        coordinator: node(1),
        attempt: 1,
        deadline_ms: 1,
    }
}

#[test]
fn participant__should_take_what_an_honest_coordinator_writes() {
    let request = request(2, &[2, 3, 4], &Scheme::ALL);
    let sheet = sheet(&request);
    sheet.validate().unwrap();
    plan::check(&sheet, &RECORD, &request).unwrap();
    let engine = plan::engine_plan(&sheet, &RECORD).unwrap();
    let index = |index: u8| PartyIndex::try_from(index).unwrap();
    let receivers: BTreeMap<_, _> = [(2, 1), (3, 2), (4, 3)].map(|(seat, new)| (index(seat), index(new))).into();
    assert_eq!(engine.receivers, receivers);
    for (scheme, key) in engine.keys {
        assert_eq!(key.dealers, [(1, 1), (2, 2)].map(|(seat, old)| (index(seat), index(old))).into());
        assert_eq!(key.group, RECORD.key(scheme).unwrap().group);
    }
}

#[test]
fn participant__should_refuse_what_differs_from_the_request_or_from_its_record() {
    type Change = fn(&mut Sheet);
    fn task(sheet: &mut Sheet, change: impl FnOnce(&mut Task)) {
        change(&mut sheet.task);
    }
    let request = request(2, &[2, 3, 4], &Scheme::ALL);
    let changes: [(&str, Code, Change); 9] = [
        ("another wallet", Code::ProtocolViolation, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { wallet, .. } = task {
                    *wallet = "v".parse().unwrap()
                }
            });
        }),
        ("another threshold", Code::ProtocolViolation, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { threshold, .. } = task {
                    *threshold = Threshold::new(3, 3).unwrap();
                }
            });
        }),
        ("another committee", Code::ProtocolViolation, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { committee, .. } = task {
                    *committee = participants(&[1, 3, 4]);
                }
            });
        }),
        ("one key less", Code::ProtocolViolation, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { keys, .. } = task {
                    drop(keys.pop())
                }
            });
        }),
        ("another generation", Code::SessionStale, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { keys, .. } = task {
                    keys[1].generation = Generation(1)
                }
            });
        }),
        ("too few dealers", Code::ProtocolViolation, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { keys, .. } = task {
                    keys[0].dealers.truncate(1)
                }
            });
        }),
        ("a dealer that is no member", Code::ProtocolViolation, |sheet| {
            task(sheet, |task| {
                if let Task::Reshare { keys, .. } = task {
                    keys[0].dealers = participants(&[1, 4])
                }
            });
        }),
        ("somebody takes part who has no part", Code::ProtocolViolation, |sheet| {
            sheet.participants = participants(&[1, 2, 3, 4, 5]);
        }),
        ("a new member takes no part", Code::ProtocolViolation, |sheet| sheet.participants = participants(&[1, 2, 3])),
    ];
    for (what, code, change) in changes {
        let mut sheet = sheet(&request);
        change(&mut sheet);
        assert_eq!(plan::check(&sheet, &RECORD, &request), Err(code), "{what}");
    }
}
