//! What the log is made of, in numbers: which log, which partition, which position, which hash.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A part of the log with an order of its own, from 0. A product lives in exactly one.
pub type Partition = i32;
/// Place in a partition, from 1; 0 is before the first event.
pub type Position = i64;
/// SHA-256 of an event and all before it in its partition.
pub type Hash = [u8; 32];

/// What a log is for ever: generated when it is created, and stored in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which log. Everything that leaves the log carries it.
    pub log_id: Uuid,
    /// How many partitions it has, 1 to 64.
    pub partitions: i32,
}

impl Identity {
    /// The hash before the first event of `partition`. It names the log, so events of another log never fit into its chain.
    pub fn genesis(&self, partition: Partition) -> Hash {
        let mut sha = Sha256::new();
        sha.update(b"moa-log-1");
        sha.update(self.log_id.as_bytes());
        sha.update(i64::from(self.partitions).to_be_bytes());
        sha.update(i64::from(partition).to_be_bytes());
        sha.finalize().into()
    }
}
