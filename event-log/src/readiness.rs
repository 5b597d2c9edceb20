//! Readiness: whether a process can do its work. A set of named clauses, each of which any component may fail and clear.
//!
//! A component takes a [`Clause`] by name, fails it with a reason when it cannot do its work, and clears it when it can. The process is
//! ready while no clause is failed. Several components may take the same name, for example one for each partition; the name is failed
//! while any of them is. The first failure and the recovery of each clause are logged once, and the gauge `moa_ready` has the state of
//! each name: 1 ready, 0 not.
//!
//! Every [`Log`](crate::Log) has one, [`Log::readiness`](crate::Log::readiness): it reaches everything that works on the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The clauses of one process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    /// The clauses that are failed, by name and id.
    failed: BTreeMap<(&'static str, u64), Failure>,
}

impl Readiness {
    /// A clause of this name that is not failed. Each call returns another one: failing one does not touch the others.
    #[must_use]
    pub fn clause(&self, name: &'static str) -> Clause {
        let mut state = self.state();
        state.next_id += 1;
        let clause = Clause {
            readiness: self.clone(),
            name,
            id: state.next_id,
        };
        state.show(name);
        clause
    }

    /// The names of the clauses that are failed, each once, in alphabetical order; empty when the process is ready.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        let names: BTreeSet<_> = self.state().failed.keys().map(|(name, _)| *name).collect();
        names.into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Failure {
    is_logged: bool,
}

impl State {
    fn show(&self, name: &'static str) {
        let failed = self
            .failed
            .range((name, 0)..=(name, u64::MAX))
            .next()
            .is_some();
        metrics::gauge!("moa_ready", "clause" => name).set(if failed { 0.0 } else { 1.0 });
    }
}

/// One component's clause. Dropping it clears it.
#[derive(Debug)]
pub struct Clause {
    readiness: Readiness,
    name: &'static str,
    id: u64,
}

impl Clause {
    /// Fails the clause. The reason is for operators: it is logged when the clause begins to fail, and must hold no secret.
    pub fn fail(&self, reason: impl fmt::Display) {
        if !self.failed(true) {
            tracing::warn!(clause = self.name, %reason, "this process is not ready");
        }
    }

    /// The same, where the log says already why: the outage of a server has its own lines.
    pub fn fail_quietly(&self, reason: impl fmt::Display) {
        if !self.failed(false) {
            tracing::debug!(clause = self.name, %reason, "this process is not ready");
        }
    }

    /// Whether the failure was logged before.
    fn failed(&self, logs: bool) -> bool {
        let mut state = self.readiness.state();
        let failure = state
            .failed
            .entry((self.name, self.id))
            .or_insert(Failure { is_logged: false });
        let was_logged = failure.is_logged;
        failure.is_logged |= logs;
        state.show(self.name);
        was_logged
    }

    /// Clears the clause; that is logged if its failure was.
    pub fn clear(&self) {
        if self.take().is_some_and(|failure| failure.is_logged) {
            tracing::info!(clause = self.name, "this clause of readiness holds again");
        }
    }

    /// Whether it is failed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.readiness
            .state()
            .failed
            .contains_key(&(self.name, self.id))
    }

    fn take(&self) -> Option<Failure> {
        let mut state = self.readiness.state();
        let failure = state.failed.remove(&(self.name, self.id));
        state.show(self.name);
        failure
    }
}

impl Drop for Clause {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_while_no_clause_is_failed() {
        let readiness = Readiness::default();
        let (append, clock) = (readiness.clause("append"), readiness.clause("clock"));
        assert!(readiness.failed().is_empty());
        clock.fail("it went back");
        append.fail("read only");
        append.fail("disk full");
        assert_eq!(readiness.failed(), ["append", "clock"]);
        append.clear();
        assert_eq!(
            (readiness.failed(), append.is_failed()),
            (vec!["clock"], false)
        );
        clock.clear();
        assert!(readiness.failed().is_empty());
    }

    #[test]
    fn a_name_is_failed_while_any_part_fails_it() {
        let readiness = Readiness::default();
        let partitions = [readiness.clause("append"), readiness.clause("append")];
        partitions
            .iter()
            .for_each(|partition| partition.fail("away"));
        partitions[0].clear();
        assert_eq!(readiness.failed(), ["append"]);
        partitions[1].clear();
        assert!(readiness.failed().is_empty());
    }

    #[test]
    fn a_part_that_is_gone_fails_nothing() {
        let readiness = Readiness::default();
        let consumer = readiness.clause("projection");
        consumer.fail("stuck");
        drop(consumer);
        assert!(readiness.failed().is_empty());
    }
}
