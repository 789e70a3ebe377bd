//! The actor: groups, answers, faults, lives.

use std::future::Future;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::supervision::Address;

/// One life of the actor, as its supervisor holds it.
struct Life {
    actor: ActorRef<StorageMsg>,
    joined: JoinHandle<()>,
    handle: StorageHandle,
}

fn arguments(folder: &Path) -> StorageArguments {
    StorageArguments::new(options(folder), passphrase("right"))
}

async fn start(arguments: &StorageArguments) -> Life {
    let (actor, joined) = Actor::spawn(None, StorageActor, arguments.clone()).await.unwrap();
    let handle = StorageHandle::new(Address::of(actor.clone()), StorageTimeouts::default());
    Life { actor, joined, handle }
}

impl Life {
    /// Sends a write, in the order of the calls, and gives back its answer to come.
    fn write(&self, batch: Batch) -> impl Future<Output = Result<(), StorageError>> + use<> {
        let (reply, answer) = oneshot::channel();
        self.actor.cast(StorageMsg::Write { batch, durability: Durability::Synced, reply: reply.into() }).unwrap();
        async { answer.await.unwrap_or(Err(StorageError::Unavailable { access: Access::Write })) }
    }

    async fn value(&self, key: &str) -> Option<String> {
        let value = self.handle.get(Family::Results, key).await.unwrap();
        value.map(|value| String::from_utf8(value.expose().to_vec()).unwrap())
    }

    async fn end(self) {
        self.handle.close().await.unwrap();
        self.joined.await.unwrap();
    }
}

fn put_one(key: &str, value: &str) -> Batch {
    Batch::new().put(Family::Results, key, secret(value))
}

#[tokio::test]
async fn actor__should_read_list_and_write() {
    let folder = tempfile::tempdir().unwrap();
    let life = start(&arguments(folder.path())).await;
    for key in ["a/1", "a/2", "b/1"] {
        life.handle.write(put_one(key, key), Durability::Buffered).await.unwrap();
    }
    assert_eq!(life.value("a/2").await.as_deref(), Some("a/2"));
    assert_eq!(life.value("a/3").await, None);
    let listing = Listing { family: Family::Results, prefix: b"a/".to_vec(), after: None, limit: 10 };
    let page = life.handle.list(listing.clone()).await.unwrap();
    assert_eq!((page.records.len(), page.more), (2, false));
    let rest = life.handle.list(Listing { after: Some(b"a/1".to_vec()), ..listing }).await.unwrap();
    assert_eq!(rest.records[0].key, b"a/2");
    life.end().await;
}

#[tokio::test]
async fn writes_that_wait__should_share_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let mut hold = arguments.faults.hold(Point::BeforeWrite);
    let first = life.write(put_one("first", "alone"));
    hold.reached().await;
    let waiting: Vec<_> = (0..50).map(|number| life.write(put_one(&format!("{number}"), "together"))).collect();
    let seen = life.handle.snapshot().await.unwrap();
    assert_eq!((seen.writing, seen.waiting, seen.groups), (1, 50, 0));

    drop(hold);
    first.await.unwrap();
    for write in waiting {
        write.await.unwrap();
    }
    // The writer answers before the actor counts: a further write stands behind both.
    life.handle.write(put_one("last", "alone"), Durability::Buffered).await.unwrap();
    let seen = life.handle.snapshot().await.unwrap();
    assert_eq!((seen.synced_groups, seen.largest_group, seen.waiting), (2, 50, 0));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn slow_disk__should_take_its_time_and_lose_with_a_process_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let pause = Duration::from_secs(1);
    arguments.faults.slow(pause);
    let began = tokio::time::Instant::now();
    life.handle.write(put_one("written", "yes"), Durability::Synced).await.unwrap();
    assert_eq!(began.elapsed(), pause);

    let lost = life.write(put_one("lost", "yes"));
    assert_eq!(life.handle.snapshot().await.unwrap().writing, 1);
    arguments.faults.lose_waiting();
    life.actor.kill();
    assert!(lost.await.is_err());
    arguments.faults.slow(Duration::ZERO);
    let life = start(&arguments).await;
    assert_eq!((life.value("written").await.as_deref(), life.value("lost").await), (Some("yes"), None));
    life.end().await;
}

#[tokio::test]
async fn writes__should_take_effect_in_the_order_of_their_sending() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let mut hold = arguments.faults.hold(Point::BeforeWrite);
    let writes: Vec<_> = (0..20).map(|number| life.write(put_one("key", &format!("{number}")))).collect();
    hold.reached().await;
    drop(hold);
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(life.value("key").await.as_deref(), Some("19"));
    life.end().await;
}

#[tokio::test]
async fn write__should_be_refused_as_busy_where_too_many_wait() {
    let folder = tempfile::tempdir().unwrap();
    let limits = QueueLimits { waiting: 2, ..QueueLimits::default() };
    let arguments = StorageArguments { limits, ..arguments(folder.path()) };
    let life = start(&arguments).await;
    let mut hold = arguments.faults.hold(Point::BeforeWrite);
    let mut writes = vec![life.write(put_one("0", "on its way"))];
    hold.reached().await;
    writes.extend([life.write(put_one("1", "waits")), life.write(put_one("2", "waits"))]);
    let refused = life.write(put_one("3", "too many")).await;
    assert!(matches!(refused, Err(StorageError::Busy { access: Access::Write })), "{refused:?}");
    drop(hold);
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(life.value("3").await, None);
    assert_eq!(life.handle.snapshot().await.unwrap().refused, 1);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_conditional_writes__exactly_one_should_win() {
    let folder = tempfile::tempdir().unwrap();
    let life = start(&arguments(folder.path())).await;
    let contenders: Vec<_> = (0..32)
        .map(|number| {
            let handle = life.handle.clone();
            tokio::spawn(async move {
                let batch = put_one("request", &format!("{number}")).require_absent(Family::Results, "request");
                handle.write(batch, Durability::Synced).await
            })
        })
        .collect();
    let mut winners = Vec::new();
    let mut told = Vec::new();
    for (number, contender) in contenders.into_iter().enumerate() {
        match contender.await.unwrap() {
            Ok(()) => winners.push(format!("{number}")),
            Err(StorageError::ConditionFailed(failed)) => told.push(failed),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((winners.len(), told.len()), (1, 31));
    assert_eq!(life.value("request").await, Some(winners[0].clone()));
    for failed in told {
        assert_eq!(failed.existing.as_ref().unwrap().expose(), winners[0].as_bytes());
    }
    life.end().await;
}

#[tokio::test]
async fn failed_group__should_fail_all_its_members_and_end_the_life() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let mut hold = arguments.faults.hold(Point::BeforeWrite);
    let sound = life.write(put_one("sound", "1"));
    hold.reached().await;
    arguments.faults.fail_next(1);
    let group: Vec<_> = (0..3).map(|number| life.write(put_one(&format!("{number}"), "failed"))).collect();
    assert_eq!(life.handle.snapshot().await.unwrap().waiting, 3);
    drop(hold);
    sound.await.unwrap();
    for member in group {
        let failed = member.await;
        assert!(matches!(failed, Err(StorageError::Write { .. })), "{failed:?}");
    }
    life.joined.await.unwrap();
    let after = life.handle.write(put_one("after", "1"), Durability::Synced).await;
    assert!(matches!(after, Err(StorageError::Unavailable { access: Access::Write })), "{after:?}");

    let next = start(&arguments).await;
    assert_eq!(next.value("sound").await.as_deref(), Some("1"));
    assert_eq!(next.value("0").await, None);
    next.end().await;
}

/// Every way for the life to end at every point of a group, and what the next life finds.
#[tokio::test]
async fn death_around_a_write__should_leave_it_whole_or_not_at_all_and_its_caller_unanswered() {
    for (point, written) in [(Point::BeforeWrite, None), (Point::AfterWrite, Some("share"))] {
        for action in [Action::Kill, Action::Panic] {
            let case = format!("{action:?} {point:?}");
            let folder = tempfile::tempdir().unwrap();
            let arguments = arguments(folder.path());
            let life = start(&arguments).await;
            let struck = arguments.faults.plan(Fault { point, family: Some(Family::Shares), after_groups: 1, action });
            life.write(put_one("other family", "1")).await.unwrap();
            life.write(Batch::new().put(Family::Shares, "earlier", secret("1"))).await.unwrap();
            let commit =
                Batch::new().put(Family::Shares, "key", secret("share")).put(Family::Results, "key", secret("share"));
            let lost = life.write(commit).await;
            assert!(matches!(lost, Err(StorageError::Unavailable { .. })), "{case}: {lost:?}");
            struck.await.unwrap();
            life.joined.await.unwrap();

            let next = start(&arguments).await;
            assert_eq!(next.value("other family").await.as_deref(), Some("1"), "{case}");
            assert_eq!(next.value("key").await.as_deref(), written, "{case}");
            let share = next.handle.get(Family::Shares, "key").await.unwrap();
            assert_eq!(share.is_some(), written.is_some(), "{case}");
            next.end().await;
        }
    }
}

#[tokio::test]
async fn failure_after_the_write__should_be_told_though_the_write_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let fault = Fault { point: Point::AfterWrite, family: None, after_groups: 0, action: Action::Fail };
    drop(arguments.faults.plan(fault));
    assert!(matches!(life.write(put_one("key", "value")).await, Err(StorageError::Write { .. })));
    life.joined.await.unwrap();
    let next = start(&arguments).await;
    assert_eq!(next.value("key").await.as_deref(), Some("value"));
    next.end().await;
}

#[tokio::test]
async fn next_life__should_wait_for_a_writer_of_the_former_one() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let mut hold = arguments.faults.hold(Point::BeforeWrite);
    let unanswered = life.write(put_one("key", "written by the dead"));
    hold.reached().await;
    life.actor.kill();
    life.joined.await.unwrap();

    let next = tokio::spawn({
        let arguments = arguments.clone();
        async move { start(&arguments).await }
    });
    // On this one thread, the next life now runs until it must wait.
    tokio::task::yield_now().await;
    drop(hold);
    unanswered.await.unwrap();
    let next = next.await.unwrap();
    assert_eq!(next.value("key").await.as_deref(), Some("written by the dead"));
    next.end().await;
}

#[tokio::test]
async fn close__should_finish_what_was_accepted_and_let_go_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let mut hold = arguments.faults.hold(Point::BeforeWrite);
    let mut writes = vec![life.write(put_one("0", "value"))];
    hold.reached().await;
    writes.extend((1..300).map(|number| life.write(put_one(&format!("{number}"), "value"))));
    let (reply, closed) = oneshot::channel();
    life.actor.cast(StorageMsg::Close { reply: reply.into() }).unwrap();
    drop(hold);
    closed.await.unwrap().unwrap();
    // At once, without waiting for the actor.
    let store = open(folder.path());
    for (number, write) in writes.into_iter().enumerate() {
        write.await.unwrap();
        assert_eq!(get(&store, Family::Results, &format!("{number}")).as_deref(), Some("value"));
    }
    life.joined.await.unwrap();
}

#[tokio::test]
async fn caller__should_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let timeouts = StorageTimeouts { write: Duration::from_millis(20), ..StorageTimeouts::default() };
    let impatient = StorageHandle::new(Address::of(life.actor.clone()), timeouts);
    let hold = arguments.faults.hold(Point::BeforeWrite);
    let late = impatient.write(put_one("key", "value"), Durability::Synced).await;
    assert!(matches!(late, Err(StorageError::Timeout { access: Access::Write })), "{late:?}");
    drop(hold);
    life.end().await;

    let nobody = StorageHandle::new(Address::unbound(), StorageTimeouts::default());
    let unread = nobody.get(Family::Results, "key").await;
    assert!(matches!(unread, Err(StorageError::Unavailable { access: Access::Read })), "{unread:?}");
}

#[tokio::test]
async fn damaged_record__should_fail_its_reader_and_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()), Family::Results, "key", "value");
    raw_put(&raw(folder.path()), "results", "key", b"not a seal");
    let life = start(&arguments(folder.path())).await;
    let refused = life.handle.get(Family::Results, "key").await;
    assert!(matches!(refused, Err(StorageError::Damaged { .. })), "{refused:?}");
    let seen = life.handle.snapshot().await.unwrap();
    assert!(matches!(seen.last_error, Some(StorageError::Damaged { .. })), "{seen:?}");
    life.end().await;
}

#[tokio::test]
async fn start__should_fail_with_the_store_s_own_reason() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let arguments = StorageArguments::new(options(folder.path()), passphrase("wrong"));
    let refused = Actor::spawn(None, StorageActor, arguments.clone()).await.err().unwrap();
    let SpawnErr::StartupFailed(reason) = refused else { panic!("{refused}") };
    assert!(matches!(reason.downcast_ref(), Some(StorageError::WrongKey)), "{reason}");

    arguments.key.put(passphrase("right"));
    start(&arguments).await.end().await;

    arguments.key.clear();
    let sealed = Actor::spawn(None, StorageActor, arguments).await.err().unwrap();
    let SpawnErr::StartupFailed(reason) = sealed else { panic!("{sealed}") };
    assert!(matches!(reason.downcast_ref(), Some(StorageError::Sealed)), "{reason}");
}

#[tokio::test]
async fn export__should_read_one_moment_while_writing_goes_on_and_end_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let life = start(&arguments(folder.path())).await;
    for key in ["1", "2"] {
        life.handle.write(put_one(key, key), Durability::Buffered).await.unwrap();
    }
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let (begun, has_begun) = oneshot::channel();
    let handle = life.handle.clone();
    let exporting = tokio::spawn(async move {
        let read = handle.export(move |export| {
            let mut begun = Some(begun);
            let mut seen = Vec::new();
            let outcome = export.each(|record| {
                if let Some(begun) = begun.take() {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                }
                seen.push(String::from_utf8(record.open()?.expose().to_vec()).unwrap());
                Ok::<_, StorageError>(())
            });
            (outcome, seen)
        });
        read.await.unwrap()
    });
    has_begun.await.unwrap();
    life.handle
        .write(put_one("2", "changed").put(Family::Results, *b"3", secret("3")), Durability::Synced)
        .await
        .unwrap();
    assert_eq!(life.value("2").await.as_deref(), Some("changed"));
    go_on.send(()).unwrap();
    let (outcome, seen) = exporting.await.unwrap();
    outcome.unwrap();
    assert_eq!(seen, ["1", "2"]);

    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let (begun, has_begun) = oneshot::channel();
    let handle = life.handle.clone();
    let exporting = tokio::spawn(async move {
        let read = handle.export(move |export| {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            export.each(|_| Ok::<_, StorageError>(()))
        });
        read.await.unwrap()
    });
    has_begun.await.unwrap();
    life.actor.kill();
    life.joined.await.unwrap();
    go_on.send(()).unwrap();
    let ended = exporting.await.unwrap().unwrap_err();
    assert!(matches!(ended, StorageError::Unavailable { .. }), "{ended}");
    assert!(life.handle.export(|_| ()).await.is_err());
}

#[tokio::test]
async fn export_that_hangs__should_keep_nobody_from_reading_and_end_no_purge_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let life = start(&arguments(folder.path())).await;
    life.handle.write(put_one("1", "kept"), Durability::Buffered).await.unwrap();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let handle = life.handle.clone();
    let exporting = tokio::spawn(async move {
        let hang = move |_: &Export<'_>| {
            begun.send(()).unwrap();
            let _ = may_go_on.recv();
        };
        handle.export(hang).await.unwrap();
    });
    has_begun.await.unwrap();
    // More than there are places for reads.
    let purges: Vec<_> = (0..100)
        .map(|_| {
            let handle = life.handle.clone();
            tokio::spawn(async move { handle.purge(Family::Shares, [], Exporting::Ended).await })
        })
        .collect();
    for purge in purges {
        assert!(matches!(purge.await.unwrap(), Err(StorageError::Busy { access: Access::Write })));
        assert_eq!(life.value("1").await.as_deref(), Some("kept"));
    }
    drop(go_on);
    exporting.await.unwrap();
    life.handle.purge(Family::Shares, [], Exporting::Spared).await.unwrap();
    life.end().await;
}

#[tokio::test]
async fn rewrap__should_hold_for_the_next_life_and_need_the_present_secret() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    life.handle.write(put_one("1", "kept"), Durability::Synced).await.unwrap();
    let limit = Duration::from_secs(30);
    let refused = life.handle.rewrap(passphrase("wrong"), passphrase("new"), limit).await.unwrap_err();
    assert!(matches!(refused, StorageError::WrongKey), "{refused}");
    life.handle.rewrap(passphrase("right"), passphrase("new"), limit).await.unwrap();
    assert_eq!(life.value("1").await.as_deref(), Some("kept"), "it goes on");
    life.end().await;
    let next = start(&arguments).await;
    assert_eq!(next.value("1").await.as_deref(), Some("kept"));
    next.end().await;
    let former = Store::open(options(folder.path()), &passphrase("right")).err().unwrap();
    assert!(matches!(former, StorageError::WrongKey), "{former}");
}

#[tokio::test]
async fn rewrap__should_hold_for_the_next_life_also_if_the_former_lock_could_not_be_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let (place, away) = (folder.path().join("store"), folder.path().join("away"));
    let arguments = arguments(&place);
    let life = start(&arguments).await;
    life.handle.write(put_one("1", "kept"), Durability::Synced).await.unwrap();
    // What is open can still be written to; no file can be made.
    std::fs::rename(&place, &away).unwrap();
    let limit = Duration::from_secs(30);
    let remains = life.handle.rewrap(passphrase("right"), passphrase("new"), limit).await.unwrap_err();
    assert!(matches!(remains, StorageError::LockRemains { .. }), "{remains}");
    std::fs::rename(&away, &place).unwrap();
    life.actor.kill();
    life.joined.await.unwrap();
    let next = start(&arguments).await;
    assert_eq!(next.value("1").await.as_deref(), Some("kept"));
    next.end().await;
}

#[tokio::test]
async fn rewraps__should_go_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path());
    let life = start(&arguments).await;
    let limit = Duration::from_secs(30);
    let (one, other) = tokio::join!(
        life.handle.rewrap(passphrase("right"), passphrase("one"), limit),
        life.handle.rewrap(passphrase("right"), passphrase("other"), limit),
    );
    one.unwrap();
    assert!(matches!(other, Err(StorageError::Busy { .. })), "{other:?}");
    life.end().await;
    start(&arguments).await.end().await;
}

/// Tells what its child's end was.
struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = mpsc::UnboundedSender<String>;
    type Arguments = mpsc::UnboundedSender<String>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        told: mpsc::UnboundedSender<String>,
    ) -> Result<mpsc::UnboundedSender<String>, ActorProcessingErr> {
        Ok(told)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        told: &mut mpsc::UnboundedSender<String>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, reason) => told.send(format!("failed: {reason}"))?,
            SupervisionEvent::ActorTerminated(_, _, reason) => told.send(format!("ended: {reason:?}"))?,
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test]
async fn supervisor__should_be_told_of_a_failed_disk_and_of_a_panic_but_not_of_a_close() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (supervisor, supervised) = Actor::spawn(None, Supervisor, tell).await.unwrap();
    for (action, expected) in [
        (Some(Action::Fail), "failed: failed to write to the store: a planned fault"),
        (Some(Action::Panic), "failed: failed to write to the store: the writer panicked"),
        (Some(Action::Kill), "ended: Some(\"killed\")"),
        (None, "ended: None"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments(folder.path());
        let linked = Actor::spawn_linked(None, StorageActor, arguments.clone(), supervisor.get_cell()).await;
        let (actor, joined) = linked.unwrap();
        let handle = StorageHandle::new(Address::of(actor), StorageTimeouts::default());
        if let Some(action) = action {
            let fault = Fault { point: Point::BeforeWrite, family: None, after_groups: 0, action };
            drop(arguments.faults.plan(fault));
            handle.write(put_one("key", "value"), Durability::Synced).await.unwrap_err();
        } else {
            handle.close().await.unwrap();
        }
        assert_eq!(told.recv().await.unwrap(), expected);
        joined.await.unwrap();
    }
    supervisor.stop(None);
    supervised.await.unwrap();
}
