//! The name of a queue outside Moa.

use std::fmt;
use std::str::FromStr;

/// The prefix of the names of Moa's own queues.
const OWN_QUEUE_PREFIX: &str = "moa.";
/// The longest name in AMQP, in bytes.
const MAX_QUEUE_NAME_BYTES: usize = 255;

/// The name of a queue that is not Moa's own: 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideQueue(String);

/// Why a name cannot be that of an outside queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutsideQueueError {
    /// The name is empty.
    #[error("the name of a queue must not be empty")]
    Empty,
    /// The name is longer than 255 bytes.
    #[error("a queue's name has {MAX_QUEUE_NAME_BYTES} bytes at most")]
    TooLong,
    /// It is the name of one of Moa's own queues, whose consumers read the log themselves.
    #[error(
        "names that begin with {OWN_QUEUE_PREFIX} are Moa's own queues, which need no replay: name a queue of another consumer"
    )]
    Reserved,
}

impl OutsideQueue {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OutsideQueue {
    type Err = OutsideQueueError;

    fn from_str(name: &str) -> Result<Self, OutsideQueueError> {
        match name {
            "" => Err(OutsideQueueError::Empty),
            name if name.len() > MAX_QUEUE_NAME_BYTES => Err(OutsideQueueError::TooLong),
            name if name.starts_with(OWN_QUEUE_PREFIX) => Err(OutsideQueueError::Reserved),
            name => Ok(Self(name.to_owned())),
        }
    }
}

impl fmt::Display for OutsideQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_moas_own_queues_and_invalid_names_are_refused() {
        let (longest, too_long) = (
            "q".repeat(MAX_QUEUE_NAME_BYTES),
            "q".repeat(MAX_QUEUE_NAME_BYTES + 1),
        );
        for (name, expected) in [
            ("", Err(OutsideQueueError::Empty)),
            ("moa.", Err(OutsideQueueError::Reserved)),
            (
                "moa.01991f5e-7c3a-7b60-9a52-3f0f6ed1a001.holdings.0",
                Err(OutsideQueueError::Reserved),
            ),
            (&too_long, Err(OutsideQueueError::TooLong)),
            (&longest, Ok(())),
            ("moa", Ok(())),
            ("billing.moa.", Ok(())),
        ] {
            assert_eq!(name.parse::<OutsideQueue>().map(|_| ()), expected, "{name}");
        }
    }
}
