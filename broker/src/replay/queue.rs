//! The name of a queue outside Moa.

use std::fmt;
use std::str::FromStr;

/// How our own queues' names begin.
const OURS: &str = "moa.";
/// Longest name that AMQP can carry, in bytes.
const LONGEST: usize = 255;

/// The name of a queue that is not Moa's own: 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideQueue(String);

/// A name that no outsider's queue can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOutside {
    /// The name is empty.
    #[error("a queue has a name")]
    Empty,
    /// The name is longer than 255 bytes.
    #[error("a queue's name has {LONGEST} bytes at most")]
    TooLong,
    /// It is named like one of Moa's own, whose consumers read the log by themselves.
    #[error(
        "names that begin with {OURS} are Moa's own queues, which need no replay: name a queue of another consumer"
    )]
    Ours,
}

impl OutsideQueue {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OutsideQueue {
    type Err = NotOutside;

    fn from_str(name: &str) -> Result<Self, NotOutside> {
        match name {
            "" => Err(NotOutside::Empty),
            name if name.len() > LONGEST => Err(NotOutside::TooLong),
            name if name.starts_with(OURS) => Err(NotOutside::Ours),
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
    fn a_queue_of_ours_and_what_is_no_name_are_refused() {
        let (longest, too_long) = ("q".repeat(LONGEST), "q".repeat(LONGEST + 1));
        for (name, expected) in [
            ("", Err(NotOutside::Empty)),
            ("moa.", Err(NotOutside::Ours)),
            ("moa.01991f5e-7c3a-7b60-9a52-3f0f6ed1a001.holdings.0", Err(NotOutside::Ours)),
            (&too_long, Err(NotOutside::TooLong)),
            (&longest, Ok(())),
            ("moa", Ok(())),
            ("billing.moa.", Ok(())),
        ] {
            assert_eq!(name.parse::<OutsideQueue>().map(|_| ()), expected, "{name}");
        }
    }
}
