//! Rows in memory: as they were found, and as a batch of events leaves them.

use event_log::RecordedEvent;
use event_log::consume::ApplyError;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::Hash;

/// The rows of one table that a batch touches, by key. Only what is different in the end is written, once and in key
/// order, however many events a row went through.
pub(crate) struct Rows<K, V> {
    found: HashMap<K, V>,
    /// As they stand now; the fold works here.
    pub(crate) now: HashMap<K, V>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { found: HashMap::new(), now: HashMap::new() }
    }
}

impl<K: Ord + Hash + Clone, V: PartialEq + Clone> Rows<K, V> {
    pub(crate) fn found(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let found: HashMap<K, V> = rows.into_iter().collect();
        Self { now: found.clone(), found }
    }

    /// Rows that were not there.
    pub(crate) fn added(&self) -> Vec<(&K, &V)> {
        self.now_where(|key, _| !self.found.contains_key(key))
    }

    /// Rows that were there and are different.
    pub(crate) fn changed(&self) -> Vec<(&K, &V)> {
        self.now_where(|key, now| self.found.get(key).is_some_and(|found| found != now))
    }

    /// Rows that were not there or are different.
    pub(crate) fn written(&self) -> Vec<(&K, &V)> {
        self.now_where(|key, now| self.found.get(key) != Some(now))
    }

    fn now_where(&self, wanted: impl Fn(&K, &V) -> bool) -> Vec<(&K, &V)> {
        let mut rows: Vec<_> = self.now.iter().filter(|(key, now)| wanted(key, now)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    /// Keys of rows that were there and are not any more.
    pub(crate) fn gone(&self) -> Vec<&K> {
        let mut gone: Vec<_> = self.found.keys().filter(|key| !self.now.contains_key(key)).collect();
        gone.sort_unstable();
        gone
    }
}

/// One column of `rows`, as `unnest` takes it.
pub(crate) fn column<R, T>(rows: &[R], of: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The products that `events` are about.
pub(crate) fn products_of(events: &[RecordedEvent]) -> Vec<i64> {
    let ids: BTreeSet<_> = events.iter().map(|event| event.product_id.get()).collect();
    ids.into_iter().collect()
}

/// `event` says what the rows say cannot be.
pub(crate) fn contradiction(event: &RecordedEvent, what: impl Display) -> ApplyError {
    let reason = format!("{} of product {}: {what}", event.event.name(), event.product_id);
    ApplyError::Event { position: event.position, reason }
}
