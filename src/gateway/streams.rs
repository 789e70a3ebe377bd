//! The streams of the contract: made where they are missing, used as they are where they exist.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, RetentionPolicy, Stream};
use async_nats::jetstream::{self, ErrorCode};

use crate::wire::mpcium::{RESULT_STREAM, RESULT_SUBJECTS, Requests};

/// How long requests wait for a node.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// For how long the server knows a result by its id, where a node makes the stream.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(3600);
/// How much a stream keeps, in bytes.
const MAX_BYTES: i64 = 100_000_000;
/// How long a node may stay silent about a request that it has taken.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(30);
/// How many requests all nodes together may have taken and not answered. What one node takes has its own bound.
const MAX_ACK_PENDING: i64 = 4096;

/// The server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("failed to prepare stream {stream}: {problem}")]
pub(super) struct StreamError {
    stream: &'static str,
    problem: String,
}

impl StreamError {
    fn new(stream: &'static str, problem: impl ToString) -> Self {
        Self { stream, problem: problem.to_string() }
    }
}

/// Makes sure that results have a stream.
///
/// # Errors
/// When it neither exists nor can be made.
pub(super) async fn results(context: &jetstream::Context) -> Result<(), StreamError> {
    let config = Config { retention: RetentionPolicy::WorkQueue, ..described(RESULT_STREAM) };
    let config = Config { max_age: Duration::ZERO, duplicate_window: DUPLICATE_WINDOW, ..config };
    ensure(context, RESULT_STREAM, &RESULT_SUBJECTS, config).await.map(drop)
}

/// Makes sure that requests have a stream, and returns the consumer that all nodes share.
///
/// # Errors
/// When one of them neither exists nor can be made.
pub(super) async fn requests(context: &jetstream::Context, requests: Requests) -> Result<PullConsumer, StreamError> {
    let Requests { stream: name, subjects, consumer } = requests;
    let stream = ensure(context, name, &[subjects], described(name)).await?;
    let config = pull::Config {
        durable_name: Some(consumer.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        filter_subject: subjects.to_owned(),
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    };
    stream.get_or_create_consumer(consumer, config).await.map_err(|error| StreamError::new(name, error))
}

fn described(name: &str) -> Config {
    Config {
        name: name.to_owned(),
        description: Some(format!("Stream for {name}")),
        max_age: MAX_AGE,
        max_bytes: MAX_BYTES,
        ..Config::default()
    }
}

/// Opens a stream, adds the subjects that it lacks, or makes it. Its other settings are left alone.
async fn ensure(
    context: &jetstream::Context,
    name: &'static str,
    subjects: &[&str],
    config: Config,
) -> Result<Stream, StreamError> {
    let failed = |error: &dyn std::fmt::Display| StreamError::new(name, error);
    let stream = match context.get_stream(name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(error.kind()) => {
            let config = Config { subjects: subjects.iter().map(ToString::to_string).collect(), ..config };
            match context.create_stream(config).await {
                Ok(stream) => return Ok(stream),
                // Another node, or a client, was faster, and made it in its own way.
                Err(error) if is_taken(error.kind()) => {
                    context.get_stream(name).await.map_err(|error| failed(&error))?
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(error) => return Err(failed(&error)),
    };
    let mut config = stream.cached_info().config.clone();
    if let Some(subjects) = completed(&config.subjects, subjects) {
        config.subjects = subjects;
        context.update_stream(config).await.map_err(|error| failed(&error))?;
    }
    Ok(stream)
}

fn is_missing(kind: GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_taken(kind: CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// The subjects of a stream with those that it lacks, or nothing if it lacks none. What a wanted subject covers is
/// replaced by it: a stream's subjects must not overlap.
fn completed(present: &[String], wanted: &[&str]) -> Option<Vec<String>> {
    let lacking: Vec<&str> =
        wanted.iter().copied().filter(|wanted| !present.iter().any(|present| covers(present, wanted))).collect();
    if lacking.is_empty() {
        return None;
    }
    let kept = present.iter().filter(|present| !lacking.iter().any(|lacking| covers(lacking, present)));
    Some(kept.cloned().chain(lacking.iter().map(ToString::to_string)).collect())
}

/// Whether every subject that `narrow` stands for is one that `wide` stands for.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wide), Some(narrow)) if wide == narrow => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers__should_follow_the_wildcards() {
        let yes = [("a.b", "a.b"), ("a.*", "a.b"), ("a.*", "a.*"), ("a.>", "a.b.c"), ("a.>", "a.*"), (">", "a.>")];
        let no = [("a.b", "a.*"), ("a.*", "a.>"), ("a.>", "a"), ("a.*", "a.b.c"), ("a.b.c", "a.b"), ("b.>", "a.b")];
        assert!(yes.iter().all(|(wide, narrow)| covers(wide, narrow)));
        assert!(!no.iter().any(|(wide, narrow)| covers(wide, narrow)));
    }

    #[test]
    fn streams__should_gain_the_subjects_they_lack() {
        let present = |subjects: &[&str]| subjects.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(completed(&present(&RESULT_SUBJECTS), &RESULT_SUBJECTS), None);
        assert_eq!(completed(&present(&["mpc.>"]), &RESULT_SUBJECTS), None);
        let grown = completed(&present(&["mpc.mpc_signing_result.*", "mine.*"]), &RESULT_SUBJECTS).unwrap();
        assert_eq!(grown, ["mine.*", RESULT_SUBJECTS[0], RESULT_SUBJECTS[1], RESULT_SUBJECTS[2]]);
    }
}
