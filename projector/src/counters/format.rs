//! The format of the fields of a hash in Redis. Every value ends in a check, the beginning of a SHA-256 over the key, the
//! field and the value, which detects a value that was damaged, truncated, or copied from another field, partition, log or
//! database. It has no secret, so it does not detect a forgery; the comparison with `product_list` does.

use event_log::Position;
use sha2::{Digest, Sha256};

/// The field with the state of the hash.
pub(super) const STATE: &str = "@state";

/// The state of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Everything in the hash is the fold of the partition up to this position.
    pub(super) position: Position,
    /// The last change of the list of products, or a later position.
    pub(super) listed: Position,
    /// The hash of the event at `position`, in hexadecimal digits; empty at 0.
    pub(super) event_hash: String,
    /// Who wrote it: a UUID of one run of a consumer.
    pub(super) by: String,
    /// The field's text.
    pub(super) text: String,
}

impl State {
    pub(super) fn new(
        key: &str,
        position: Position,
        listed: Position,
        event_hash: &str,
        by: &str,
    ) -> Self {
        let text = checked(
            key,
            STATE,
            &format!("{position}:{listed}:{event_hash}:{by}"),
        );
        Self {
            position,
            listed,
            event_hash: event_hash.into(),
            by: by.into(),
            text,
        }
    }

    /// `None` when `text` is not a state of the hash at `key`.
    pub(super) fn read(key: &str, text: &str) -> Option<Self> {
        let mut parts = value_of(key, STATE, text)?.split(':');
        let (position, listed) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (event_hash, by) = (parts.next()?.into(), parts.next()?.into());
        parts.next().is_none().then(|| Self {
            position,
            listed,
            event_hash,
            by,
            text: text.into(),
        })
    }
}

/// `value` with its check, as it is written into `field` of the hash at `key`.
pub(super) fn checked(key: &str, field: &str, value: &str) -> String {
    format!("{value}:{}", check(key, field, value))
}

/// The value in a field's text; `None` when the check does not match.
pub(super) fn value_of<'a>(key: &str, field: &str, text: &'a str) -> Option<&'a str> {
    let (value, found) = text.rsplit_once(':')?;
    (found == check(key, field, value)).then_some(value)
}

/// The first 8 bytes of the SHA-256 of the three, each on its line, in hexadecimal digits.
fn check(key: &str, field: &str, value: &str) -> String {
    let digest = Sha256::digest(format!("{key}\n{field}\n{value}"));
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "moa:{log.0}:counters:2:7.5";

    /// The same texts as in the readers' tests; a text that differs in anything is not read.
    #[test]
    fn only_texts_with_the_right_check_are_read() {
        let state = State::new(KEY, 7, 3, "ab", "me");
        assert_eq!(state.text, "7:3:ab:me:ba711646fc6ec925");
        assert_eq!(State::read(KEY, &state.text), Some(state.clone()));
        assert_eq!(State::read("moa:{log.0}:counters:2:7.6", &state.text), None);
        assert_eq!(State::read(KEY, &state.text.replace('7', "8")), None);
        let counter = checked(KEY, "4", "300:2:0:6");
        assert_eq!(counter, "300:2:0:6:a0d15d0a2eb1c8cb");
        assert_eq!(value_of(KEY, "4", &counter), Some("300:2:0:6"));
        assert_eq!(value_of(KEY, "8", &counter), None);
    }
}
