//! I1 and I2, what the log says of itself: never oversold, one fate each.

use std::collections::BTreeMap;
use uuid::Uuid;

use super::{Event, Fact, Fault, Log};

pub fn faults(log: &Log) -> Vec<Fault> {
    let mut faults: Vec<_> = log
        .streams()
        .iter()
        .flat_map(|(product, stream)| oversold(*product, stream))
        .collect();
    faults.extend(fates(log));
    faults
}

/// `0 <= reserved + settled <= total` after every single event, the window sum over the product's stream.
fn oversold(product: i64, stream: &[&Event]) -> Vec<Fault> {
    let (mut total, mut taken) = (0, 0);
    let mut faults = Vec::new();
    for event in stream {
        match &event.fact {
            Fact::Opened { total: opened, .. } => total = *opened,
            Fact::Reserved { amount, .. } => taken += amount,
            Fact::Failed { amount, .. } | Fact::Withdrawn { amount, .. } => taken -= amount,
            Fact::Refunded { amount, .. } if event.fact.gives_back_a_holding() => taken -= amount,
            Fact::Settled { .. } | Fact::Refunded { .. } | Fact::Closed => {}
            Fact::Cancelled { .. } | Fact::Missed { .. } => {}
        }
        if !(0..=total).contains(&taken) {
            let sequence = event.sequence;
            faults.push(Fault::new(
                "I1",
                format!("product {product}: {taken} of {total} after sequence {sequence}"),
            ));
        }
    }
    faults
}

/// One invest as the log tells it: what was reserved, and how often; which fates it got; what was given back.
#[derive(Default)]
struct History<'a> {
    reserved: Vec<(i64, &'a str, i64)>,
    fates: Vec<(i64, &'a str, i64)>,
    fate_first: bool,
    settled: bool,
    /// Whether each says that it was settled.
    withdrawn: Vec<bool>,
    refunds: usize,
    refund_first: bool,
    /// A refund of another user, product or amount.
    refunds_another: bool,
}

fn fates(log: &Log) -> Vec<Fault> {
    let mut stories: BTreeMap<Uuid, History> = BTreeMap::new();
    // The code of refunds in each product that has ended.
    let mut ended: BTreeMap<i64, &str> = BTreeMap::new();
    for event in &log.events {
        match &event.fact {
            Fact::Reserved {
                invest,
                user,
                amount,
            } => {
                stories
                    .entry(*invest)
                    .or_default()
                    .reserved
                    .push((event.product, user, *amount));
            }
            Fact::Settled {
                invest,
                user,
                amount,
            }
            | Fact::Failed {
                invest,
                user,
                amount,
                ..
            } => {
                let story = stories.entry(*invest).or_default();
                story.fate_first |= story.reserved.is_empty();
                story.settled |= matches!(event.fact, Fact::Settled { .. });
                story.fates.push((event.product, user, *amount));
            }
            Fact::Withdrawn {
                invest,
                user,
                amount,
                settled,
            } => {
                let story = stories.entry(*invest).or_default();
                story.fate_first |= story.reserved.is_empty();
                story
                    .withdrawn
                    .push(*settled && story.settled || !*settled && story.fates.is_empty());
                // Of a holding it follows the fate, of a reservation it is the fate.
                let is_same = story
                    .fates
                    .first()
                    .is_none_or(|fate| *fate == (event.product, user, *amount));
                if !*settled || !is_same {
                    story.fates.push((event.product, user, *amount));
                }
            }
            Fact::Refunded {
                invest,
                user,
                amount,
                code,
            } => {
                let story = stories.entry(*invest).or_default();
                let is_owed = match code.as_str() {
                    "WITHDRAWN" => !story.withdrawn.is_empty(),
                    code => {
                        story.settled
                            && story.withdrawn.is_empty()
                            && ended.get(&event.product) == Some(&code)
                    }
                };
                story.refund_first |= !is_owed;
                story.refunds_another |=
                    story.reserved.first() != Some(&(event.product, user, *amount));
                story.refunds += 1;
            }
            Fact::Cancelled { .. } => _ = ended.insert(event.product, "CANCELLED"),
            Fact::Missed { .. } => _ = ended.insert(event.product, "TARGET_MISSED"),
            Fact::Opened { .. } | Fact::Closed => {}
        }
    }
    let fault = |(invest, story): (&Uuid, &History)| {
        let of_ended = story
            .reserved
            .first()
            .is_some_and(|(product, ..)| ended.contains_key(product));
        fate(*invest, story, of_ended)
    };
    stories.iter().filter_map(fault).collect()
}

/// What is wrong with an invest, in a product that has ended or not.
fn fate(invest: Uuid, story: &History, of_ended: bool) -> Option<Fault> {
    let owed = story.withdrawn.len()
        + usize::from(of_ended && story.settled && story.withdrawn.is_empty());
    let what = match (&story.reserved[..], &story.fates[..]) {
        _ if story.fate_first => "has a fate before it was reserved",
        _ if story.withdrawn.len() > 1 => "is withdrawn more than once",
        _ if story.withdrawn.contains(&false) => "is withdrawn as what it was not",
        _ if story.refund_first => "is refunded and nothing was owed",
        _ if story.refunds != owed => {
            "is not refunded once for its withdrawal, or the end of its product"
        }
        _ if story.refunds_another => "is refunded to another user, or another amount",
        ([reserved], [fate]) if reserved == fate => return None,
        ([_], [_]) => "has the fate of another user, product or amount",
        ([_], []) => "has no fate",
        ([_], _) => "has more than one fate",
        _ => "is reserved more than once",
    };
    Some(Fault::new("I2", format!("invest {invest} {what}")))
}
