//! The segment of a partition that the next seal covers, checked before it is signed.

use super::SealError;
use event_log::{Hash, Partition, Position, RawEventRef};
use proof::merkle::Tree;
use proof::seal::{HASH_PREFIX_BYTES, MAX_EVENTS_PER_SEAL};
use proof::seal_chain::SealedTo;
use sha2::{Digest, Sha256};

/// A segment that follows what was sealed before.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) head: Hash,
    pub(super) root: Hash,
    pub(super) hash_prefixes: Vec<u8>,
}

impl Segment {
    pub(super) fn hash_prefixes_digest(&self) -> Hash {
        Sha256::digest(&self.hash_prefixes).into()
    }
}

/// Checks rows one after another, and collects what a seal says of them.
pub(super) struct SegmentBuilder {
    partition: Partition,
    sealed: SealedTo,
    /// Whether the last sealed row has been seen; none is expected where nothing is sealed.
    begins: bool,
    /// The last one's.
    recorded_at: Option<i64>,
    position: Position,
    head: Hash,
    tree: Tree,
    hash_prefixes: Vec<u8>,
    scratch: Vec<u8>,
}

impl SegmentBuilder {
    /// Of the segment that follows `sealed` in `partition`.
    pub(super) fn after(partition: Partition, sealed: SealedTo) -> Self {
        Self {
            partition,
            sealed,
            begins: sealed.position == 0,
            recorded_at: None,
            position: sealed.position,
            head: sealed.head,
            tree: Tree::default(),
            hash_prefixes: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The next row: first the last sealed one where there is one, then at most [`MAX_EVENTS_PER_SEAL`]; the rest is left out.
    ///
    /// # Errors
    /// It does not follow from what was sealed.
    pub(super) fn add(&mut self, row: &RawEventRef<'_>) -> Result<(), SealError> {
        if !self.begins {
            return self.begin(row);
        }
        if self.position - self.sealed.position >= MAX_EVENTS_PER_SEAL {
            return Ok(());
        }
        self.position += 1;
        if row.position != self.position {
            return Err(self.refused("it is not there"));
        }
        if row.hash != row.hash_after(&self.head, &mut self.scratch) {
            return Err(
                self.refused("its hash does not follow from its columns and the hash before it")
            );
        }
        if self
            .recorded_at
            .is_some_and(|before| row.recorded_at < before)
        {
            return Err(self.refused("it was recorded before the position before it"));
        }
        (self.head, self.recorded_at) = (row.hash, Some(row.recorded_at));
        self.tree.add(&self.head);
        self.hash_prefixes
            .extend_from_slice(&self.head[..HASH_PREFIX_BYTES]);
        Ok(())
    }

    /// The row that was sealed last must still be there.
    fn begin(&mut self, row: &RawEventRef<'_>) -> Result<(), SealError> {
        if (row.position, row.hash) != (self.sealed.position, self.sealed.head) {
            return Err(self.sealed_is_gone());
        }
        (self.begins, self.recorded_at) = (true, Some(row.recorded_at));
        Ok(())
    }

    /// The segment; `None` when there is no event in it.
    ///
    /// # Errors
    /// The log does not have what was sealed last.
    pub(super) fn finish(self) -> Result<Option<Segment>, SealError> {
        if !self.begins {
            return Err(self.sealed_is_gone());
        }
        let segment = Segment {
            first: self.sealed.position + 1,
            last: self.position,
            head: self.head,
            root: self.tree.root(),
            hash_prefixes: self.hash_prefixes,
        };
        Ok((self.position > self.sealed.position).then_some(segment))
    }

    fn sealed_is_gone(&self) -> SealError {
        self.refused("the log does not have what was sealed here")
    }

    fn refused(&self, why: &str) -> SealError {
        let Self {
            partition,
            position,
            ..
        } = self;
        SealError::Conflict(format!("partition {partition} position {position}: {why}"))
    }
}
