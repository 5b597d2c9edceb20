//! I20: how products end: what ended takes nothing, a target is missed by what the log says, and a missed one does not stay open.

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::{Event, Fact, Fault, Log};

/// How long after its window, and the last fate in it, a product may stand that has missed its target.
const MAX_FAILURE_DELAY: TimeDelta = TimeDelta::seconds(5);

pub fn faults(log: &Log) -> Vec<Fault> {
    let fault = |(product, what)| Fault::new("I20", format!("product {product} {what}"));
    let of = |(product, stream): (&i64, &Vec<&Event>)| {
        End::of(stream)
            .into_iter()
            .map(|what| (*product, what))
            .collect::<Vec<_>>()
    };
    log.streams().iter().flat_map(of).map(fault).collect()
}

/// A product as its stream tells it, so far as its end depends on it.
#[derive(Default)]
struct End {
    target: Option<i64>,
    finished_at: Option<chrono::DateTime<Utc>>,
    last: Option<chrono::DateTime<Utc>>,
    reserved: i64,
    settled: i64,
    takes_nothing: bool,
    has_ended: bool,
}

impl End {
    fn of(stream: &[&Event]) -> Vec<&'static str> {
        let mut end = Self::default();
        let mut faults: Vec<_> = stream
            .iter()
            .filter_map(|event| end.follow(event))
            .collect();
        faults.extend(end.stands_and_should_not());
        faults
    }

    fn follow(&mut self, event: &Event) -> Option<&'static str> {
        self.last = Some(event.recorded_at);
        match &event.fact {
            Fact::Opened {
                finished_at, terms, ..
            } => {
                self.finished_at = Some(*finished_at);
                self.target = terms.get("targetAmount").and_then(Value::as_i64);
            }
            Fact::Reserved { amount, .. } => {
                self.reserved += amount;
                return self
                    .takes_nothing
                    .then_some("takes an invest after its end");
            }
            Fact::Settled { amount, .. } => {
                self.reserved -= amount;
                self.settled += amount;
            }
            Fact::Failed { amount, .. } => self.reserved -= amount,
            Fact::Withdrawn {
                amount, settled, ..
            } => {
                *(if *settled {
                    &mut self.settled
                } else {
                    &mut self.reserved
                }) -= amount;
                return self.has_ended.then_some("has a withdrawal after its end");
            }
            Fact::Refunded { amount, .. } if event.fact.gives_back_a_holding() => {
                self.settled -= amount
            }
            Fact::Refunded { .. } => {}
            Fact::Closed => self.takes_nothing = true,
            Fact::Cancelled { .. } => return self.ends(true),
            Fact::Missed { target, reached } => {
                let is_true = self.target == Some(*target)
                    && *reached == self.reserved + self.settled
                    && reached < target
                    && self
                        .finished_at
                        .is_some_and(|finished_at| finished_at <= event.recorded_at);
                return self.ends(is_true);
            }
        }
        None
    }

    fn ends(&mut self, is_true: bool) -> Option<&'static str> {
        let ended_before = std::mem::replace(&mut self.has_ended, true);
        self.takes_nothing = true;
        match (ended_before, is_true) {
            (true, _) => Some("ends a second time"),
            (false, false) => Some("has failed and did not miss its target"),
            (false, true) => None,
        }
    }

    fn stands_and_should_not(&self) -> Option<&'static str> {
        let is_missed = self
            .target
            .is_some_and(|target| self.reserved + self.settled < target);
        let decidable = self
            .finished_at
            .max(self.last)
            .map(|at| at + MAX_FAILURE_DELAY);
        let is_due = decidable.is_some_and(|at| at < Utc::now());
        let is_over = self.finished_at.is_some_and(|at| at <= Utc::now());
        (is_missed && is_over && is_due && !self.has_ended)
            .then_some("has missed its target and stands")
    }
}
