//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::wire::native::ProcessReport;

/// What a run came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub operation: &'static str,
    pub concurrency: u32,
    pub requests: usize,
    pub succeeded: usize,
    pub seconds: f64,
    pub per_second: f64,
    /// Of the requests that succeeded.
    pub latency_ms: Latency,
    /// How many failed, by code.
    pub errors: BTreeMap<String, usize>,
    /// By process.
    pub processes: BTreeMap<String, ProcessCost>,
    /// What went on meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

/// What went on beside what was measured.
#[derive(Debug, Serialize)]
pub(super) struct Beside {
    pub operation: &'static str,
    pub concurrency: u32,
    /// Just before.
    pub per_second_alone: f64,
    pub per_second: f64,
}

/// Percentiles.
#[derive(Debug, Default, Serialize)]
pub(super) struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// What a process spent.
#[derive(Debug, Serialize)]
pub(super) struct ProcessCost {
    /// During the run.
    pub cpu_seconds: f64,
    /// Per request that succeeded.
    pub cpu_ms_per_request: f64,
    /// Since the process started.
    pub peak_mib: f64,
}

impl Report {
    pub(super) fn new(
        operation: &'static str,
        concurrency: u32,
        took: Duration,
        outcomes: &[(Duration, Result<(), String>)],
        before: &BTreeMap<String, ProcessReport>,
        after: &BTreeMap<String, ProcessReport>,
    ) -> Self {
        let mut times: Vec<Duration> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(time, _)| *time).collect();
        times.sort_unstable();
        let mut errors = BTreeMap::new();
        for code in outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()) {
            *errors.entry(code.clone()).or_default() += 1;
        }
        let succeeded = times.len();
        let cost = |(name, after): (&String, &ProcessReport)| {
            let cpu_seconds = after.cpu_seconds - before.get(name)?.cpu_seconds;
            let cpu_ms_per_request = cpu_seconds * 1e3 / succeeded.max(1) as f64;
            let peak_mib = after.peak_resident_bytes as f64 / f64::from(1 << 20);
            Some((name.clone(), ProcessCost { cpu_seconds, cpu_ms_per_request, peak_mib }))
        };
        Self {
            operation,
            concurrency,
            requests: outcomes.len(),
            succeeded,
            seconds: took.as_secs_f64(),
            per_second: succeeded as f64 / took.as_secs_f64(),
            latency_ms: Latency {
                p50: percentile(&times, 50),
                p95: percentile(&times, 95),
                p99: percentile(&times, 99),
                max: percentile(&times, 100),
            },
            errors,
            processes: after.iter().filter_map(cost).collect(),
            beside: None,
        }
    }

    /// With what went on beside it.
    pub(super) fn beside(self, beside: Option<Beside>) -> Self {
        Self { beside, ..self }
    }
}

/// The time, in milliseconds, that so many percent of the sorted times do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p95, p99, max } = self.latency_ms;
        writeln!(f, "{}, {} at a time", self.operation, self.concurrency)?;
        writeln!(f, "  {} of {} requests in {:.2} s", self.succeeded, self.requests, self.seconds)?;
        writeln!(f, "  {:.1} per second", self.per_second)?;
        writeln!(f, "  latency: p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, at most {max:.1} ms")?;
        for (code, count) in &self.errors {
            writeln!(f, "  {code}: {count}")?;
        }
        for (name, cost) in &self.processes {
            writeln!(
                f,
                "  {name:<12}{:>8.2} s of CPU, {:>6.2} ms per request, at most {:>5.1} MiB",
                cost.cpu_seconds, cost.cpu_ms_per_request, cost.peak_mib
            )?;
        }
        if let Some(Beside { operation, concurrency, per_second_alone, per_second }) = &self.beside {
            writeln!(
                f,
                "  beside it: {operation}, {concurrency} at a time: {per_second:.1} per second, {per_second_alone:.1} alone"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile__should_take_the_nearest_rank() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!([50, 95, 99, 100].map(|p| percentile(&times, p)), [100.0, 190.0, 198.0, 200.0]);
        assert_eq!((percentile(&times[..1], 50), percentile(&[], 50)), (1.0, 0.0));
    }

    #[test]
    fn report__should_count_errors_by_code_and_leave_them_out_of_latency() {
        let fast = (Duration::from_millis(2), Ok(()));
        let failed = (Duration::from_secs(9), Err("NOT_MAJORITY".to_owned()));
        let used = |cpu_seconds| {
            let report = ProcessReport { cpu_seconds, resident_bytes: 1 << 20, peak_resident_bytes: 1 << 20 };
            BTreeMap::from([("node0".to_owned(), report)])
        };
        let outcomes = [fast.clone(), fast, failed];
        let report = Report::new("sign", 2, Duration::from_secs(1), &outcomes, &used(1.0), &used(1.5));
        assert_eq!((report.succeeded, report.errors["NOT_MAJORITY"]), (2, 1));
        assert_eq!((report.latency_ms.max, report.processes["node0"].cpu_ms_per_request), (2.0, 250.0));
    }
}
