//! Where a list of refusals goes on.

use super::Filter;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Bytes of a cursor: the question's fingerprint, the time, the id.
const CURSOR_BYTES: usize = FINGERPRINT_BYTES + 8 + 16;
const FINGERPRINT_BYTES: usize = 8;
const MALFORMED: &str = "must be the nextCursor of an answer to the same question";

/// In which order they are listed: by the time they were decided, then by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Asc,
    Desc,
}

impl Order {
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "asc" => Ok(Self::Asc),
            "desc" => Ok(Self::Desc),
            _ => Err("must be asc or desc"),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }

    pub(super) fn after(self) -> &'static str {
        match self {
            Self::Asc => ">",
            Self::Desc => "<",
        }
    }
}

/// The last refusal of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) refused_at: DateTime<Utc>,
    pub(super) invest_id: Uuid,
}

impl Cursor {
    /// Opaque to whoever sends it back, and good for the same question only.
    pub(super) fn written(self, filter: &Filter, order: Order) -> String {
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.extend(fingerprint(filter, order));
        bytes.extend(self.refused_at.timestamp_micros().to_be_bytes());
        bytes.extend(self.invest_id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor that `text` says, if it was made for this question.
    pub(super) fn read(text: &str, filter: &Filter, order: Order) -> Result<Self, &'static str> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MALFORMED)?;
        let bytes: [u8; CURSOR_BYTES] = bytes.try_into().map_err(|_| MALFORMED)?;
        let (question, rest) = bytes.split_at(FINGERPRINT_BYTES);
        let (micros, id) = rest.split_at(8);
        if question != fingerprint(filter, order) {
            return Err(MALFORMED);
        }
        let micros = micros.try_into().map(i64::from_be_bytes).map_err(|_| MALFORMED)?;
        let refused_at = DateTime::from_timestamp_micros(micros).ok_or(MALFORMED)?;
        Ok(Self { refused_at, invest_id: Uuid::from_slice(id).map_err(|_| MALFORMED)? })
    }
}

fn fingerprint(filter: &Filter, order: Order) -> [u8; FINGERPRINT_BYTES] {
    let Filter { product_id, user_id, code, from, to } = filter;
    let question = format!("{product_id:?} {user_id:?} {code:?} {from:?} {to:?} {order:?}");
    let mut fingerprint = [0; FINGERPRINT_BYTES];
    fingerprint.copy_from_slice(&Sha256::digest(question)[..FINGERPRINT]);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Filter = Filter { product_id: None, user_id: None, code: None, from: None, to: None };

    fn cursor() -> Cursor {
        Cursor { refused_at: "2026-01-01T00:00:00.123456Z".parse().unwrap(), invest_id: Uuid::from_u128(7) }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let written = cursor().written(&ALL, Order::Asc);
        assert_eq!(Cursor::read(&written, &ALL, Order::Asc), Ok(cursor()));
    }

    #[test]
    fn a_cursor_is_good_for_its_question_only() {
        let written = cursor().written(&ALL, Order::Asc);
        let sold_out = Filter { code: Some("SOLD_OUT"), ..ALL };
        assert_eq!(Cursor::read(&written, &sold_out, Order::Asc), Err(MALFORMED));
        assert_eq!(Cursor::read(&written, &ALL, Order::Desc), Err(MALFORMED));
    }

    #[test]
    fn garbage_is_refused() {
        let written = cursor().written(&ALL, Order::Asc);
        let mut ends_of_time = fingerprint(&ALL, Order::Asc).to_vec();
        ends_of_time.extend([0x7f; 24]);
        for garbage in ["", "x", "=", &written[1..], &format!("{written}AAAA"), &URL_SAFE_NO_PAD.encode(ends_of_time)] {
            assert_eq!(Cursor::read(garbage, &ALL, Order::Asc), Err(MALFORMED), "{garbage}");
        }
    }
}
