//! I1 and I2, what the log says of itself: never oversold, one fate each.

use std::collections::BTreeMap;
use uuid::Uuid;

use super::{Event, Fact, Fault, Log};

pub fn faults(log: &Log) -> Vec<Fault> {
    let mut faults: Vec<_> = log.streams().iter().flat_map(|(product, stream)| oversold(*product, stream)).collect();
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
            Fact::Settled { .. } | Fact::Refunded { .. } | Fact::Closed => {}
        }
        if !(0..=total).contains(&taken) {
            let sequence = event.sequence;
            faults.push(Fault::new("I1", format!("product {product}: {taken} of {total} after sequence {sequence}")));
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
}

fn fates(log: &Log) -> Vec<Fault> {
    let mut stories: BTreeMap<Uuid, History> = BTreeMap::new();
    for event in &log.events {
        match &event.fact {
            Fact::Reserved { invest, user, amount } => {
                stories.entry(*invest).or_default().reserved.push((event.product, user, *amount));
            }
            Fact::Settled { invest, user, amount } | Fact::Failed { invest, user, amount, .. } => {
                let story = stories.entry(*invest).or_default();
                story.fate_first |= story.reserved.is_empty();
                story.settled |= matches!(event.fact, Fact::Settled { .. });
                story.fates.push((event.product, user, *amount));
            }
            Fact::Withdrawn { invest, user, amount, settled } => {
                let story = stories.entry(*invest).or_default();
                story.fate_first |= story.reserved.is_empty();
                story.withdrawn.push(*settled && story.settled || !*settled && story.fates.is_empty());
                // Of a holding it follows the fate, of a reservation it is the fate.
                let is_same = story.fates.first().is_none_or(|fate| *fate == (event.product, user, *amount));
                if !*settled || !is_same {
                    story.fates.push((event.product, user, *amount));
                }
            }
            Fact::Refunded { invest } => {
                let story = stories.entry(*invest).or_default();
                story.refund_first |= story.withdrawn.is_empty();
                story.refunds += 1;
            }
            Fact::Opened { .. } | Fact::Closed => {}
        }
    }
    stories.iter().filter_map(|(invest, story)| fate(*invest, story)).collect()
}

fn fate(invest: Uuid, story: &History) -> Option<Fault> {
    let what = match (&story.reserved[..], &story.fates[..]) {
        _ if story.fate_first => "has a fate before it was reserved",
        _ if story.withdrawn.len() > 1 => "is withdrawn more than once",
        _ if story.withdrawn.contains(&false) => "is withdrawn as what it was not",
        _ if story.refund_first => "is refunded and was not withdrawn",
        _ if story.refunds != story.withdrawn.len() => "is not refunded once for its withdrawal",
        ([reserved], [fate]) if reserved == fate => return None,
        ([_], [_]) => "has the fate of another user, product or amount",
        ([_], []) => "has no fate",
        ([_], _) => "has more than one fate",
        _ => "is reserved more than once",
    };
    Some(Fault::new("I2", format!("invest {invest} {what}")))
}
