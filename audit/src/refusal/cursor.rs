//! Where a list of refusals goes on.

use super::Filter;
use crate::time_cursor;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Bytes of the question's fingerprint.
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
        time_cursor::encode(
            &fingerprint(filter, order),
            self.refused_at,
            self.invest_id.as_bytes(),
        )
    }

    /// The cursor that `text` says, if it was made for this question.
    pub(super) fn read(text: &str, filter: &Filter, order: Order) -> Result<Self, &'static str> {
        let (question, refused_at, id) = time_cursor::decode(text).ok_or(MALFORMED)?;
        let cursor = Self {
            refused_at,
            invest_id: Uuid::from_bytes(id),
        };
        if question == fingerprint(filter, order) {
            Ok(cursor)
        } else {
            Err(MALFORMED)
        }
    }
}

fn fingerprint(filter: &Filter, order: Order) -> [u8; FINGERPRINT_BYTES] {
    let Filter {
        product_id,
        user_id,
        code,
        from,
        to,
    } = filter;
    let question = format!("{product_id:?} {user_id:?} {code:?} {from:?} {to:?} {order:?}");
    let mut fingerprint = [0; FINGERPRINT_BYTES];
    fingerprint.copy_from_slice(&Sha256::digest(question)[..FINGERPRINT_BYTES]);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const ALL: Filter = Filter {
        product_id: None,
        user_id: None,
        code: None,
        from: None,
        to: None,
    };

    fn cursor() -> Cursor {
        Cursor {
            refused_at: "2026-01-01T00:00:00.123456Z".parse().unwrap(),
            invest_id: Uuid::from_u128(7),
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let written = cursor().written(&ALL, Order::Asc);
        assert_eq!(Cursor::read(&written, &ALL, Order::Asc), Ok(cursor()));
    }

    #[test]
    fn a_cursor_is_good_for_its_question_only() {
        let written = cursor().written(&ALL, Order::Asc);
        let sold_out = Filter {
            code: Some("SOLD_OUT"),
            ..ALL
        };
        assert_eq!(
            Cursor::read(&written, &sold_out, Order::Asc),
            Err(MALFORMED)
        );
        assert_eq!(Cursor::read(&written, &ALL, Order::Desc), Err(MALFORMED));
    }

    #[test]
    fn garbage_is_refused() {
        let written = cursor().written(&ALL, Order::Asc);
        let mut ends_of_time = fingerprint(&ALL, Order::Asc).to_vec();
        ends_of_time.extend([0x7f; 24]);
        for garbage in [
            "",
            "x",
            "=",
            &written[1..],
            &format!("{written}AAAA"),
            &URL_SAFE_NO_PAD.encode(ends_of_time),
        ] {
            assert_eq!(
                Cursor::read(garbage, &ALL, Order::Asc),
                Err(MALFORMED),
                "{garbage}"
            );
        }
    }
}
