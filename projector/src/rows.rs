//! Rows in memory: as they were found, and as a batch of events leaves them.

use event_log::RecordedEvent;
use event_log::consume::ApplyError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// The rows of one table that a batch touches, by key. Only what is different in the end is written, once and in key
/// order, however many events a row went through.
pub(crate) struct Rows<K, V> {
    found: BTreeMap<K, V>,
    /// As they stand now; the fold works here.
    pub(crate) now: BTreeMap<K, V>,
}

impl<K: Ord + Clone, V: PartialEq + Clone> Rows<K, V> {
    pub(crate) fn found(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let found: BTreeMap<K, V> = rows.into_iter().collect();
        Self { now: found.clone(), found }
    }

    /// Rows that were not there.
    pub(crate) fn added(&self) -> Vec<(&K, &V)> {
        self.now.iter().filter(|(key, _)| !self.found.contains_key(key)).collect()
    }

    /// Rows that were there and are different.
    pub(crate) fn changed(&self) -> Vec<(&K, &V)> {
        self.now.iter().filter(|(key, now)| self.found.get(key).is_some_and(|found| found != *now)).collect()
    }

    /// Rows that were not there or are different.
    pub(crate) fn written(&self) -> Vec<(&K, &V)> {
        self.now.iter().filter(|(key, now)| self.found.get(key) != Some(*now)).collect()
    }

    /// Keys of rows that were there and are not any more.
    pub(crate) fn gone(&self) -> Vec<&K> {
        self.found.keys().filter(|key| !self.now.contains_key(key)).collect()
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
