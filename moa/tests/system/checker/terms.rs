//! I19: what a product demands of each invest holds after every single event.

use serde_json::Value;
use std::collections::BTreeMap;

use super::{Event, Fact, Fault, Log};

pub fn faults(log: &Log) -> Vec<Fault> {
    log.streams()
        .iter()
        .flat_map(|(product, stream)| broken_terms(*product, stream))
        .collect()
}

fn broken_terms(product: i64, stream: &[&Event]) -> Vec<Fault> {
    let (mut terms, mut taken) = (&Value::Null, BTreeMap::<&str, i64>::new());
    let mut faults = Vec::new();
    for event in stream {
        match &event.fact {
            Fact::Opened { terms: opened, .. } => terms = opened,
            Fact::Reserved { user, amount, .. } => {
                let of_user = taken.entry(user).or_default();
                *of_user += amount;
                let broken = broken(terms, *amount, *of_user).into_iter();
                let at = event.sequence;
                faults.extend(broken.map(|what| {
                    Fault::new("I19", format!("product {product}, sequence {at}: {what}"))
                }));
            }
            Fact::Failed { user, amount, .. } | Fact::Withdrawn { user, amount, .. } => {
                *taken.entry(user).or_default() -= amount;
            }
            Fact::Refunded { user, amount, .. } if event.fact.gives_back_a_holding() => {
                *taken.entry(user).or_default() -= amount;
            }
            Fact::Settled { .. } | Fact::Refunded { .. } | Fact::Closed => {}
            Fact::Cancelled { .. } | Fact::Missed { .. } => {}
        }
    }
    faults
}

fn broken(terms: &Value, amount: i64, of_user: i64) -> Vec<String> {
    let bound = |name: &str| terms[name].as_i64();
    let minimum = bound("minInvestAmount").filter(|minimum| amount < *minimum);
    let unit = bound("investAmountUnit").filter(|unit| amount % unit != 0);
    let limit = bound("maxAmountPerUser").filter(|limit| of_user > *limit);
    let minimum = minimum.map(|minimum| format!("{amount} is below {minimum}"));
    let unit = unit.map(|unit| format!("{amount} is no multiple of {unit}"));
    let limit = limit.map(|limit| format!("a user has {of_user} of {limit}"));
    [minimum, unit, limit].into_iter().flatten().collect()
}
