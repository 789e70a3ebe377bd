//! The state of a connection, as it follows from the library's events.

use async_nats::{Event, ServerError};

/// The state of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it is there now.
    pub connected: bool,
    /// How often it has been lost so far.
    pub losses: u64,
    /// How many publishes and subscribes the server has not permitted so far.
    pub permission_violations: u64,
    /// What the server said of the last of them: it names the subject.
    pub last_violation: Option<String>,
    /// Whether one of them, since the connection was last made, was of a claimed subject.
    pub denied: bool,
    /// How many messages were dropped because a subscription was read too slowly.
    pub slow_consumers: u64,
}

impl Status {
    /// A connection that was just made.
    pub(super) const fn fresh() -> Self {
        Self {
            connected: true,
            losses: 0,
            permission_violations: 0,
            last_violation: None,
            denied: false,
            slow_consumers: 0,
        }
    }

    /// Follows an event. `connects` is how often the connection was made so far; `claimed` knows the claimed subjects.
    ///
    /// The library drops events while more than 128 wait. So losses are counted by `connects` too, and an attempt to
    /// connect says that the connection is gone.
    pub(super) fn follow(&mut self, event: &Event, connects: u64, claimed: impl Fn(&str) -> bool) {
        match event {
            Event::Connected => {
                // The server judges anew what is asked of it on a new connection.
                self.denied &= self.connected;
                self.connected = true;
            }
            Event::Disconnected | Event::Closed | Event::ClientError(_) => {
                self.losses += u64::from(self.connected);
                self.connected = false;
            }
            Event::ServerError(ServerError::Other(text)) => {
                if let Some(violation) = Violation::parse(text) {
                    self.permission_violations += 1;
                    self.last_violation = Some(text.clone());
                    self.denied |= claimed(violation.subject);
                }
            }
            Event::SlowConsumer(_) => self.slow_consumers += 1,
            Event::ServerError(_) | Event::LameDuckMode | Event::Draining => {}
        }
        self.losses = self.losses.max(connects.saturating_sub(1));
    }
}

/// A line in which the server says that it does not permit something.
#[derive(Debug, PartialEq, Eq)]
struct Violation<'a> {
    subject: &'a str,
}

impl<'a> Violation<'a> {
    /// Takes the whole text between the quotes, so that nobody passes one subject off as another by a quote in it.
    fn parse(text: &'a str) -> Option<Self> {
        let what = text.strip_prefix("Permissions Violation for ")?;
        let quoted = match what.strip_prefix("Publish to ") {
            Some(publish) => publish,
            None => {
                let subscription = what.strip_prefix("Subscription to ")?;
                subscription.split_once(" using queue ").map_or(subscription, |(subject, _)| subject)
            }
        };
        Some(Self { subject: quoted.strip_prefix('"')?.strip_suffix('"')? })
    }
}

#[cfg(test)]
mod tests {
    use async_nats::ClientError;

    use super::*;

    fn after(events: &[Event]) -> Status {
        let mut status = Status::fresh();
        for event in events {
            status.follow(event, 1, |subject| subject == "mine");
        }
        status
    }

    fn error(text: &str) -> Event {
        Event::ServerError(ServerError::Other(text.to_owned()))
    }

    #[test]
    fn losses__should_be_counted_once_each() {
        assert_eq!(after(&[Event::Connected]), Status::fresh());
        let trying = Event::ClientError(ClientError::Other(String::new()));
        let lost = after(&[Event::Disconnected, trying.clone(), trying.clone()]);
        assert_eq!((lost.connected, lost.losses), (false, 1));
        let back = after(&[Event::Disconnected, Event::Connected, trying, Event::Connected]);
        assert_eq!((back.connected, back.losses), (true, 2), "also where the news of the loss itself was dropped");
        let mut status = Status::fresh();
        status.follow(&Event::SlowConsumer(1), 4, |_| false);
        assert_eq!((status.losses, status.slow_consumers), (3, 1), "also where all news was dropped");
    }

    #[test]
    fn violations__should_be_counted_and_deny_what_is_claimed() {
        let publish = error(r#"Permissions Violation for Publish to "mine""#);
        let status = after(std::slice::from_ref(&publish));
        assert_eq!((status.permission_violations, status.denied), (1, true));
        assert!(status.last_violation.unwrap().contains("mine"));
        for claimed in [
            r#"Permissions Violation for Subscription to "mine""#,
            r#"Permissions Violation for Subscription to "mine" using queue "q""#,
        ] {
            assert!(after(&[error(claimed)]).denied, "{claimed}");
        }
        for other in [
            r#"Permissions Violation for Publish to "yours""#,
            r#"Permissions Violation for Publish to "mine"x""#,
            r#"Permissions Violation for Publish to "x"mine""#,
        ] {
            let status = after(&[error(other)]);
            assert_eq!((status.permission_violations, status.denied), (1, false), "{other}");
        }
        for noise in ["Stale Connection", "Permissions Violation for Publish to mine", "Permissions Violation for "] {
            assert_eq!(after(&[error(noise)]), Status::fresh(), "{noise}");
        }
    }

    #[test]
    fn denial__should_last_until_the_connection_is_made_anew() {
        let denied = error(r#"Permissions Violation for Publish to "mine""#);
        assert!(after(&[denied.clone(), Event::Disconnected]).denied);
        assert!(!after(&[denied.clone(), Event::Disconnected, Event::Connected]).denied);
        assert!(after(&[Event::Disconnected, Event::Connected, denied.clone()]).denied);
        assert!(after(&[denied, Event::Connected]).denied, "the news of the first connect may come late");
    }
}
