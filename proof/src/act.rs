//! The record of acts, beside the log: what the hash of a row covers, and the check of all rows against each other and against the
//! seals of acts. `docs/proof-format.md` has every byte of it.

use crate::act_seal_chain::ValidActSeals;
use crate::hex::hex;
use crate::position_range::PositionRange;
use crate::report::{ActsReport, BadAct, Problem};
use crate::time;
use chrono::{DateTime, Utc};
use log_format::{Hash, StoredAct};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What the hash of `act` covers, where `previous` is the hash of the row before: zeros for the first.
pub fn text(log: Uuid, act: &StoredAct, previous: &Hash) -> String {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "moa-act-1\nlog {log}\nnumber {}\nat {}\nlogin {}\nactor {}\nrole {}\nact {}\nsubject {}\nparameters {}\n\
         correlation {}\noutcome-of {}\noutcome {}\nprevious {}\n",
        act.number,
        time::format(act.at),
        act.login,
        act.actor,
        act.role,
        act.act,
        act.subject,
        act.parameters,
        optional(&act.correlation_id),
        act.outcome_of
            .map(|number| number.to_string())
            .unwrap_or_default(),
        optional(&act.outcome),
        hex(previous),
    )
}

/// The hash that `act` must have.
pub fn hash(log: Uuid, act: &StoredAct, previous: &Hash) -> Hash {
    Sha256::digest(text(log, act, previous)).into()
}

/// Whether the text is one of lines that begin as they should: no column breaks a line, and what is absent is not empty.
fn is_plain(act: &StoredAct) -> bool {
    let optional = [act.correlation_id.as_deref(), act.outcome.as_deref()];
    let needed = [
        &act.login,
        &act.actor,
        &act.role,
        &act.act,
        &act.subject,
        &act.parameters,
    ];
    let is_line = |text: &str| !text.is_empty() && !text.contains('\n');
    needed.into_iter().all(|text| is_line(text)) && optional.into_iter().flatten().all(is_line)
}

/// Checks the rows of the record, one after another.
#[derive(Debug)]
pub struct ActChecker<'a> {
    log: Uuid,
    sealed: &'a ValidActSeals,
    acts: i64,
    hash: Hash,
    at: Option<DateTime<Utc>>,
    bad: Option<BadAct>,
}

impl<'a> ActChecker<'a> {
    /// Before the first row of the log `log`.
    pub fn new(log: Uuid, sealed: &'a ValidActSeals) -> Self {
        Self {
            log,
            sealed,
            acts: 0,
            hash: Hash::default(),
            at: None,
            bad: None,
        }
    }

    /// The hash of the last row, while nothing is wrong.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// What is wrong so far.
    pub fn bad(&self) -> Option<&BadAct> {
        self.bad.as_ref()
    }

    /// The next row in their stored order. After the first that is wrong, rows are only counted.
    pub fn row(&mut self, act: &StoredAct) {
        let expected = self.acts + 1;
        self.acts += 1;
        if self.bad.is_some() {
            return;
        }
        match self.wrong(expected, act) {
            Some((problem, detail)) => {
                self.bad = Some(BadAct {
                    act: expected,
                    problem,
                    detail: detail.into(),
                });
            }
            None => (self.hash, self.at) = (hash(self.log, act, &self.hash), Some(act.at)),
        }
    }

    fn wrong(&self, expected: i64, act: &StoredAct) -> Option<(Problem, &'static str)> {
        let hash = hash(self.log, act, &self.hash);
        if act.number > expected {
            return Some((Problem::Missing, "it is not there, and a later one is"));
        }
        if act.number < expected {
            return Some((Problem::Changed, "another row stands in its place"));
        }
        if !is_plain(act) || act.hash != hash {
            return Some((
                Problem::Changed,
                "its hash does not follow from its columns and the row before",
            ));
        }
        if self
            .sealed
            .hash(expected)
            .is_some_and(|sealed| sealed != hash)
        {
            return Some((
                Problem::Rewritten,
                "it follows from the row before, but is not what was sealed",
            ));
        }
        self.at
            .is_some_and(|before| act.at < before)
            .then_some((Problem::Time, "it was recorded before the row before"))
    }

    /// What was found, after the last row.
    pub fn finish(mut self) -> ActsReport {
        let sealed_upto = self.sealed.sealed_to();
        if self.bad.is_none() && self.acts < sealed_upto {
            let detail = "the record ends before it, and it was sealed".into();
            self.bad = Some(BadAct {
                act: self.acts + 1,
                problem: Problem::CutOff,
                detail,
            });
        }
        let unsealed = (self.acts > sealed_upto).then_some(PositionRange {
            first: sealed_upto + 1,
            last: self.acts,
        });
        ActsReport {
            acts: self.acts,
            seals: self.sealed.seals(),
            sealed_upto,
            unsealed,
            lost: self.sealed.lost().to_vec(),
            bad: self.bad,
            bad_seal: self.sealed.bad().cloned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests;
