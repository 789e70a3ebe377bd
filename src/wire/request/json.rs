//! Reading the fields of a request, and writing compact JSON as other languages write it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{MAX_REQUEST_BYTES, RequestError};
use crate::ids::InvalidId;

/// Whose rules for escaping text a JSON text follows. They differ in five characters only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonForm {
    /// Go's `encoding/json`: `<`, `>`, `&`, U+2028 and U+2029 are written as `\u` escapes.
    Go,
    /// JavaScript's `JSON.stringify`: these characters are written as they are.
    JavaScript,
}

impl JsonForm {
    /// Both forms, the more common first.
    pub const ALL: [Self; 2] = [Self::Go, Self::JavaScript];

    /// `text` as a JSON string with its quotes.
    pub(super) fn quote(self, text: &str) -> String {
        let quoted = Value::from(text).to_string();
        match self {
            Self::JavaScript => quoted,
            Self::Go => escape_as_go(quoted),
        }
    }
}

/// JSON as Go escapes it: the five characters stand in strings only.
pub(in crate::wire) fn escape_as_go(json: String) -> String {
    GO_ESCAPES.iter().fold(json, |text, (from, to)| if text.contains(*from) { text.replace(*from, to) } else { text })
}

/// Writes one compact JSON object, its members in the order of the calls.
pub(super) struct ObjectWriter {
    form: JsonForm,
    text: String,
}

impl ObjectWriter {
    pub(super) fn new(form: JsonForm) -> Self {
        Self { form, text: String::from("{") }
    }

    /// A member whose value is `text`.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        let quoted = self.form.quote(text);
        self.raw(name, &quoted)
    }

    /// A member whose value is already JSON.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text.push_str(json);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.text.push('}');
        self.text.into_bytes()
    }
}

/// A JSON array of numbers, compact.
pub(super) fn numbers(values: &[u32]) -> String {
    let values: Vec<String> = values.iter().map(u32::to_string).collect();
    format!("[{}]", values.join(","))
}

/// A JSON array of strings that need no escaping, compact.
pub(super) fn plain_texts<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<String> = values.map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", values.join(","))
}

/// Parses the object whose fields `T` lists. Fields that `T` does not know are ignored, as Go does; fields given twice
/// are refused, since two readers could then see two requests.
pub(super) fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    if bytes.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLong { len: bytes.len() });
    }
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(RequestError::Malformed { line: 1, column: 0 });
    }
    serde_json::from_slice(bytes)
        .map_err(|error| RequestError::Malformed { line: error.line(), column: error.column() })
}

/// A field that has to be there, and text.
pub(super) fn required_text(field: &'static str, value: Option<Value>) -> Result<String, RequestError> {
    optional_text(field, value)?.ok_or(RequestError::field(field, "it is missing"))
}

/// Text, if it is there and not null.
pub(super) fn optional_text(field: &'static str, value: Option<Value>) -> Result<Option<String>, RequestError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(RequestError::field(field, "it is not a string")),
    }
}

/// A list, if it is there and not null.
pub(super) fn optional_list(field: &'static str, value: Option<Value>) -> Result<Option<Vec<Value>>, RequestError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(RequestError::field(field, "it is not a list")),
    }
}

/// Decodes what Go's `base64.StdEncoding` decodes: the standard alphabet with padding, line breaks ignored.
pub(super) fn base64_bytes(field: &'static str, text: &str) -> Result<Vec<u8>, RequestError> {
    let bad = |_| RequestError::field(field, "it is not standard base64 with padding");
    if text.contains(['\r', '\n']) {
        return GO_BASE64.decode(text.replace(['\r', '\n'], "")).map_err(bad);
    }
    GO_BASE64.decode(text).map_err(bad)
}

/// Puts the field's name to what is wrong with a domain value.
pub(super) fn in_field(field: &'static str) -> impl Fn(InvalidId) -> RequestError {
    move |invalid| RequestError::field(field, invalid.problem)
}

/// Go ignores the unused bits of the last character.
const GO_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

const GO_ESCAPES: [(char, &str); 5] =
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
