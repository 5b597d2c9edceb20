//! Verifies the hash chain: each event's hash covers every stored column and the hash before it in the partition.
//!
//! SHA-256 (FIPS 180-4). The bytes that go in are described, with a check in plain SQL, in `docs/log-format.md`; the
//! format is final.

use crate::LogError;
use crate::log::Log;
use chrono::{DateTime, Utc};
use log_format::{Hash, Partition, Position, RawEvent, RawEventRef};

/// Events that one read of a verification returns.
const VERIFY_PAGE_EVENTS: i64 = 5_000;

/// A verified prefix of a partition: positions 1 to `position` without a gap, `hash` is the last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedPrefix {
    /// The last position that was read; 0 for an empty partition.
    pub position: Position,
    /// Its hash; the partition's genesis when empty.
    pub hash: Hash,
}

impl Log {
    /// Reads a whole partition and verifies positions, times and every hash. [`LogError::Broken`] names the first wrong position.
    pub async fn verify(&self, partition: Partition) -> Result<VerifiedPrefix, LogError> {
        let mut at = VerifiedPrefix {
            position: 0,
            hash: self.genesis(partition),
        };
        let mut last_time = None;
        loop {
            let rows = self
                .raw_after(partition, at.position, VERIFY_PAGE_EVENTS)
                .await?;
            if rows.is_empty() {
                return Ok(at);
            }
            for row in &rows {
                at = verify_next(at, last_time, row)?;
                last_time = Some(row.recorded_at);
            }
        }
    }
}

fn verify_next(
    at: VerifiedPrefix,
    last_time: Option<DateTime<Utc>>,
    row: &RawEvent,
) -> Result<VerifiedPrefix, LogError> {
    let position = at.position + 1;
    let broken = |reason: &str| LogError::Broken {
        partition: row.partition,
        position,
        reason: reason.into(),
    };
    if row.position != position {
        return Err(broken("there is a hole"));
    }
    if last_time.is_some_and(|last| row.recorded_at < last) {
        return Err(broken("its time is before the previous one"));
    }
    let hash = RawEventRef::from(row).chain_hash(&at.hash);
    if row.hash != hash {
        return Err(broken("its hash does not follow from the previous one"));
    }
    Ok(VerifiedPrefix { position, hash })
}
