//! Cursors (keyset pagination): a list continues after the last row that its reader has, found by that row's key through an index,
//! instead of by counting rows.
//!
//! A key never changes and no two rows of a list share one. So whatever is written between two pages, no row comes twice, and none
//! that was there when the first page was read and still is there is left out. A cursor is the key and nothing that a process or a
//! generation of a read model has of its own, so it is good everywhere and for ever.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::reference::MAX_CURSOR_CHARS;
use edge::{ListData, Paging, Params};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::view_rows::ViewRows;

const VERSION: u8 = 1;
/// Bytes of a list's fingerprint.
const FINGERPRINT_BYTES: usize = 8;
const FOREIGN: &str = "must be the nextCursor of an answer to the same call, user and filter; leave it empty to begin";

/// What tells a row of a list apart from all others, and says where it stands among them.
pub(crate) trait RowKey: Sized {
    /// Always of the same length.
    fn to_bytes(&self) -> Vec<u8>;

    /// `None` when [`RowKey::to_bytes`] never gave these.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// A list that cursors belong to: of one log, read model, user and filter. Cursors of others are refused, which hinders mistakes; what a
/// user may see does not depend on it.
#[derive(Clone, Copy)]
pub(crate) struct ListFingerprint([u8; FINGERPRINT_BYTES]);

/// The part of a list that a request asks for.
#[derive(Clone, Copy)]
pub(crate) enum Slice<K> {
    /// A page by its number.
    Page(Paging),
    /// What follows a row, or where there is none, the beginning.
    After(Option<K>, i64),
}

/// A list's `data`, where it was asked for with a cursor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContinuedList<T> {
    #[serde(flatten)]
    data: ListData<T>,
    /// `None` at the end.
    next_cursor: Option<String>,
}

impl ListFingerprint {
    pub(crate) fn new(
        log_id: Uuid,
        read_model: &str,
        user_id: &str,
        product_id: Option<i64>,
    ) -> Self {
        let list = format!("{log_id} {read_model} {user_id} {product_id:?}");
        let digest = Sha256::digest(list);
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    fn cursor(self, key: &impl RowKey) -> String {
        URL_SAFE_NO_PAD.encode([&[VERSION], self.0.as_slice(), &key.to_bytes()].concat())
    }

    /// The key that `text` says; `None` when it says nothing, which is the beginning.
    fn key<K: RowKey>(self, text: &str) -> Result<Option<K>, &'static str> {
        if text.is_empty() {
            return Ok(None);
        }
        self.decode(text).map(Some).ok_or(FOREIGN)
    }

    fn decode<K: RowKey>(self, text: &str) -> Option<K> {
        let bytes = URL_SAFE_NO_PAD
            .decode(Some(text).filter(|text| text.len() <= MAX_CURSOR_CHARS)?)
            .ok()?;
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else {
            return None;
        };
        let (fingerprint, key) = rest.split_first_chunk()?;
        K::from_bytes(key).filter(|_| self.0 == *fingerprint)
    }
}

impl<K: RowKey> Slice<K> {
    /// The page, or what follows the cursor, that `params` name; `None` when they are wrong.
    pub(crate) fn read(params: &mut Params, paging: Paging, list: ListFingerprint) -> Option<Self> {
        if !params.has("cursor") {
            return Some(Self::Page(paging));
        }
        if params.has("page") {
            params.wrong(
                "cursor",
                "and page exclude each other: leave one of them out",
            );
            return None;
        }
        let after = params.text("cursor", |text| list.key(text))?.flatten();
        Some(Self::After(after, paging.size()))
    }

    /// The answer with the rows that were found, one more than asked for where there are more.
    pub(crate) fn respond<'a, R, T: Serialize>(
        &self,
        found: &'a ViewRows<R>,
        list: ListFingerprint,
        key: impl Fn(&R) -> K,
        item: impl Fn(&'a R) -> T,
    ) -> Response {
        let data = |rows: &'a [R]| ListData {
            total_count: found.total_count,
            list: rows.iter().map(&item).collect(),
        };
        let Self::After(_, size) = self else {
            return edge::ok(data(&found.rows));
        };
        let shown = usize::try_from(*size).map_or(&found.rows[..], |size| {
            &found.rows[..size.min(found.rows.len())]
        });
        let last = shown.last().filter(|_| shown.len() < found.rows.len());
        edge::ok(ContinuedList {
            data: data(shown),
            next_cursor: last.map(|row| list.cursor(&key(row))),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;
    use crate::holdings::HeldProduct;
    use crate::invest_log::InvestKey;
    use chrono::DateTime;

    const LOG: Uuid = Uuid::from_u128(7);

    fn key() -> InvestKey {
        InvestKey {
            requested_at: "2026-11-29T12:00:00.123456Z".parse().unwrap(),
            invest_id: Uuid::from_u128(9),
        }
    }

    fn list(user_id: &str, product_id: Option<i64>) -> ListFingerprint {
        ListFingerprint::new(LOG, "invest_log", user_id, product_id)
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = list("kim", None).cursor(&key());
        assert_eq!(list("kim", None).key(&cursor), Ok(Some(key())));
        assert_eq!(list("kim", None).key::<InvestKey>(""), Ok(None));
        assert!(cursor.len() <= MAX_CURSOR_CHARS, "{cursor}");
    }

    #[test]
    fn a_cursor_is_good_for_its_own_list_alone() {
        let cursor = list("kim", None).cursor(&key());
        for other in [
            list("lee", None),
            list("kim", Some(1)),
            ListFingerprint::new(LOG, "holdings", "kim", None),
            ListFingerprint::new(Uuid::from_u128(8), "invest_log", "kim", None),
        ] {
            assert_eq!(other.key::<InvestKey>(&cursor), Err(FOREIGN));
        }
        assert_eq!(
            list("kim", None).key::<HeldProduct>(&cursor),
            Err(FOREIGN),
            "a key of another length"
        );
    }

    #[test]
    fn garbage_is_no_cursor() {
        let list = list("kim", None);
        let good = list.cursor(&key());
        let raw =
            |key: &[u8]| URL_SAFE_NO_PAD.encode([&[VERSION], list.0.as_slice(), key].concat());
        let other_version =
            URL_SAFE_NO_PAD.encode([&[2], list.0.as_slice(), &key().to_bytes()].concat());
        let end_of_time = InvestKey {
            requested_at: DateTime::UNIX_EPOCH,
            ..key()
        }
        .to_bytes();
        let end_of_time = raw(&[&[0x7f; 8], &end_of_time[8..]].concat());
        let garbage = [
            "x",
            "=",
            "#",
            "AA",
            &good[1..],
            &good[..good.len() - 1],
            &other_version,
            &end_of_time,
        ];
        let longer = [
            format!("{good}AA"),
            format!("{good}="),
            format!(" {good}"),
            "A".repeat(1_000),
            raw(&[]),
        ];
        for text in garbage.into_iter().chain(longer.iter().map(String::as_str)) {
            assert_eq!(list.key::<InvestKey>(text), Err(FOREIGN), "{text}");
        }
    }
}
