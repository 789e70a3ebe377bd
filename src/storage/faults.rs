//! Faults that tests plan for the writer. Without the `testing` feature there are none, and this costs nothing.

#[cfg(any(test, feature = "testing"))]
pub use planned::{Action, Fault, Hold};

#[cfg(not(any(test, feature = "testing")))]
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Batch, StorageError};

/// Where in the way of a group a fault may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Nothing of the group is written.
    BeforeWrite,
    /// All of the group is written, nobody has been told.
    AfterWrite,
}

/// The faults of one store. Clones share the plan, so that it outlives a life of the actor.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    #[cfg(any(test, feature = "testing"))]
    plan: std::sync::Arc<std::sync::Mutex<Vec<planned::Armed>>>,
    #[cfg(any(test, feature = "testing"))]
    disk: std::sync::Arc<std::sync::Mutex<planned::Disk>>,
    #[cfg(any(test, feature = "testing"))]
    durable: std::sync::Arc<std::sync::Mutex<planned::Durable>>,
}

/// What a met fault asks of the writer.
pub(super) enum Met {
    /// Go on.
    Nothing,
    /// Answer the group with this failure.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "only planned faults ask for it"))]
    Failure(StorageError),
    /// Kill the actor and leave the group unanswered.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "only planned faults ask for it"))]
    Kill,
}

#[cfg(not(any(test, feature = "testing")))]
impl Faults {
    #[expect(clippy::unused_self, reason = "planned faults need it")]
    pub(super) const fn meet(&self, _: Point, _: &[Batch]) -> Met {
        Met::Nothing
    }

    /// A group was synced: what is in the folder now survives a loss of power.
    #[expect(clippy::unused_self, reason = "planned faults need it")]
    pub(super) const fn synced(&self, _: &std::path::Path) {}

    /// Has a group written on the blocking pool.
    pub(super) fn write<T: Send + 'static>(&self, group: impl FnOnce(&Self) -> T + Send + 'static) -> JoinHandle<T> {
        let faults = self.clone();
        spawn_blocking(move || group(&faults))
    }
}

#[cfg(any(test, feature = "testing"))]
mod planned {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;
    use std::sync::{MutexGuard, PoisonError, mpsc};
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::task::{JoinHandle, spawn_blocking};

    use super::{Batch, Faults, Met, Point, StorageError};
    use crate::storage::Family;
    use crate::storage::folder::LockedFolder;

    /// What happens there.
    #[derive(Debug)]
    pub enum Action {
        /// The group is answered as if the disk had failed; the actor then fails, as it does in earnest.
        Fail,
        /// The writer panics; the actor fails. Callers get no answer.
        Panic,
        /// The actor is killed. Callers get no answer.
        Kill,
        /// The writer's thread sleeps.
        Delay(Duration),
        /// The writer waits until the hold is let go: see [`Faults::hold`]. A message instead kills the actor.
        Wait(mpsc::Receiver<()>),
    }

    impl Action {
        /// Whether it is a hold that was dropped before the writer came to it.
        fn is_let_go(&mut self) -> bool {
            let Self::Wait(released) = self else { return false };
            match released.try_recv() {
                Ok(()) => {
                    *self = Self::Kill;
                    false
                }
                Err(mpsc::TryRecvError::Empty) => false,
                Err(mpsc::TryRecvError::Disconnected) => true,
            }
        }
    }

    /// A fault that strikes once.
    #[derive(Debug)]
    pub struct Fault {
        /// Where.
        pub point: Point,
        /// Only at a group that puts or deletes a record of this family.
        pub family: Option<Family>,
        /// How many such groups pass before it strikes.
        pub after_groups: u32,
        /// What happens.
        pub action: Action,
    }

    #[derive(Debug)]
    pub struct Armed {
        fault: Fault,
        struck: Option<oneshot::Sender<()>>,
    }

    /// Holds the writer at a point until dropped.
    #[derive(Debug)]
    pub struct Hold {
        reached: oneshot::Receiver<()>,
        release: mpsc::Sender<()>,
    }

    impl Hold {
        /// Waits until the writer has come to the point.
        pub async fn reached(&mut self) {
            // The sender goes unsent only with the faults themselves: then nothing is held.
            let _ = (&mut self.reached).await;
        }

        /// Ends the life of the store right at the point: the writer does nothing more, and the actor is killed.
        pub fn crash(self) {
            // A writer that has not come to the point finds the message when it does.
            let _ = self.release.send(());
        }
    }

    /// How slow the disk is.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Disk {
        /// How long each group waits before it is written.
        pause: Duration,
        /// Counts the losses of what waited.
        losses: u64,
    }

    /// How long each log was when a group was last synced.
    pub type Durable = BTreeMap<OsString, u64>;

    /// The names of a folder's write-ahead logs. All other files of the store are synced when they are made.
    fn logs(folder: &Path) -> io::Result<Vec<OsString>> {
        let files: io::Result<Vec<OsString>> = fs::read_dir(folder)?.map(|file| Ok(file?.file_name())).collect();
        let is_log = |name: &OsString| Path::new(name).extension().is_some_and(|extension| extension == "log");
        Ok(files?.into_iter().filter(is_log).collect())
    }

    impl Faults {
        /// A group was synced: what is in the folder now survives a loss of power.
        pub(in crate::storage) fn synced(&self, folder: &Path) {
            // A log that is not seen here was just given up, as all of it is in tables.
            let lengths = logs(folder).unwrap_or_default().into_iter().filter_map(|log| {
                let length = fs::metadata(folder.join(&log)).ok()?.len();
                Some((log, length))
            });
            *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = lengths.collect();
        }

        /// The power fails: of what was written to the folder, only what was synced is left. What the store itself moved
        /// from its logs to its tables meanwhile is synced, too.
        ///
        /// # Errors
        /// When the store is still in use, or the folder cannot be read or changed.
        pub fn cut_power(&self, folder: &Path) -> Result<(), StorageError> {
            let _locked = LockedFolder::acquire(folder)?;
            let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            let cut = || -> io::Result<()> {
                for log in logs(folder)? {
                    let kept = durable.get(&log).copied().unwrap_or(0);
                    let file = File::options().write(true).open(folder.join(&log))?;
                    if file.metadata()?.len() > kept {
                        file.set_len(kept)?;
                    }
                }
                Ok(())
            };
            cut().map_err(|error| StorageError::Write { problem: error.to_string().into() })
        }

        /// From now on, each group waits this long, on tokio's clock, before it is written.
        pub fn slow(&self, pause: Duration) {
            self.disk().pause = pause;
        }

        /// What waits for the slow disk now is never written, as when its process dies. Only for a store whose actor is
        /// gone.
        pub fn lose_waiting(&self) {
            self.disk().losses += 1;
        }

        fn disk(&self) -> MutexGuard<'_, Disk> {
            self.disk.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Has a group written on the blocking pool, when the disk comes to it.
        pub(in crate::storage) fn write<T: Send + 'static>(
            &self,
            group: impl FnOnce(&Self) -> T + Send + 'static,
        ) -> JoinHandle<T> {
            let faults = self.clone();
            let Disk { pause, losses } = *self.disk();
            if pause.is_zero() {
                return spawn_blocking(move || group(&faults));
            }
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                if faults.disk().losses != losses {
                    std::panic::resume_unwind(Box::new("a process that died"));
                }
                let written = spawn_blocking(move || group(&faults)).await;
                written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            })
        }

        /// No faults yet.
        #[must_use]
        pub fn none() -> Self {
            Self::default()
        }

        /// Plans a fault. Of several that fit a group, the one planned first strikes, alone. The answer comes when it
        /// has struck.
        pub fn plan(&self, fault: Fault) -> oneshot::Receiver<()> {
            let (struck, has_struck) = oneshot::channel();
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.push(Armed { fault, struck: Some(struck) });
            has_struck
        }

        /// Forgets what is planned and has not struck.
        pub fn disarm(&self) {
            self.plan.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }

        /// Plans that the next `groups` groups fail before they are written.
        pub fn fail_next(&self, groups: u32) {
            for _ in 0..groups {
                let action = Action::Fail;
                drop(self.plan(Fault { point: Point::BeforeWrite, family: None, after_groups: 0, action }));
            }
        }

        /// Plans that the next group waits at `point` until the hold is dropped.
        #[must_use]
        pub fn hold(&self, point: Point) -> Hold {
            self.hold_group(point, None)
        }

        /// As [`Faults::hold`], at the next group that puts or deletes a record of `family`.
        #[must_use]
        pub fn hold_of(&self, point: Point, family: Family) -> Hold {
            self.hold_group(point, Some(family))
        }

        fn hold_group(&self, point: Point, family: Option<Family>) -> Hold {
            let (release, released) = mpsc::channel();
            let action = Action::Wait(released);
            let reached = self.plan(Fault { point, family, after_groups: 0, action });
            Hold { reached, release }
        }

        /// Takes what is planned for this point of this group, and does what is to be done on the writer's thread.
        pub(in crate::storage) fn meet(&self, point: Point, group: &[Batch]) -> Met {
            let Some(mut armed) = self.take(point, group) else { return Met::Nothing };
            if let Some(struck) = armed.struck.take() {
                // Nobody need be listening.
                let _ = struck.send(());
            }
            match armed.fault.action {
                Action::Fail => return Met::Failure(StorageError::Write { problem: "a planned fault".into() }),
                Action::Kill => return Met::Kill,
                Action::Panic => std::panic::resume_unwind(Box::new("a planned fault")),
                Action::Delay(time) => std::thread::sleep(time),
                // Ends with an error when the hold is dropped, which is how a hold is let go.
                Action::Wait(released) => match released.recv() {
                    Ok(()) => return Met::Kill,
                    Err(_) => return Met::Nothing,
                },
            }
            Met::Nothing
        }

        fn take(&self, point: Point, group: &[Batch]) -> Option<Armed> {
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.retain_mut(|armed| !armed.fault.action.is_let_go());
            let fits = |armed: &Armed| {
                let family = armed.fault.family;
                let touched = family.is_none_or(|family| group.iter().any(|batch| batch.touches(family)));
                armed.fault.point == point && touched
            };
            let next = plan.iter().position(|armed| fits(armed) && armed.fault.after_groups == 0);
            for armed in plan.iter_mut().filter(|armed| fits(armed)) {
                armed.fault.after_groups = armed.fault.after_groups.saturating_sub(1);
            }
            next.map(|next| plan.remove(next))
        }
    }
}
