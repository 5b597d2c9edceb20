//! The hash chain: each event's hash covers every stored column and the hash before it in the partition.
//!
//! SHA-256 (FIPS 180-4). The bytes that go in are described, with a check in plain SQL, in `docs/log-format.md`; the
//! format is final.

use crate::LogError;
use crate::event::StoredEvent;
use crate::log::{Identity, Log, Partition, Position};
use crate::row::StoredRow;
use sha2::{Digest, Sha256};

/// SHA-256 of an event and all before it in its partition.
pub type Hash = [u8; 32];

/// How many events one read of a verification takes.
const VERIFY_PAGE: i64 = 5_000;

/// The hash before the first event of a partition: it names the log, so that no stretch of another log fits in.
pub(crate) fn genesis(identity: &Identity, partition: Partition) -> Hash {
    let mut sha = Sha256::new();
    sha.update(b"moa-log-1");
    sha.update(identity.log_id.as_bytes());
    sha.update(i64::from(identity.partitions).to_be_bytes());
    sha.update(i64::from(partition).to_be_bytes());
    sha.finalize().into()
}

/// The hash of `row`, whose predecessor in the partition has the hash `previous`.
pub(crate) fn link(previous: &Hash, row: &StoredEvent) -> Hash {
    StoredRow::from(row).link(previous)
}

impl Identity {
    /// The hash before the first event of `partition`.
    pub fn genesis(&self, partition: Partition) -> Hash {
        genesis(self, partition)
    }
}

/// A stretch of a partition that was read and found whole: positions 1..=`position` without a hole, `hash` the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last position that was read; 0 for an empty partition.
    pub position: Position,
    /// Its hash; the partition's genesis when empty.
    pub hash: Hash,
}

impl Log {
    /// Reads a whole partition and checks positions, times and every hash. [`LogError::Broken`] names the first
    /// position that is wrong.
    pub async fn verify(&self, partition: Partition) -> Result<Verified, LogError> {
        let mut at = Verified { position: 0, hash: genesis(self.identity(), partition) };
        let mut last_time = None;
        loop {
            let rows = self.stored_after(partition, at.position, VERIFY_PAGE).await?;
            if rows.is_empty() {
                return Ok(at);
            }
            for row in &rows {
                at = follow(at, last_time, row)?;
                last_time = Some(row.recorded_at);
            }
        }
    }
}

fn follow(
    at: Verified,
    last_time: Option<chrono::DateTime<chrono::Utc>>,
    row: &StoredEvent,
) -> Result<Verified, LogError> {
    let position = at.position + 1;
    let broken = |reason: &str| LogError::Broken { partition: row.partition, position, reason: reason.into() };
    if row.position != position {
        return Err(broken("there is a hole"));
    }
    if last_time.is_some_and(|last| row.recorded_at < last) {
        return Err(broken("its time is before the previous one"));
    }
    let hash = link(&at.hash, row);
    if row.hash != hash {
        return Err(broken("its hash does not follow from the previous one"));
    }
    Ok(Verified { position, hash })
}
