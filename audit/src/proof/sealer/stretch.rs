//! What there is to seal of a partition, and whether it may be.

use super::super::merkle::Tree;
use super::super::seal::{MARK, STRETCH};
use super::super::trust::SealedTo;
use event_log::{Hash, Partition, Position, StoredEvent, StoredRow};
use sha2::{Digest, Sha256};

/// A stretch that follows what was sealed before.
#[derive(Debug)]
pub(super) struct New {
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) head: Hash,
    pub(super) root: Hash,
    pub(super) marks: Vec<u8>,
}

impl New {
    pub(super) fn marks_digest(&self) -> Hash {
        Sha256::digest(&self.marks).into()
    }
}

/// The stretch of `rows`, which begin with the last sealed one where there is one: at most [`STRETCH`] events; `None` when
/// there are none. An error when they do not follow from what was sealed.
pub(super) fn new(partition: Partition, sealed: SealedTo, rows: &[StoredEvent]) -> Result<Option<New>, String> {
    let refused = |position: Position, why: &str| format!("partition {partition} position {position}: {why}");
    let (mut recorded_at, mut rows) = (None, rows.iter());
    if sealed.position > 0 {
        let last = rows.next().filter(|row| (row.position, row.hash) == (sealed.position, sealed.head));
        let last = last.ok_or_else(|| refused(sealed.position, "the log does not have what was sealed here"))?;
        recorded_at = Some(last.recorded_at);
    }
    let (mut head, mut position) = (sealed.head, sealed.position);
    let (mut tree, mut marks, mut room) = (Tree::default(), Vec::new(), Vec::new());
    for row in rows.take(STRETCH as usize) {
        position += 1;
        if row.position != position {
            return Err(refused(position, "it is not there"));
        }
        if row.hash != StoredRow::from(row).hash_after(&head, &mut room) {
            return Err(refused(position, "its hash does not follow from its columns and the hash before it"));
        }
        if recorded_at.is_some_and(|before| row.recorded_at < before) {
            return Err(refused(position, "it was recorded before the position before it"));
        }
        (head, recorded_at) = (row.hash, Some(row.recorded_at));
        tree.add(&head);
        marks.extend_from_slice(&head[..MARK]);
    }
    let stretch = New { first: sealed.position + 1, last: position, head, root: tree.root(), marks };
    Ok((position > sealed.position).then_some(stretch))
}
