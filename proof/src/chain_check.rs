//! The check of one partition against its hash chain and its seals, row by row in stored order. `docs/proof-format.md` lists the
//! checks in their order, so that another program names the same position and the same problem.

use crate::merkle::Tree;
use crate::position_range::PositionRange;
use crate::report::{BadPosition, PartitionReport, Problem};
use crate::seal::Seal;
use crate::seal_chain::ValidSeals;
use log_format::{Hash, Identity, Partition, Position, RawEventRef};
use std::collections::HashMap;
use std::sync::Arc;

/// The only kind of aggregate that format 1 of the log has.
const AGGREGATE_TYPE: &str = "product";

/// Checks one partition. Call [`Checker::row`] with each row in stored order, then [`Checker::finish`].
///
/// ```ignore
/// let mut checker = Checker::new(&sealed, partition);
/// rows.for_each(|row| checker.row(&row));
/// let found = checker.finish();
/// ```
pub struct Checker {
    identity: Identity,
    partition: Partition,
    seals: Vec<Arc<Seal>>,
    /// The seal that covers the next position, in `seals`; past its end where none does.
    seal: usize,
    tree: Tree,
    /// The last position that is good.
    position: Position,
    hash: Hash,
    recorded_at: i64,
    sequences: HashMap<i64, i64>,
    events: i64,
    head: Position,
    bad: Option<BadPosition>,
    scratch: Vec<u8>,
}

impl Checker {
    /// Before the first row of `partition`.
    pub fn new(sealed: &ValidSeals, partition: Partition) -> Self {
        let identity = sealed.identity();
        Self {
            identity,
            partition,
            seals: sealed.of(partition),
            seal: 0,
            tree: Tree::default(),
            position: 0,
            hash: identity.genesis(partition),
            recorded_at: i64::MIN,
            sequences: HashMap::new(),
            events: 0,
            head: 0,
            bad: None,
            scratch: Vec::new(),
        }
    }

    /// The next row.
    pub fn row(&mut self, row: &RawEventRef<'_>) {
        if self.count(row.position) {
            return;
        }
        let hash = row.hash_after(&self.hash, &mut self.scratch);
        self.compare(row, &hash);
    }

    /// The next row, which by its columns and the hash that the row before it in the file or table has (the partition's
    /// genesis for the first) must have the hash `hash`, see [`RawEventRef::hash_after`]: for callers that hash rows in parallel.
    pub fn hashed(&mut self, row: &RawEventRef<'_>, hash: &Hash) {
        if !self.count(row.position) {
            self.compare(row, hash);
        }
    }

    /// The next row, which cannot be read; `why` in words.
    pub fn unreadable(&mut self, why: impl Into<String>) {
        self.events += 1;
        if self.bad.is_none() {
            self.fail(self.position + 1, Problem::Unreadable, why.into());
        }
    }

    /// Whether nothing was wrong so far.
    pub fn is_good(&self) -> bool {
        self.bad.is_none()
    }

    /// What was found, once there are no more rows.
    pub fn finish(mut self) -> PartitionReport {
        let sealed_upto = self.seals.last().map_or(0, |seal| seal.statement.last);
        if self.bad.is_none() && self.position < sealed_upto {
            let detail =
                format!("the partition ends here, but it was sealed up to position {sealed_upto}");
            self.fail(self.position + 1, Problem::CutOff, detail);
        }
        let unsealed = (self.head > sealed_upto).then(|| PositionRange {
            first: sealed_upto + 1,
            last: self.head,
        });
        let Self {
            partition,
            events,
            head,
            bad,
            ..
        } = self;
        PartitionReport {
            partition,
            events,
            head,
            sealed_upto,
            unsealed,
            bad,
        }
    }

    /// Counts a row; says whether that is all there is to do.
    fn count(&mut self, position: Position) -> bool {
        self.events += 1;
        self.head = self.head.max(position);
        self.bad.is_some()
    }

    fn compare(&mut self, row: &RawEventRef<'_>, hash: &Hash) {
        let position = self.position + 1;
        match self.problem_of(row, hash, position) {
            Ok(()) => {}
            Err((at, problem, detail)) => self.fail(at, problem, detail),
        }
    }

    fn problem_of(
        &mut self,
        row: &RawEventRef<'_>,
        hash: &Hash,
        position: Position,
    ) -> Result<(), (Position, Problem, String)> {
        let here = |problem, detail: &str| Err((position, problem, detail.to_owned()));
        if row.position > position {
            return here(
                Problem::Missing,
                &format!(
                    "it is not there; the next row is at position {}",
                    row.position
                ),
            );
        }
        if row.position < position {
            return here(
                Problem::Changed,
                &format!("a row that says position {} stands here", row.position),
            );
        }
        if row.hash != *hash {
            return here(
                Problem::Changed,
                "its hash does not follow from its columns and the hash before it",
            );
        }
        self.compare_with_seal(row)?;
        if row.recorded_at < self.recorded_at {
            return here(
                Problem::Time,
                "it was recorded before the position before it",
            );
        }
        let Some(product) = self.product(row) else {
            return here(
                Problem::Partition,
                "it is of no product that lives in this partition",
            );
        };
        let last = self.sequences.entry(product).or_insert(0);
        if row.sequence != *last + 1 {
            let detail = format!(
                "its sequence is {}, its product's last was {last}",
                row.sequence
            );
            return here(Problem::Sequence, &detail);
        }
        *last = row.sequence;
        (self.position, self.hash, self.recorded_at) = (position, row.hash, row.recorded_at);
        Ok(())
    }

    /// Compares the row with the seal that covers it.
    fn compare_with_seal(
        &mut self,
        row: &RawEventRef<'_>,
    ) -> Result<(), (Position, Problem, String)> {
        let Some(seal) = self.seals.get(self.seal) else {
            return Ok(());
        };
        if !row.hash.starts_with(seal.hash_prefix(row.position)) {
            let detail =
                "the chain is whole, but from here on it is not the one that was sealed".into();
            return Err((row.position, Problem::Rewritten, detail));
        }
        self.tree.add(&row.hash);
        if row.position < seal.statement.last {
            return Ok(());
        }
        if row.hash != seal.statement.head || self.tree.root() != seal.statement.root {
            let (first, last) = (seal.statement.first, seal.statement.last);
            let detail = format!(
                "every hash prefix fits, but somewhere in {first} to {last} this is not what was sealed"
            );
            return Err((first, Problem::Rewritten, detail));
        }
        self.tree = Tree::default();
        self.seal += 1;
        Ok(())
    }

    /// The row's product, if it is one and lives here.
    fn product(&self, row: &RawEventRef<'_>) -> Option<i64> {
        let id = row.aggregate_id;
        let plain = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
        let id: i64 = id
            .parse()
            .ok()
            .filter(|_| plain && row.aggregate_type == AGGREGATE_TYPE)?;
        let lives_here = id % i64::from(self.identity.partitions) == i64::from(self.partition);
        (lives_here && row.partition == self.partition).then_some(id)
    }

    fn fail(&mut self, position: Position, problem: Problem, detail: String) {
        let covers =
            |seal: &&Arc<Seal>| (seal.statement.first..=seal.statement.last).contains(&position);
        let seal = self
            .seals
            .iter()
            .find(covers)
            .map(|seal| seal.statement.seal);
        self.bad = Some(BadPosition {
            position,
            problem,
            detail,
            seal,
        });
    }
}
