//! The keys of `event_index`, as `migrations/0008_event_index.sql` describes them. Changed only together with
//! [`INDEX_VERSION`].

use domain::{InvestId, ProductEvent, UserId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The read model that search looks events up in.
pub const EVENT_INDEX: &str = "event_index";
/// The version of its rows that this code can use; an index of another counts as none.
pub const INDEX_VERSION: i32 = 1;

/// Of the types that most events are, which are found by reading the log itself.
const COMMON_TYPES: [&str; 2] = ["InvestReserved", "InvestSettled"];
/// Bytes of a uuid that come first in its key.
const UUID_KEY_BYTES: usize = 6;

/// The key of a user.
pub fn user_key(user: &UserId) -> i64 {
    of_text(user.as_str())
}

/// The key of an invest.
pub fn invest_key(invest: InvestId) -> i64 {
    of_uuid(invest.0)
}

/// The key of a correlation id.
pub fn correlation_key(correlation: &str) -> i64 {
    // Most are uuids, made by the edge.
    Uuid::try_parse(correlation).map_or_else(|_| of_text(correlation), of_uuid)
}

/// `event_type` when it is rare enough to be looked up.
pub fn rare_type(event_type: &str) -> Option<&str> {
    (!COMMON_TYPES.contains(&event_type)).then_some(event_type)
}

/// Whose event it is, and of which invest; `None` for what happens to a whole product.
pub fn subject(event: &ProductEvent) -> Option<(&UserId, InvestId)> {
    match event {
        ProductEvent::InvestReserved {
            user_id, invest_id, ..
        }
        | ProductEvent::InvestSettled {
            user_id, invest_id, ..
        }
        | ProductEvent::InvestFailed {
            user_id, invest_id, ..
        }
        | ProductEvent::InvestWithdrawn {
            user_id, invest_id, ..
        }
        | ProductEvent::InvestRefunded {
            user_id, invest_id, ..
        } => Some((user_id, *invest_id)),
        ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    }
}

fn of_text(text: &str) -> i64 {
    first_eight(&Sha256::digest(text.as_bytes()))
}

fn of_uuid(id: Uuid) -> i64 {
    let (time, hash) = (
        &id.as_bytes()[..UUID_KEY_BYTES],
        Sha256::digest(id.as_bytes()),
    );
    first_eight(&[time, &hash].concat())
}

fn first_eight(bytes: &[u8]) -> i64 {
    bytes
        .first_chunk()
        .map_or(0, |first| i64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed beside: `printf kim | sha256sum`, and of a uuid's bytes.
    #[test]
    fn keys_are_as_the_migration_says() {
        let kim = UserId::try_from("kim".to_owned()).unwrap();
        assert_eq!(format!("{:016x}", user_key(&kim)), "26ae784d194a5760");
        let id: Uuid = "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001".parse().unwrap();
        assert_eq!(
            format!("{:016x}", invest_key(InvestId(id))),
            "01991f5e7c3aaa0b"
        );
        assert_eq!(correlation_key(&id.to_string()), invest_key(InvestId(id)));
        assert_eq!(correlation_key("kim"), user_key(&kim));
    }
}
