//! Rows in memory: as the tables have them, and as a batch of events leaves them.

use event_log::RecordedEvent;
use event_log::consume::ApplyError;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::Hash;

/// New rows that are sorted at most. A rebuild has all rows of a partition, and builds the indexes after them.
const MAX_SORTED_ROWS: usize = 50_000;

/// The rows of one table that a batch touches, by key. Only rows that differ in the end are written, each once and in key
/// order, however many events changed them.
pub(crate) struct ChangeSet<K, V> {
    before: HashMap<K, V>,
    /// The rows that the fold changes.
    pub(crate) after: HashMap<K, V>,
}

impl<K, V> Default for ChangeSet<K, V> {
    fn default() -> Self {
        Self {
            before: HashMap::new(),
            after: HashMap::new(),
        }
    }
}

impl<K: Ord + Hash + Clone, V: PartialEq + Clone> ChangeSet<K, V> {
    /// Starts from these rows of the table.
    pub(crate) fn of(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let before: HashMap<K, V> = rows.into_iter().collect();
        Self {
            after: before.clone(),
            before,
        }
    }

    /// Rows that are new: those of a step in key order, so that neighbours in an index are written together.
    pub(crate) fn added(&self) -> Vec<(&K, &V)> {
        let mut added: Vec<_> = self
            .after
            .iter()
            .filter(|(key, _)| !self.before.contains_key(*key))
            .collect();
        if added.len() <= MAX_SORTED_ROWS {
            added.sort_unstable_by_key(|(key, _)| *key);
        }
        added
    }

    /// Rows that existed and differ.
    pub(crate) fn changed(&self) -> Vec<(&K, &V)> {
        let differs =
            |key: &K, after: &V| self.before.get(key).is_some_and(|before| before != after);
        let mut rows: Vec<_> = self
            .after
            .iter()
            .filter(|(key, after)| differs(key, after))
            .collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// Keys of rows that existed and are removed.
    pub(crate) fn removed(&self) -> Vec<&K> {
        let mut removed: Vec<_> = self
            .before
            .keys()
            .filter(|key| !self.after.contains_key(key))
            .collect();
        removed.sort_unstable();
        removed
    }
}

/// One column of `rows`, as `unnest` takes it.
pub(crate) fn column<R, T>(rows: &[R], of: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The ids of the products that `events` are about.
pub(crate) fn products_of(events: &[RecordedEvent]) -> Vec<i64> {
    let ids: BTreeSet<_> = events.iter().map(|event| event.product_id.get()).collect();
    ids.into_iter().collect()
}

/// `event` contradicts the rows.
pub(crate) fn invariant_violation(event: &RecordedEvent, what: impl Display) -> ApplyError {
    let reason = format!(
        "{} of product {}: {what}",
        event.event.name(),
        event.product_id
    );
    ApplyError::Event {
        position: event.position,
        reason,
    }
}
