//! What this process has used, as the operating system counts it.

use crate::wire::native::ProcessReport;

/// Reads it, where the operating system is Linux.
#[must_use]
pub fn report() -> Option<ProcessReport> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    let cpu = std::time::Duration::new(u64::try_from(time.tv_sec).ok()?, nanoseconds);
    Some(ProcessReport {
        cpu_seconds: cpu.as_secs_f64(),
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
    fn report__should_know_of_this_process() {
        let report = report().unwrap();
        assert!(report.cpu_seconds > 0.0);
        assert!(report.resident_bytes > 0 && report.resident_bytes <= report.peak_resident_bytes);
    }
}
