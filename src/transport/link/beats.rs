//! Heartbeats: who has heard what, when, and how long it took.

use std::collections::VecDeque;
use std::time::Duration;

use super::message::{Beat, Readiness};

/// How many of our own beats stay known for measuring.
const KEPT: usize = 8;

/// The peer acknowledges beats that were never sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible;

/// What a beat of the peer tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// It is to be answered at once.
    pub(super) answer: bool,
    /// It says something about the peer that the listeners should get.
    pub(super) report: bool,
}

/// The state of the heartbeats of one life of a link. Times count from the start of that life.
pub(super) struct Heartbeats {
    sent: u64,
    sent_at: VecDeque<(u64, Duration)>,
    acknowledged: u64,
    acknowledged_at: Duration,
    heard: u64,
    rtt: Duration,
    peer: Readiness,
}

impl Heartbeats {
    /// Nothing sent, nothing heard.
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            sent_at: VecDeque::with_capacity(KEPT),
            acknowledged: 0,
            acknowledged_at: Duration::ZERO,
            heard: 0,
            rtt: Duration::ZERO,
            peer: Readiness::default(),
        }
    }

    /// The next beat to send.
    pub(super) fn next(&mut self, answer: bool, readiness: Readiness, now: Duration) -> Beat {
        self.sent += 1;
        if self.sent_at.len() == KEPT {
            self.sent_at.pop_front();
        }
        self.sent_at.push_back((self.sent, now));
        Beat { sequence: self.sent, heard: self.heard, answer, readiness }
    }

    /// Takes a beat of the peer. Beats may come in any order; each comes once.
    pub(super) fn hear(&mut self, beat: Beat, now: Duration) -> Result<Heard, Impossible> {
        if beat.heard > self.sent {
            return Err(Impossible);
        }
        if beat.heard > self.acknowledged {
            self.acknowledged = beat.heard;
            self.acknowledged_at = now;
            // Only an answer comes at once; other beats acknowledge whatever was heard long before.
            if beat.answer
                && let Some((_, at)) = self.sent_at.iter().find(|(sequence, _)| *sequence == beat.heard)
            {
                self.measure(now.saturating_sub(*at));
            }
        }
        let newest = beat.sequence > self.heard;
        let mut report = false;
        if newest {
            report = beat.answer || beat.readiness != self.peer;
            self.heard = beat.sequence;
            self.peer = beat.readiness;
        }
        Ok(Heard { answer: !beat.answer, report })
    }

    /// Something other than a beat has just proved that both directions work: the end of a handshake.
    pub(super) fn proven(&mut self, rtt: Duration, now: Duration) {
        self.acknowledged_at = now;
        self.measure(rtt);
    }

    /// When the peer last acknowledged something.
    pub(super) fn acknowledged_at(&self) -> Duration {
        self.acknowledged_at
    }

    /// The round-trip time, smoothed as in RFC 6298.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// What the peer last said about itself.
    pub(super) fn peer(&self) -> &Readiness {
        &self.peer
    }

    fn measure(&mut self, rtt: Duration) {
        self.rtt = if self.rtt.is_zero() { rtt } else { (self.rtt * 7 + rtt) / 8 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn beat(sequence: u64, heard: u64, answer: bool) -> Beat {
        Beat { sequence, heard, answer, readiness: Readiness::default() }
    }

    #[test]
    fn heartbeats__should_prove_only_what_was_newly_acknowledged() {
        let mut beats = Heartbeats::new();
        beats.next(false, Readiness::default(), ms(10));
        beats.hear(beat(1, 0, false), ms(20)).unwrap();
        assert_eq!(beats.acknowledged_at(), ms(0), "hearing is not being heard");
        beats.hear(beat(2, 1, true), ms(30)).unwrap();
        assert_eq!((beats.acknowledged_at(), beats.rtt()), (ms(30), ms(20)));
        beats.hear(beat(3, 1, false), ms(900)).unwrap();
        assert_eq!(beats.acknowledged_at(), ms(30), "half-open: the peer hears nothing new");
    }

    #[test]
    fn heartbeats__should_refuse_acknowledgements_of_what_was_never_sent() {
        let mut beats = Heartbeats::new();
        assert_eq!(beats.hear(beat(1, 1, false), ms(1)), Err(Impossible));
    }

    #[test]
    fn heartbeats__should_measure_answers_only() {
        let mut beats = Heartbeats::new();
        beats.next(false, Readiness::default(), ms(0));
        beats.hear(beat(1, 1, false), ms(800)).unwrap();
        assert_eq!(beats.rtt(), ms(0));
    }

    #[test]
    fn heartbeats__should_keep_the_newest_readiness_whatever_the_order() {
        let mut beats = Heartbeats::new();
        let serving = Readiness { serving: true, pairs: vec![] };
        let newer = Beat { readiness: serving.clone(), ..beat(5, 0, false) };
        assert_eq!(beats.hear(newer, ms(1)), Ok(Heard { answer: true, report: true }));
        assert_eq!(beats.hear(beat(4, 0, false), ms(2)), Ok(Heard { answer: true, report: false }));
        assert_eq!(*beats.peer(), serving);
    }
}
