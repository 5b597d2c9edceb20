//! The cursor of a search: where a page ended, and the next one begins.

use super::filter::{Filter, Order};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use log_format::{Identity, Position};
use sha2::{Digest, Sha256};
use std::fmt;

const VERSION: u8 = 1;
/// Bytes of the fingerprint.
const FINGERPRINT_BYTES: usize = 8;
/// Bytes of a position.
const POSITION_BYTES: usize = 8;

/// Where a page ended, in each partition. Opaque to clients: base64url of a version, a fingerprint of the search, and the positions.
/// Positions do not move, so nothing is missed or repeated, whatever is appended between two pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    fingerprint: [u8; FINGERPRINT_BYTES],
    /// The next position to scan, by partition: upward, or downward with 0 for none.
    pub(super) next: Vec<Position>,
}

/// The cursor belongs to another search. The text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not of this log, filter and order: send it as it was given, with the same parameters, or leave it out"
)]
pub struct ForeignCursorError;

impl Cursor {
    pub(super) fn new(log: &Identity, filter: &Filter, order: Order, next: Vec<Position>) -> Self {
        Self {
            fingerprint: fingerprint(log, filter, order),
            next,
        }
    }

    /// What [`Cursor`]'s text says, when it was given for this log, filter and order.
    pub fn read(
        text: &str,
        log: &Identity,
        filter: &Filter,
        order: Order,
    ) -> Result<Self, ForeignCursorError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| ForeignCursorError)?;
        let Some((&[VERSION], rest)) = bytes.split_first_chunk::<1>() else {
            return Err(ForeignCursorError);
        };
        let (fingerprint, rest) = rest.split_first_chunk().ok_or(ForeignCursorError)?;
        let (positions, left) = rest.as_chunks::<POSITION_BYTES>();
        let next: Vec<_> = positions
            .iter()
            .map(|bytes| Position::from_be_bytes(*bytes))
            .collect();
        let cursor = Self::new(log, filter, order, next);
        let fits = cursor.fingerprint == *fingerprint && left.is_empty();
        let whole = cursor.next.len() == log.partitions.unsigned_abs() as usize
            && cursor.next.iter().all(|at| *at >= 0);
        if fits && whole {
            Ok(cursor)
        } else {
            Err(ForeignCursorError)
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions = self.next.iter().flat_map(|position| position.to_be_bytes());
        let bytes: Vec<u8> = [VERSION]
            .into_iter()
            .chain(self.fingerprint)
            .chain(positions)
            .collect();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn fingerprint(log: &Identity, filter: &Filter, order: Order) -> [u8; FINGERPRINT_BYTES] {
    let mut sha = Sha256::new();
    sha.update(log.log_id.as_bytes());
    sha.update(match order {
        Order::Ascending => b"asc",
        Order::Descending => b"dsc",
    });
    filter.digest(&mut sha);
    let digest = sha.finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Bound;
    use uuid::Uuid;

    fn log(id: u128, partitions: i32) -> Identity {
        Identity {
            log_id: Uuid::from_u128(id),
            partitions,
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_own_question_alone() {
        let user = |name: &str| Filter {
            user: Some(name.to_owned().try_into().unwrap()),
            ..Filter::default()
        };
        let asked = Cursor::new(
            &log(1, 2),
            &user("kim"),
            Order::Ascending,
            vec![7, i64::MAX],
        );
        let text = asked.to_string();
        let read = |log: &Identity, filter: &Filter, order| Cursor::read(&text, log, filter, order);
        assert_eq!(
            read(&log(1, 2), &user("kim"), Order::Ascending),
            Ok(asked.clone())
        );
        for (log, filter, order) in [
            (log(2, 2), user("kim"), Order::Ascending),
            (log(1, 3), user("kim"), Order::Ascending),
            (log(1, 2), user("lee"), Order::Ascending),
            (log(1, 2), user("kim"), Order::Descending),
            (
                log(1, 2),
                Filter {
                    from: Some(Bound::Position(1)),
                    ..user("kim")
                },
                Order::Ascending,
            ),
            (
                log(1, 2),
                Filter {
                    to: Some(Bound::Position(1)),
                    ..user("kim")
                },
                Order::Ascending,
            ),
            (
                log(1, 2),
                Filter {
                    correlation: Some("kim".into()),
                    ..Filter::default()
                },
                Order::Ascending,
            ),
        ] {
            assert_eq!(
                read(&log, &filter, order),
                Err(ForeignCursorError),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn garbage_is_no_cursor() {
        let (log, filter) = (log(1, 2), Filter::default());
        let good = Cursor::new(&log, &filter, Order::Ascending, vec![1, 2]).to_string();
        let negative = Cursor::new(&log, &filter, Order::Ascending, vec![1, -2]).to_string();
        let longer = format!("{good}AA");
        for text in [
            "",
            "x",
            "AA",
            &good[1..],
            &good[..good.len() - 2],
            &longer,
            &format!("{good}="),
            &negative,
        ] {
            assert_eq!(
                Cursor::read(text, &log, &filter, Order::Ascending),
                Err(ForeignCursorError),
                "{text}"
            );
        }
        assert!(Cursor::read(&good, &log, &filter, Order::Ascending).is_ok());
    }
}
