//! What processes have used, as Linux counts it. On other systems nothing is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::wire::native::ProcessReport;

/// The CPU time of the engines so far, in nanoseconds.
static ENGINES: AtomicU64 = AtomicU64::new(0);

/// What this process has used.
#[must_use]
pub fn of_this() -> Option<ProcessReport> {
    report("self", cpu(ClockId::ProcessCPUTime).as_secs_f64())
}

/// How much of this process's CPU time its engines have used: the threshold cryptography itself, without the actors, links
/// and storage around it.
#[must_use]
pub fn engines() -> Duration {
    Duration::from_nanos(ENGINES.load(Ordering::Relaxed))
}

/// Counts the CPU time of `work` as an engine's.
pub(crate) fn as_engine<T>(work: impl FnOnce() -> T) -> T {
    let before = cpu(ClockId::ThreadCPUTime);
    let result = work();
    let used = cpu(ClockId::ThreadCPUTime).saturating_sub(before);
    ENGINES.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    result
}

/// CPU time so far: of this thread, or of the process.
fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What another process on this machine has used.
#[must_use]
pub fn of(pid: u32) -> Option<ProcessReport> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold blanks; fields 14 and 15 are user and system time, in ticks.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|ticks| ticks.parse::<u64>().ok());
    let ticks = times.next()??.checked_add(times.next()??)?;
    report(&pid.to_string(), ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn report(process: &str, cpu_seconds: f64) -> Option<ProcessReport> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(ProcessReport {
        cpu_seconds,
        resident_bytes: kibibytes(&status, "VmRSS:")?,
        peak_resident_bytes: kibibytes(&status, "VmHWM:")?,
    })
}

/// The value of a line such as `VmRSS:  1234 kB`, in bytes.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes__should_read_what_linux_writes() {
        let status = "Name:\tquorate\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(10_485_760));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
        assert_eq!(kibibytes("VmRSS: many kB\n", "VmRSS:"), None);
    }

    #[test]
    fn engines__should_be_counted_by_what_they_compute() {
        let before = engines();
        let spent = as_engine(|| {
            let begun = cpu(ClockId::ThreadCPUTime);
            while cpu(ClockId::ThreadCPUTime) - begun < Duration::from_millis(5) {}
            cpu(ClockId::ThreadCPUTime) - begun
        });
        // Other tests compute meanwhile.
        assert!(engines() - before >= spent);
    }

    #[test]
    fn reports__should_agree_on_this_process() {
        let (this, same) = (of_this().unwrap(), of(std::process::id()).unwrap());
        assert!(this.cpu_seconds > 0.0 && this.resident_bytes <= this.peak_resident_bytes);
        assert!(same.cpu_seconds >= 0.0 && same.peak_resident_bytes >= this.peak_resident_bytes);
        assert_eq!(of(u32::MAX), None);
    }
}
