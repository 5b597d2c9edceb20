//! I3, I4, I5, I6 and I8: the log against what the clients were told.
//!
//! What happened between two requests is known only by their own clock: a request was decided somewhere between its
//! sending and its answer. Every check takes the reading that is kindest to the service.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;
use uuid::Uuid;

use super::{Event, Fact, Fault, Log};
use crate::harness::{Ask, Call, Outcome};

pub fn faults(log: &Log, calls: &[Call]) -> Vec<Fault> {
    let mut faults = lost(log, calls);
    faults.extend(phantoms(log, calls));
    faults.extend(untrue_refusals(log, calls));
    faults.extend(out_of_order(log, calls));
    faults.extend(repeats(log, calls));
    faults.extend(our_faults(calls));
    faults
}

/// I3: every acceptance that a client saw, replays included, is in the log: same user, product, amount.
fn lost(log: &Log, calls: &[Call]) -> Vec<Fault> {
    let reserved: HashMap<Uuid, (&str, i64, i64)> = log
        .reservations()
        .map(|(invest, user, amount, event)| (invest, (user, event.product, amount)))
        .collect();
    let is_missing = |call: &&Call| {
        let asked = (call.ask.user.as_str(), call.ask.product, call.ask.amount);
        call.invest_id()
            .is_some_and(|invest| reserved.get(&invest) != Some(&asked))
    };
    let fault = |call: &Call| {
        Fault::new(
            "I3",
            format!("{} was accepted and is not in the log", told(call)),
        )
    };
    calls.iter().filter(is_missing).map(fault).collect()
}

/// I4: every reservation goes back to one request that was accepted, or not answered for certain.
fn phantoms(log: &Log, calls: &[Call]) -> Vec<Fault> {
    let by_correlation: HashMap<&str, &Call> = calls
        .iter()
        .map(|call| (call.correlation.as_str(), call))
        .collect();
    let mut seen = HashMap::new();
    let mut faults = Vec::new();
    for (invest, user, amount, event) in log.reservations() {
        let call = by_correlation.get(event.correlation.as_str());
        let what = match call.map(|call| &call.outcome) {
            None => "goes back to no request".to_owned(),
            Some(Outcome::Refused { code, .. }) => {
                format!("goes back to a request that was refused as {code}")
            }
            Some(Outcome::Accepted { invest_id }) if *invest_id != invest => {
                "was answered with another id".to_owned()
            }
            Some(_) if !call.is_some_and(|call| same(&call.ask, user, event.product, amount)) => {
                "is not what was asked for".to_owned()
            }
            Some(_) if seen.insert(&event.correlation, invest).is_some() => {
                "goes back to a request that has another one".to_owned()
            }
            Some(_) => continue,
        };
        faults.push(Fault::new(
            "I4",
            format!("invest {invest} of {user} {what}"),
        ));
    }
    faults
}

fn same(ask: &Ask, user: &str, product: i64, amount: i64) -> bool {
    (ask.user.as_str(), ask.product, ask.amount) == (user, product, amount)
}

/// What remained of a product after each of its events, by sequence; 0 before the first.
fn remaining(stream: &[&Event]) -> Vec<i64> {
    let mut remaining = vec![0];
    for event in stream {
        let before = remaining[remaining.len() - 1];
        remaining.push(match &event.fact {
            Fact::Opened { total, .. } => *total,
            Fact::Reserved { amount, .. } => before - amount,
            Fact::Failed { amount, .. } | Fact::Withdrawn { amount, .. } => before + amount,
            Fact::Refunded { amount, .. } if event.fact.gives_back_a_holding() => before + amount,
            Fact::Settled { .. } | Fact::Refunded { .. } | Fact::Closed => before,
            Fact::Cancelled { .. } | Fact::Missed { .. } => before,
        });
    }
    remaining
}

/// The first-hand acceptances of each product: when sent and answered, and the sequence they got.
fn acceptances<'a>(log: &Log, calls: &'a [Call]) -> BTreeMap<i64, Vec<(&'a Call, usize)>> {
    let sequences: HashMap<Uuid, i64> = log
        .reservations()
        .map(|(invest, _, _, event)| (invest, event.sequence))
        .collect();
    let mut accepted: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for call in calls.iter().filter(|call| !call.replayed) {
        let sequence = call.invest_id().and_then(|invest| sequences.get(&invest));
        if let Some(sequence) = sequence.and_then(|sequence| usize::try_from(*sequence).ok()) {
            accepted
                .entry(call.ask.product)
                .or_default()
                .push((call, sequence));
        }
    }
    accepted
}

/// I5: sold out, first hand, only if at some point between send and answer less than the amount remained; and what was
/// said to remain did.
fn untrue_refusals(log: &Log, calls: &[Call]) -> Vec<Fault> {
    let (streams, accepted) = (log.streams(), acceptances(log, calls));
    let empty = Vec::new();
    let mut faults = Vec::new();
    for call in calls.iter().filter(|call| !call.replayed) {
        let Outcome::Refused {
            code,
            remaining: said,
        } = &call.outcome
        else {
            continue;
        };
        if code != "SOLD_OUT" {
            continue;
        }
        let remaining = remaining(streams.get(&call.ask.product).unwrap_or(&empty));
        let around = accepted
            .get(&call.ask.product)
            .unwrap_or(&Vec::new())
            .clone();
        // Committed for certain before it was sent; and not before it was answered.
        let from = around
            .iter()
            .filter(|(other, _)| other.answered < call.sent)
            .map(|(_, at)| *at)
            .max()
            .unwrap_or(0);
        let to = around
            .iter()
            .filter(|(other, _)| other.sent > call.answered)
            .map(|(_, at)| *at - 1)
            .min();
        let possible = remaining
            .get(from..=to.unwrap_or(remaining.len() - 1))
            .unwrap_or_default();
        let fits = |left: &i64| *left < call.ask.amount && said.is_none_or(|said| said == *left);
        if !possible.iter().any(fits) {
            faults.push(Fault::new(
                "I5",
                format!("{} was told sold out while enough remained", told(call)),
            ));
        }
    }
    faults
}

/// I6: A answered before B was sent, then A's sequence is lower.
fn out_of_order(log: &Log, calls: &[Call]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (product, mut accepted) in acceptances(log, calls) {
        accepted.sort_by_key(|(_, sequence)| std::cmp::Reverse(*sequence));
        let mut first_answer: Option<(Instant, usize)> = None;
        for (call, sequence) in accepted {
            if let Some((_, later)) = first_answer.filter(|(answered, _)| *answered < call.sent) {
                let what = format!(
                    "product {product}: sequence {later} was answered before {sequence} was sent"
                );
                faults.push(Fault::new("I6", what));
            }
            if first_answer.is_none_or(|(answered, _)| call.answered < answered) {
                first_answer = Some((call.answered, sequence));
            }
        }
    }
    faults
}

/// I8: one user and key, one invest, one final answer, one that is not a replay.
fn repeats(log: &Log, calls: &[Call]) -> Vec<Fault> {
    let mut by_key: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in calls {
        if let Some(key) = &call.ask.key {
            by_key.entry((&call.ask.user, key)).or_default().push(call);
        }
    }
    let mut reserved: HashMap<&str, usize> = HashMap::new();
    log.reservations()
        .for_each(|(.., event)| *reserved.entry(&event.correlation).or_default() += 1);
    let mut faults = Vec::new();
    for ((user, key), calls) in by_key {
        let mut finals: Vec<_> = calls.iter().filter(|call| is_final(call)).collect();
        let first_hand = finals.iter().filter(|call| !call.replayed).count();
        finals.dedup_by(|a, b| a.outcome == b.outcome);
        let invests: usize = calls
            .iter()
            .filter_map(|call| reserved.get(call.correlation.as_str()))
            .sum();
        let what = match (finals.len(), first_hand, invests) {
            (0..=1, 0..=1, 0..=1) => continue,
            (_, _, 2..) => format!("has {invests} invests"),
            (2.., ..) => format!("got {} different final answers", finals.len()),
            _ => format!("was decided {first_hand} times"),
        };
        faults.push(Fault::new("I8", format!("key {key} of {user} {what}")));
    }
    faults
}

fn is_final(call: &Call) -> bool {
    call.is_accepted()
        || ["SOLD_OUT", "FINISHED", "CLOSED"]
            .iter()
            .any(|code| call.is_refused(code))
}

/// Nothing that the clients ever do may end in an internal error.
fn our_faults(calls: &[Call]) -> Vec<Fault> {
    let ours =
        |call: &&Call| matches!(&call.outcome, Outcome::Unknown(what) if what.starts_with("500"));
    calls
        .iter()
        .filter(ours)
        .map(|call| Fault::new("500", told(call)))
        .collect()
}

fn told(call: &Call) -> String {
    let Ask {
        user,
        product,
        amount,
        ..
    } = &call.ask;
    format!(
        "{user} with {amount} of product {product} ({:?})",
        call.outcome
    )
}
