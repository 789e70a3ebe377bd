//! Where requests come from and results go to.

use std::fmt;

use crate::ids::InvalidId;

/// A stream of requests, and how nodes share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// The stream.
    pub stream: &'static str,
    /// The subjects in it.
    pub subjects: &'static str,
    /// The durable consumer that all nodes share.
    pub consumer: &'static str,
}

/// Requests for wallets.
pub const KEYGEN: Requests =
    Requests { stream: "mpc-keygen", subjects: "mpc.keygen_request.*", consumer: "mpc_keygen_consumer" };
/// Requests for signatures.
pub const SIGNING: Requests =
    Requests { stream: "mpc-signing", subjects: "mpc.signing_request.*", consumer: "mpc_signing_consumer" };
/// The stream of results.
pub const RESULT_STREAM: &str = "mpc";
/// The subjects in it.
pub const RESULT_SUBJECTS: [&str; 3] =
    ["mpc.mpc_keygen_result.>", "mpc.mpc_signing_result.>", "mpc.mpc_reshare_result.>"];
/// What results of key generations are published below.
pub const KEYGEN_RESULT: &str = "mpc.mpc_keygen_result";
/// What results of signings are published below.
pub const SIGNING_RESULT: &str = "mpc.mpc_signing_result";
/// Where requests to deal keys anew are published: to all nodes, in no stream.
pub const RESHARE_REQUEST: &str = "mpc:reshare";
/// What results of reshares are published below.
pub const RESHARE_RESULT: &str = "mpc.mpc_reshare_result";
/// The header of a request that says whose results it leads to.
pub const CLIENT_ID_HEADER: &str = "ClientID";

/// A client that wants its results apart from those of others: one token of a NATS subject, 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(String);

impl ClientId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ClientId {
    type Error = InvalidId;

    fn try_from(text: &str) -> Result<Self, InvalidId> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX_BYTES {
            "it is longer than 128 bytes"
        } else if !text.chars().all(is_token_char) {
            "it holds a blank, a control character, or one of . * >"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(InvalidId { what: "client id", problem })
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_token_char(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !matches!(character, '.' | '*' | '>')
}

/// The subject of a result: `<prefix>.[<client>.]<name>`.
///
/// A name may have dots, as tokens; what no published subject can have (wildcards, blanks, an empty token) becomes `_`.
pub(super) fn result_subject(prefix: &str, client: Option<&ClientId>, name: &str) -> String {
    let token = |token: &str| match token {
        "" => "_".to_owned(),
        token => token.chars().map(|character| if is_token_char(character) { character } else { '_' }).collect(),
    };
    let name: Vec<String> = name.split('.').map(token).collect();
    let client = client.map(|client| format!("{client}.")).unwrap_or_default();
    format!("{prefix}.{client}{}", name.join("."))
}

/// Tells a message of a stream from every other, also from one of a stream of the same name that was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageKey {
    /// Its place in the stream.
    pub sequence: u64,
    /// When the server took it: nanoseconds since 1970.
    pub taken_at: i128,
}

/// The de-duplication id of a result: `<prefix>.[<client>:]<name>:<message>`. The same message leads to the same id on
/// every node and each time it is redelivered; the same request sent once more to another one.
pub(super) fn result_id(prefix: &str, client: Option<&ClientId>, name: &str, message: MessageKey) -> String {
    let client = client.map(|client| format!("{client}:")).unwrap_or_default();
    format!("{prefix}.{client}{name}:{}-{}", message.sequence, message.taken_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_id__should_be_one_token() {
        for good in ["a", "team-1", "desk:2", "für_alle"] {
            assert_eq!(ClientId::try_from(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(129);
        for bad in ["", "a b", "a.b", "*", ">", "tab\t", "line\n", long.as_str()] {
            ClientId::try_from(bad).unwrap_err();
        }
    }

    #[test]
    fn subjects__should_be_those_of_the_contract() {
        let client = ClientId::try_from("X").unwrap();
        assert_eq!(result_subject(KEYGEN_RESULT, None, "w-1"), "mpc.mpc_keygen_result.w-1");
        assert_eq!(result_subject(KEYGEN_RESULT, Some(&client), "w-1"), "mpc.mpc_keygen_result.X.w-1");
        assert_eq!(result_subject(SIGNING_RESULT, None, "complete"), "mpc.mpc_signing_result.complete");
        assert_eq!(result_subject(SIGNING_RESULT, Some(&client), "complete"), "mpc.mpc_signing_result.X.complete");
    }

    #[test]
    fn subjects__should_be_publishable_whatever_a_wallet_is_called() {
        assert_eq!(result_subject(KEYGEN_RESULT, None, "a.b"), "mpc.mpc_keygen_result.a.b");
        assert_eq!(result_subject(KEYGEN_RESULT, None, "*"), "mpc.mpc_keygen_result._");
        assert_eq!(result_subject(KEYGEN_RESULT, None, ".a..>"), "mpc.mpc_keygen_result._.a._._");
        assert_eq!(result_subject(KEYGEN_RESULT, None, ""), "mpc.mpc_keygen_result._");
    }

    #[test]
    fn ids__should_tell_requests_apart_and_not_their_deliveries() {
        let client = ClientId::try_from("X").unwrap();
        let message = |sequence, taken_at| MessageKey { sequence, taken_at };
        assert_eq!(result_id(SIGNING_RESULT, Some(&client), "tx", message(7, 1)), "mpc.mpc_signing_result.X:tx:7-1");
        assert_eq!(result_id(SIGNING_RESULT, None, "tx", message(7, 2)), "mpc.mpc_signing_result.tx:7-2");
    }
}
