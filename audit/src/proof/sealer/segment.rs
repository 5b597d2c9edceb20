//! The segment of a partition that the next seal covers, checked before it is signed.

use event_log::{Hash, Partition, Position, RawEvent, RawEventRef};
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

/// The segment of `rows`, which begin with the last sealed one where there is one: at most [`MAX_EVENTS_PER_SEAL`] events; `None` when
/// there are none. An error when they do not follow from what was sealed.
pub(super) fn next_segment(
    partition: Partition,
    sealed: SealedTo,
    rows: &[RawEvent],
) -> Result<Option<Segment>, String> {
    let refused =
        |position: Position, why: &str| format!("partition {partition} position {position}: {why}");
    let (mut recorded_at, mut rows) = (None, rows.iter());
    if sealed.position > 0 {
        let last = rows
            .next()
            .filter(|row| (row.position, row.hash) == (sealed.position, sealed.head));
        let last = last.ok_or_else(|| {
            refused(
                sealed.position,
                "the log does not have what was sealed here",
            )
        })?;
        recorded_at = Some(last.recorded_at);
    }
    let (mut head, mut position) = (sealed.head, sealed.position);
    let (mut tree, mut hash_prefixes, mut scratch) = (Tree::default(), Vec::new(), Vec::new());
    for row in rows.take(MAX_EVENTS_PER_SEAL as usize) {
        position += 1;
        if row.position != position {
            return Err(refused(position, "it is not there"));
        }
        if row.hash != RawEventRef::from(row).hash_after(&head, &mut scratch) {
            return Err(refused(
                position,
                "its hash does not follow from its columns and the hash before it",
            ));
        }
        if recorded_at.is_some_and(|before| row.recorded_at < before) {
            return Err(refused(
                position,
                "it was recorded before the position before it",
            ));
        }
        (head, recorded_at) = (row.hash, Some(row.recorded_at));
        tree.add(&head);
        hash_prefixes.extend_from_slice(&head[..HASH_PREFIX_BYTES]);
    }
    let segment = Segment {
        first: sealed.position + 1,
        last: position,
        head,
        root: tree.root(),
        hash_prefixes,
    };
    Ok((position > sealed.position).then_some(segment))
}
