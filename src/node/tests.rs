//! Nodes that are sealed and unsealed.

use crate::error::Code;
use crate::ids::{Scheme, Threshold};
use crate::node::UnsealError;
use crate::secret::SecretBytes;
use crate::storage::{Export, KeySource, StorageError, StorageMsg};
use crate::testing::{Cluster, HarnessError};

fn key(byte: u8) -> KeySource {
    KeySource::key(SecretBytes::copy_from(&[byte; 32])).unwrap()
}

fn code<T>(result: Result<T, HarnessError>) -> Code {
    match result {
        Err(HarnessError::Failure(failure)) => failure.code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it succeeded"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seal__should_not_say_that_all_is_wiped_while_something_holds_the_store() {
    let builder = Cluster::builder("test".parse().unwrap(), Threshold::new(2, 3).unwrap()).without_pairs();
    let cluster = builder.args(|_, args| args.storage.key.put(key(1))).start().await.unwrap();
    let to = cluster.addresses(0).unwrap().clone();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let job = Box::new(move |_: &Export<'_>| {
        begun.send(()).unwrap();
        // As a backup whose disk hangs.
        let _ = may_go_on.recv();
    });
    to.storage.cast(StorageMsg::Export(job)).unwrap();
    has_begun.await.unwrap();
    let refused = cluster.node(0).unwrap().seal().await.unwrap_err();
    assert_eq!(refused.code, Code::StorageRead, "{refused:?}");
    assert!(to.storage.current().is_none() && to.signing.current().is_none(), "it does nothing all the same");
    drop(go_on);
    cluster.node(0).unwrap().seal().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_node__should_hold_nothing_of_its_store_until_it_is_unsealed() {
    let builder = Cluster::builder("test".parse().unwrap(), Threshold::new(2, 3).unwrap()).without_pairs();
    let mut cluster = builder.args(|_, args| args.storage.key.put(key(1))).start().await.unwrap();
    cluster.make_wallet(0, "treasury", &[Scheme::Ed25519]).await.unwrap();

    cluster.node(0).unwrap().seal().await.unwrap();
    let to = cluster.addresses(0).unwrap().clone();
    assert!(to.storage.current().is_none() && to.signing.current().is_none() && to.pairing.current().is_none());
    assert!(to.keygen.current().is_none() && to.reshare.current().is_none() && to.checkup.current().is_none());
    assert!(cluster.local().args(0).unwrap().storage.key.is_empty(), "nobody keeps the key");
    assert_eq!(code(cluster.sign(0, Scheme::Ed25519, "treasury").await), Code::Cancelled);
    cluster.node(0).unwrap().seal().await.unwrap();
    cluster.until_unready(0).await.unwrap();
    cluster.sign(1, Scheme::Ed25519, "treasury").await.unwrap();

    let refused = cluster.node(0).unwrap().unseal(key(2)).await.unwrap_err();
    assert!(matches!(refused, UnsealError::Storage(StorageError::WrongKey)), "{refused}");
    assert!(to.storage.current().is_none());
    cluster.node(0).unwrap().unseal(key(1)).await.unwrap();
    let refused = cluster.node(0).unwrap().unseal(key(1)).await.unwrap_err();
    assert!(matches!(refused, UnsealError::NotSealed), "{refused}");
    cluster.until_ready().await.unwrap();
    cluster.sign(0, Scheme::Ed25519, "treasury").await.unwrap();
    cluster.reshare(0, "treasury", &[Scheme::Ed25519], 2, &[0, 1, 2]).await.unwrap();

    // It may as well be sealed from its start on, and end so.
    cluster.shutdown(0).await;
    cluster.change(0, |args| args.storage.key.clear()).unwrap();
    cluster.restart(0).await.unwrap();
    assert!(cluster.addresses(0).unwrap().storage.current().is_none());
    cluster.shutdown(0).await;
    cluster.restart(0).await.unwrap();
    cluster.node(0).unwrap().unseal(key(1)).await.unwrap();
    cluster.until_ready().await.unwrap();
    cluster.sign(0, Scheme::Ed25519, "treasury").await.unwrap();
}
