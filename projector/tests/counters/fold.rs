//! The counters by definition: each number is computed from the whole history. And a watch that collects every state that
//! Redis ever has.

use crate::support::{Hash, RedisCounters, plain};
use domain::ProductEvent;
use event_log::{Partition, RecordedEvent};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Fold<'a>(&'a [RecordedEvent]);

impl<'a> Fold<'a> {
    pub fn of(history: &'a [RecordedEvent]) -> Self {
        Self(history)
    }

    /// Checks that a partition's hash is the fold of its events up to its position.
    pub fn is(&self, hash: &Hash, partition: Partition) {
        let position: i64 = hash["@position"].parse().unwrap();
        let seen: Vec<_> = self
            .0
            .iter()
            .filter(|event| event.partition == partition && event.position <= position)
            .collect();
        assert_eq!(
            seen.len() as i64,
            position,
            "the log has no position {position}"
        );
        let last = seen.last().map(|event| {
            event
                .hash
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        });
        assert_eq!(
            hash["@hash"],
            last.unwrap_or_default(),
            "of the event at position {position}"
        );
        let counters: BTreeMap<_, _> = hash
            .iter()
            .filter(|(field, _)| !field.starts_with('@'))
            .collect();
        let expected = counters_of(&seen);
        assert_eq!(
            counters,
            expected.iter().collect(),
            "at position {position} of partition {partition}"
        );
        let listed = seen
            .iter()
            .rev()
            .find(|event| changes_the_list(event))
            .map_or(0, |event| event.position);
        let stated: i64 = hash["@products"].parse().unwrap();
        assert!(
            (listed..=position).contains(&stated),
            "the list changed at {listed}, not {stated}, before {position}"
        );
    }
}

fn changes_the_list(event: &RecordedEvent) -> bool {
    matches!(
        event.event.name(),
        "ProductOpened" | "ProductClosed" | "ProductCancelled" | "ProductFailed"
    )
}

fn counters_of(seen: &[&RecordedEvent]) -> BTreeMap<String, String> {
    let opened = seen
        .iter()
        .filter(|event| event.event.name() == "ProductOpened");
    let counter = |event: &&RecordedEvent| {
        let of_product: Vec<_> = seen
            .iter()
            .filter(|other| other.product_id == event.product_id)
            .collect();
        let ended = of_product
            .iter()
            .map(|event| end_of(event))
            .max()
            .unwrap_or_default();
        let taken = taken(&of_product);
        let users: BTreeSet<_> = taken.iter().map(|(user, _)| user).collect();
        let amount: i64 = taken.iter().map(|(_, amount)| amount).sum();
        (
            event.product_id.to_string(),
            format!("{amount}:{}:{}", users.len(), ended),
        )
    };
    opened.map(counter).collect()
}

fn end_of(event: &RecordedEvent) -> u8 {
    match event.event.name() {
        "ProductClosed" => 1,
        "ProductCancelled" | "ProductFailed" => 2,
        _ => 0,
    }
}

/// Who has how much, of invests that did not fail and were not given back.
fn taken(events: &[&&RecordedEvent]) -> Vec<(String, i64)> {
    let gone: BTreeSet<_> = events
        .iter()
        .filter_map(|event| match &event.event {
            ProductEvent::InvestFailed { invest_id, .. }
            | ProductEvent::InvestWithdrawn { invest_id, .. }
            | ProductEvent::InvestRefunded { invest_id, .. } => Some(invest_id.0),
            _ => None,
        })
        .collect();
    let stands = events.iter().filter_map(|event| match &event.event {
        ProductEvent::InvestReserved {
            invest_id,
            user_id,
            amount,
            ..
        } if !gone.contains(&invest_id.0) => Some((user_id.to_string(), amount.won())),
        _ => None,
    });
    stands.collect()
}

/// Reads every partition's hash over and over, as fast as it can.
pub struct Watch {
    watching: JoinHandle<Seen>,
    stop: CancellationToken,
}

/// Everything that was seen, once each.
pub struct Seen(Vec<(Partition, Hash)>);

impl Watch {
    pub fn begin(redis: &RedisCounters) -> Self {
        let stop = CancellationToken::new();
        let keys: Vec<_> = (0..2)
            .map(|partition| (partition, redis.key(partition)))
            .collect();
        let watching = tokio::spawn(watch(redis.client.clone(), keys, stop.clone()));
        Self { watching, stop }
    }

    /// What was seen of one partition, once each.
    pub async fn end_of(self, partition: Partition) -> Vec<Hash> {
        let Seen(seen) = self.end().await;
        seen.into_iter()
            .filter(|(of, _)| *of == partition)
            .map(|(_, hash)| hash)
            .collect()
    }

    pub async fn end(self) -> Seen {
        self.stop.cancel();
        self.watching.await.unwrap()
    }
}

impl Seen {
    /// Checks each; there must have been some.
    pub fn all_are_folds_of(&self, history: &[RecordedEvent]) {
        assert!(!self.0.is_empty(), "nothing was seen");
        self.0
            .iter()
            .for_each(|(partition, hash)| Fold::of(history).is(hash, *partition));
    }
}

async fn watch(
    client: redis::Client,
    keys: Vec<(Partition, String)>,
    stop: CancellationToken,
) -> Seen {
    let mut connection: MultiplexedConnection =
        client.get_multiplexed_async_connection().await.unwrap();
    let mut seen = BTreeSet::new();
    while !stop.is_cancelled() {
        for (partition, key) in &keys {
            let hash: Hash = connection.hgetall(key).await.unwrap();
            if !hash.is_empty() {
                seen.insert((*partition, plain(key, &hash).expect("every check is right")));
            }
        }
    }
    Seen(seen.into_iter().collect())
}
