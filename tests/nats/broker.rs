//! The broker adapter.

use futures_util::StreamExt;
use quorate::testing::{NatsServer, eventually};
use quorate::transport::broker::{Broker, Connection, PublishError};

use crate::{broker, connect, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn messages__should_arrive_in_the_order_of_the_calls_and_be_confirmed() {
    let server = NatsServer::start().await.unwrap();
    let (from, to) = (broker(&server).await, broker(&server).await);
    let mut inbox = to.subscribe("quorate.test.a").await.unwrap();
    let numbers = 0..2000_u32;
    let outcomes: Vec<_> =
        numbers.clone().map(|number| from.publish("quorate.test.a", number.to_be_bytes().to_vec())).collect();
    for number in numbers {
        assert_eq!(soon(inbox.next()).await.unwrap(), number.to_be_bytes());
    }
    for outcome in outcomes {
        assert_eq!(soon(outcome).await, Ok(()));
    }
    assert_eq!(inbox.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages__should_leave_whether_or_not_their_outcome_is_awaited() {
    let server = NatsServer::start().await.unwrap();
    let broker = broker(&server).await;
    let mut inbox = broker.subscribe("quorate.test.a").await.unwrap();
    drop(broker.publish("quorate.test.a", vec![1]));
    assert_eq!(soon(inbox.next()).await, Some(vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sender__should_hear_that_nobody_listens_and_of_which_message() {
    let server = NatsServer::start().await.unwrap();
    let (from, to) = (broker(&server).await, broker(&server).await);
    let inbox = to.subscribe("quorate.test.a").await.unwrap();
    let (heard, unheard) = (from.publish("quorate.test.a", vec![1]), from.publish("quorate.test.b", vec![2]));
    let after = from.publish("quorate.test.a", vec![3]);
    assert_eq!(soon(unheard).await, Err(PublishError::NoResponders));
    assert_eq!((soon(heard).await, soon(after).await), (Ok(()), Ok(())));
    drop(inbox);
    let gone = async || from.publish("quorate.test.a", vec![4]).await == Err(PublishError::NoResponders);
    eventually("the server hears that the subscription is dropped", gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames__should_be_carried_up_to_what_the_server_takes() {
    let server = NatsServer::start().await.unwrap();
    let connection = connect(&server).await;
    let broker = broker(&server).await;
    let mut inbox = broker.subscribe("quorate.test.a").await.unwrap();
    let longest = connection.max_payload();
    for size in [0, 100_000, 300_000, longest] {
        let frame: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let outcome = broker.publish("quorate.test.a", frame.clone());
        assert!(soon(inbox.next()).await.unwrap() == frame, "{size} bytes");
        assert_eq!(soon(outcome).await, Ok(()));
    }
    assert_eq!(broker.publish("quorate.test.a", vec![0; longest + 1]).await, Err(PublishError::Refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn subject__should_be_refused_if_it_is_none() {
    let server = NatsServer::start().await.unwrap();
    let broker = broker(&server).await;
    assert_eq!(broker.publish("with space", vec![1]).await, Err(PublishError::Refused));
    assert_eq!(broker.publish("", vec![1]).await, Err(PublishError::Refused));
    assert!(broker.subscribe("a..b").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription__should_survive_the_death_of_the_server() {
    let mut server = NatsServer::start().await.unwrap();
    let broker = broker(&server).await;
    let mut inbox = broker.subscribe("quorate.test.a").await.unwrap();
    assert_eq!(*broker.connection().borrow(), Connection::UP);
    for losses in 1..=2 {
        server.kill();
        assert_eq!(until(&broker, |state| !state.connected).await, Connection { losses, ..Connection::DOWN });
        assert_eq!(broker.publish("quorate.test.a", vec![1]).await, Err(PublishError::Disconnected));
        server.restart(true).await.unwrap();
        assert_eq!(until(&broker, |state| state.connected).await, Connection { losses, ..Connection::UP });
        let outcome = broker.publish("quorate.test.a", vec![2]);
        assert_eq!(soon(inbox.next()).await, Some(vec![2]), "what was published meanwhile is lost");
        assert_eq!(soon(outcome).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription__should_be_made_later_where_there_is_no_connection() {
    let mut server = NatsServer::start().await.unwrap();
    let broker = broker(&server).await;
    server.kill();
    until(&broker, |state| !state.connected).await;
    let mut inbox = soon(broker.subscribe("quorate.test.a")).await.unwrap();
    server.restart(true).await.unwrap();
    until(&broker, |state| state.connected).await;
    drop(broker.publish("quorate.test.a", vec![1]));
    assert_eq!(soon(inbox.next()).await, Some(vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages__should_be_settled_however_the_server_dies() {
    let mut server = NatsServer::start().await.unwrap();
    let broker = broker(&server).await;
    let mut inbox = broker.subscribe("quorate.test.a").await.unwrap();
    // The server is killed while it works on them.
    let outcomes: Vec<_> = (0..500).map(|_| broker.publish("quorate.test.a", vec![0; 50_000])).collect();
    assert!(soon(inbox.next()).await.is_some());
    server.kill();
    for outcome in outcomes {
        assert!(matches!(soon(outcome).await, Ok(()) | Err(PublishError::Disconnected)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers__should_mean_nothing_if_they_are_made_up() {
    let server = NatsServer::start().await.unwrap();
    let (broker, stranger) = (broker(&server).await, connect(&server).await);
    let mut inbox = broker.subscribe("quorate.test.a").await.unwrap();
    drop(broker.publish("quorate.test.a", vec![1]));
    soon(inbox.next()).await.unwrap();
    // One that reads what nodes send each other sees where the answers go, and may answer anything.
    let mut spy = stranger.client().subscribe("quorate.>").await.unwrap();
    // The two are one connection's, so that the server knows of the first when the second is answered.
    let known = stranger.client().subscribe("known").await.unwrap();
    stranger.client().publish("known", "".into()).await.unwrap();
    soon(known.into_future()).await.0.unwrap();
    drop(broker.publish("quorate.test.a", vec![2]));
    let reply = soon(spy.next()).await.unwrap().reply.unwrap();
    let (own, _) = reply.rsplit_once('.').unwrap();
    for number in ["0", "1", "99", "18446744073709551615", "18446744073709551616", "-1", "x", ""] {
        let answer = stranger.client().publish(format!("{own}.{number}"), "nonsense".into());
        // The library refuses what is no subject.
        let _ = answer.await;
    }
    stranger.client().flush().await.unwrap();
    assert_eq!(soon(broker.publish("quorate.test.a", vec![3])).await, Ok(()));
    // Not even the spy, whose presence hides that nobody else is there.
    assert_eq!(soon(broker.publish("elsewhere", vec![4])).await, Err(PublishError::NoResponders));
}
