//! Keeps the memory of a node's process where it is: out of core dumps, away from other processes, out of swap.
//!
//! ```text
//!  close()            first of all: no core dumps, not dumpable
//!    │  configuration
//!  settle(config)     opens what the configuration allows, or closes it for good; locks memory
//!    │  secrets are read
//! ```
//!
//! A process that is not dumpable belongs to root under /proc: no other process of the same user reads its memory or
//! attaches to it. Root does.

use anyhow::anyhow;
use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failed;
use crate::config::{LockMemory, ProcessConfig};

/// Forbids dumps, until the configuration is known.
///
/// # Errors
/// When the system refuses.
pub(super) fn close() -> Result<(), Failed> {
    let former = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..former })
        .map_err(|error| failed("forbid core dumps", error))?;
    set_dumpable(false)
}

/// Does what the configuration says, and logs it.
///
/// # Errors
/// When the system refuses, or memory must be locked and may not be.
pub(super) fn settle(config: ProcessConfig) -> Result<(), Failed> {
    let core = |current, maximum| {
        setrlimit(Resource::Core, Rlimit { current, maximum })
            .map_err(|error| failed("set the limit of core dumps", error))
    };
    if config.allow_dumps {
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        core(maximum, maximum)?;
        set_dumpable(true)?;
        tracing::warn!("process.allow_dumps: a core dump, or a debugger, gets at all secrets of this node");
    } else {
        core(Some(0), Some(0))?;
    }
    let required = match config.lock_memory {
        LockMemory::Off => return Ok(()),
        LockMemory::Auto => false,
        LockMemory::Required => true,
    };
    match lock() {
        Ok(()) => tracing::info!("memory is locked: it does not go to swap"),
        Err(why) if required => {
            return Err(Failed::Usage(anyhow!("failed to lock memory, as process.lock_memory asks for: {why}")));
        }
        Err(why) => tracing::warn!("memory is not locked, and may go to swap: {why}"),
    }
    Ok(())
}

fn failed(what: &str, error: io::Errno) -> Failed {
    Failed::Work(anyhow!("failed to {what}: {error}"))
}

#[cfg(target_os = "linux")]
fn set_dumpable(dumpable: bool) -> Result<(), Failed> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    set_dumpable_behavior(behavior).map_err(|error| failed("make the process not dumpable", error))
}

/// Locks all memory, present and future, page by page as it is used: whole stacks of threads would be gigabytes.
///
/// Under a limit nothing is locked: every allocation beyond it would fail.
#[cfg(target_os = "linux")]
fn lock() -> Result<(), String> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::thread::{CapabilitySet, capabilities};

    let limit = getrlimit(Resource::Memlock);
    let privileged = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(bytes), false) = (limit.current, privileged) {
        if limit.maximum.is_some() {
            return Err(format!(
                "the limit is {bytes} bytes; make it unlimited (ulimit -l, LimitMEMLOCK) or grant CAP_IPC_LOCK"
            ));
        }
        setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).map_err(|error| error.to_string())?;
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn set_dumpable(_: bool) -> Result<(), Failed> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn lock() -> Result<(), String> {
    Err("this system is not Linux".to_owned())
}
