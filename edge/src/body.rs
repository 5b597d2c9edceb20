//! A JSON object as it was sent: every member, repeats included.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

use crate::request_limits::{BODY_TIMEOUT, MAX_BODY_BYTES};
use crate::{FieldProblem, Fields, Problem};

/// How deep arrays and objects may lie in each other, the body itself counted.
const MAX_DEPTH: usize = 32;

/// The members of the one JSON object in a request's body, undecoded. As an extractor it refuses other media types
/// (415), more than [`MAX_BODY_BYTES`] bytes (413), a body slower than 5 s (408), and whatever is not UTF-8, not JSON, not
/// an object or nested deeper than 32 (400).
#[derive(Debug)]
pub struct JsonObject {
    members: Vec<(String, Box<RawValue>)>,
}

impl JsonObject {
    /// Takes the fields out one by one, remembering what was wrong with each.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.members)
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let refuse = |wrong: &str| Problem::invalid(FieldProblem::new("body", wrong));
        let text = std::str::from_utf8(body).map_err(|_| refuse("must be UTF-8"))?;
        if too_deep(text) {
            return Err(refuse(&format!(
                "must not be nested deeper than {MAX_DEPTH}"
            )));
        }
        serde_json::from_str(text).map_err(|_| refuse("must be one JSON object"))
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::UnsupportedMediaType);
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, read(request.into_body()));
        Self::parse(&body.await.map_err(|_| Problem::TooSlow)??)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let text = only
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = text
        .split_once(';')
        .map_or(text, |(media_type, _)| media_type);
    media_type.trim().eq_ignore_ascii_case("application/json")
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Problem::TooLarge);
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::TooLarge),
        Err(_) => Err(Problem::invalid(FieldProblem::new(
            "body",
            "did not arrive whole",
        ))),
    }
}

/// Whether brackets outside strings nest too deep. On text that is not JSON the answer does not matter.
fn too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// A map type would keep one of several members of the same name; this keeps all.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = JsonObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(JsonObject { members })
    }
}
