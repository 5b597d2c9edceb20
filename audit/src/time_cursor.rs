//! Where a list that goes by time continues: base64url, opaque to whoever sends it back, of the question it belongs to, a time in
//! microseconds, and an id that tells apart what has the same time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

/// `question` may be empty.
pub(crate) fn encode(question: &[u8], at: DateTime<Utc>, id: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([question, &at.timestamp_micros().to_be_bytes(), id].concat())
}

/// What [`encode`] was given, with a question of `Q` bytes and an id of `N`; `None` where it never gave such a text.
pub(crate) fn decode<const Q: usize, const N: usize>(
    text: &str,
) -> Option<([u8; Q], DateTime<Utc>, [u8; N])> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (question, rest) = bytes.split_first_chunk::<Q>()?;
    let (micros, id) = rest.split_first_chunk()?;
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
    Some((*question, at, id.try_into().ok()?))
}
