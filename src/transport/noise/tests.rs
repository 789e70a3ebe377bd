use std::sync::Arc;

use ed25519_dalek::{SigningKey, VerifyingKey};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::{ClusterId, NodeId};
use crate::secret::SecretBytes;
use crate::wire::frame::{MAX_RECORD_BYTES, MAX_RECORDS};
use crate::wire::message::MAX_PEER_MESSAGE_BYTES;

const LINK: u64 = 77;
const HELLO: Hello = Hello { life: 1, attempt: 2 };

/// Node 1 is always the initiator: it has the lower id.
fn node(id: u128) -> NodeId {
    NodeId(Uuid::from_u128(id))
}

fn identity(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys(cluster: &str, me: (u128, u8), peer: (u128, u8)) -> LinkKeys {
    let secret = Arc::new(SecretBytes::copy_from(&identity(me.1).to_scalar_bytes()));
    let cluster: ClusterId = cluster.parse().unwrap();
    LinkKeys::new(&secret, &cluster, node(me.0), node(peer.0), &identity(peer.1).verifying_key()).unwrap()
}

fn pair_of_keys() -> (LinkKeys, LinkKeys) {
    (keys("c", (1, 1), (2, 2)), keys("c", (2, 2), (1, 1)))
}

fn handshake() -> (Session, Session) {
    let (ours, theirs) = pair_of_keys();
    let (mut initiation, init) = Initiation::start(&ours, LINK, HELLO).unwrap();
    let (responder, heard, response) = respond(&theirs, LINK, &init, 9).unwrap();
    let (initiator, answered) = initiation.finish(&response).unwrap();
    assert_eq!((heard, answered), (HELLO, Hello { life: 9, attempt: HELLO.attempt }));
    (initiator, responder)
}

#[test]
fn handshake__should_give_both_sides_the_same_keys() {
    let (mut a, mut b) = handshake();
    let to_b = a.seal(Content::Message, Plaintext::copy_of(b"hi")).unwrap();
    let opened = b.open(to_b.counter, &to_b.records).unwrap();
    assert_eq!((opened.content, &*opened.bytes), (Content::Message, &b"hi"[..]));
    let to_a = b.seal(Content::Control, Plaintext::copy_of(b"ho")).unwrap();
    let opened = a.open(to_a.counter, &to_a.records).unwrap();
    assert_eq!((opened.content, &*opened.bytes), (Content::Control, &b"ho"[..]));
}

#[test]
fn handshake__should_not_start_between_strangers() {
    let member = keys("c", (2, 2), (1, 1));
    let cases = [
        ("another identity under the same id", keys("c", (1, 3), (2, 2)), LINK),
        ("another cluster", keys("d", (1, 1), (2, 2)), LINK),
        ("another initiator id", keys("c", (0, 1), (2, 2)), LINK),
        ("another responder's key", keys("c", (1, 1), (2, 4)), LINK),
        ("another link id", keys("c", (1, 1), (2, 2)), LINK + 1),
    ];
    for (name, stranger, link) in cases {
        let (_, init) = Initiation::start(&stranger, link, HELLO).unwrap();
        assert_eq!(respond(&member, LINK, &init, 9).err(), Some(NoiseError::NotAuthentic), "{name}");
    }
}

#[test]
fn handshake__should_survive_forged_responses() {
    let (ours, theirs) = pair_of_keys();
    let (mut initiation, init) = Initiation::start(&ours, LINK, HELLO).unwrap();
    let (_, _, response) = respond(&theirs, LINK, &init, 9).unwrap();
    let (_, _, elsewhere) = respond(&theirs, LINK, &Initiation::start(&ours, LINK, HELLO).unwrap().1, 9).unwrap();
    for forged in [vec![], vec![0; 16], vec![7; response.len()], [&response[..], &[0]].concat(), elsewhere] {
        assert_eq!(initiation.finish(&forged).err(), Some(NoiseError::NotAuthentic));
    }
    assert!(initiation.finish(&response).is_ok());
}

#[test]
fn handshake__should_give_a_replayed_start_other_keys() {
    let (ours, theirs) = pair_of_keys();
    let (mut initiation, init) = Initiation::start(&ours, LINK, HELLO).unwrap();
    let (_, _, response) = respond(&theirs, LINK, &init, 9).unwrap();
    let (mut replayed, ..) = respond(&theirs, LINK, &init, 9).unwrap();
    let (mut initiator, _) = initiation.finish(&response).unwrap();
    let sealed = initiator.seal(Content::Message, Plaintext::copy_of(b"x")).unwrap();
    assert!(replayed.open(sealed.counter, &sealed.records).is_err());
}

#[test]
fn keys__should_refuse_weak_peers_and_oneself() {
    let secret = Arc::new(SecretBytes::copy_from(&identity(1).to_scalar_bytes()));
    let cluster: ClusterId = "c".parse().unwrap();
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let weak = VerifyingKey::from_bytes(&identity_point).unwrap();
    let made = LinkKeys::new(&secret, &cluster, node(1), node(2), &weak);
    assert_eq!(made.err(), Some(NoiseError::WeakKey));
    let own = LinkKeys::new(&secret, &cluster, node(1), node(1), &identity(1).verifying_key());
    assert_eq!(own.err(), Some(NoiseError::NotAPair));
}

#[test]
fn session__should_carry_every_length_up_to_the_longest_message() {
    let (mut a, mut b) = handshake();
    let chunk = MAX_RECORD_BYTES - 17;
    for (len, records) in [
        (0, 1),
        (1, 1),
        (chunk, 1),
        (chunk + 1, 2),
        (2 * chunk, 2),
        (MAX_PEER_MESSAGE_BYTES, 5),
        (MAX_RECORDS * chunk, MAX_RECORDS),
    ] {
        let message: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let sealed = a.seal(Content::Message, Plaintext::copy_of(&message)).unwrap();
        assert_eq!(sealed.records.len(), records, "{len}");
        assert!(*b.open(sealed.counter, &sealed.records).unwrap().bytes == message, "{len}");
    }
    assert_eq!(
        a.seal(Content::Message, Plaintext::copy_of(&vec![0; MAX_RECORDS * chunk + 1])).err(),
        Some(NoiseError::TooLong)
    );
}

#[test]
fn session__should_open_each_message_once_in_any_order() {
    let (mut a, mut b) = handshake();
    let mut sealed: Vec<Sealed> =
        (0..20).map(|_| a.seal(Content::Control, Plaintext::copy_of(b"m")).unwrap()).collect();
    sealed.reverse();
    for message in &sealed {
        assert!(b.open(message.counter, &message.records).is_ok());
    }
    for message in &sealed {
        assert_eq!(b.open(message.counter, &message.records).err(), Some(NoiseError::Replayed));
    }
}

#[test]
fn session__should_not_open_its_own_messages() {
    let (mut a, _) = handshake();
    let sealed = a.seal(Content::Message, Plaintext::copy_of(b"m")).unwrap();
    assert_eq!(a.open(sealed.counter, &sealed.records).err(), Some(NoiseError::NotAuthentic));
}

#[test]
fn session__should_notice_cut_and_spliced_messages() {
    let (mut a, mut b) = handshake();
    let long = a.seal(Content::Message, Plaintext::copy_of(&vec![1; 2 * MAX_RECORD_BYTES])).unwrap();
    let next = a.seal(Content::Message, Plaintext::copy_of(b"next")).unwrap();
    let control = a.seal(Content::Control, Plaintext::copy_of(b"control")).unwrap();
    let swapped: Vec<_> = [1, 0, 2].map(|i| long.records[i].clone()).into();
    let joined = [&long.records[..], &next.records[..]].concat();
    let mixed = [&next.records[..], &control.records[..]].concat();
    let cases = [
        ("cut at the end", long.counter, long.records[..2].to_vec(), NoiseError::Spliced),
        ("cut at the start", long.counter + 1, long.records[1..].to_vec(), NoiseError::Spliced),
        ("swapped", long.counter, swapped, NoiseError::NotAuthentic),
        ("joined", long.counter, joined, NoiseError::Spliced),
        ("control joined to a message", next.counter, mixed, NoiseError::Spliced),
        ("none", long.counter, vec![], NoiseError::NotAuthentic),
        ("end of counters", u64::MAX - 1, long.records.clone(), NoiseError::NotAuthentic),
    ];
    for (name, counter, records, error) in cases {
        assert_eq!(b.open(counter, &records).err(), Some(error), "{name}");
    }
    for whole in [long, next, control] {
        assert!(b.open(whole.counter, &whole.records).is_ok(), "what was tampered with in vain still opens");
    }
}

#[test]
fn session__should_not_move_its_window_for_forgeries() {
    let (mut a, mut b) = handshake();
    let first = a.seal(Content::Message, Plaintext::copy_of(b"m")).unwrap();
    assert_eq!(b.open(1 << 30, &first.records).err(), Some(NoiseError::NotAuthentic));
    assert!(b.open(first.counter, &first.records).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn session__should_notice_every_flipped_bit(len in 0_usize..300, at: usize, bit in 0_u8..8) {
        let (mut a, mut b) = handshake();
        let sealed = a.seal(Content::Message, Plaintext::copy_of(&vec![3; len])).unwrap();
        let mut forged = sealed.records.clone();
        let at = at % forged[0].len();
        forged[0][at] ^= 1 << bit;
        prop_assert_eq!(b.open(sealed.counter, &forged).err(), Some(NoiseError::NotAuthentic));
        prop_assert!(b.open(sealed.counter, &sealed.records).is_ok());
    }

    #[test]
    fn handshake__should_survive_any_first_message(init in proptest::collection::vec(any::<u8>(), 0..100)) {
        let (_, theirs) = pair_of_keys();
        prop_assert_eq!(respond(&theirs, LINK, &init, 9).err(), Some(NoiseError::NotAuthentic));
    }
}
