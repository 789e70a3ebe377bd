//! What people see while they wait: one line on standard error, brought up to date in place on a terminal and printed
//! anew elsewhere whenever it says something new.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::time::MissedTickBehavior;

/// How often a line on a terminal is brought up to date.
const EVERY: Duration = Duration::from_millis(100);

/// The line.
pub(super) struct Progress {
    /// Written over in place.
    in_place: bool,
}

impl Progress {
    /// A line for this process. `logs` says that a log goes to standard error too, which a line in place would garble.
    pub(super) fn new(logs: bool) -> Self {
        Self { in_place: !logs && stderr().is_terminal() }
    }

    /// Waits for `work`, at most `limit`, and shows `state` meanwhile.
    ///
    /// # Errors
    /// When the time is over; the text ends with the last state.
    pub(super) async fn during<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
        state: impl Fn() -> String,
    ) -> anyhow::Result<T> {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = String::new();
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break Some(done),
                _ = ticks.tick() => {
                    let elapsed = started.elapsed();
                    if elapsed > limit {
                        break None;
                    }
                    self.show(&mut last, state(), elapsed);
                }
            }
        };
        if self.in_place {
            print("\r\x1b[2K");
        }
        done.ok_or_else(|| anyhow!("not done after {} seconds: {}", limit.as_secs(), state()))
    }

    fn show(&self, last: &mut String, state: String, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if self.in_place {
            print(&format!("\r\x1b[2K{state} … {seconds:.1} s"));
        } else if *last != state {
            print(&format!("{state} ({seconds:.1} s)\n"));
            *last = state;
        }
    }
}

fn print(text: &str) {
    let mut stderr = stderr().lock();
    // Whoever closed standard error does not want to know.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
