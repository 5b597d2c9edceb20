//! Events of the domain in one line each, and their way into a log.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{InvestId, ProductEvent, ProductId, Terms};
use event_log::{Appended, Batch, Log, Metadata, NewEvent, RecordedEvent, Writer};

use crate::values::{at, invest, product, user, won};

/// The product is opened for 1,000,000 won, all of 2026.
pub fn opened(id: i64) -> ProductEvent {
    opened_as(id, &format!("product{id}"))
}

/// The same under a title of its own.
pub fn opened_as(id: i64, title: &str) -> ProductEvent {
    ProductEvent::ProductOpened {
        product_id: product(id),
        title: title.to_owned().try_into().expect("a title"),
        total_investing_amount: won(1_000_000),
        started_at: at("2026-01-01T00:00:00Z"),
        finished_at: at("2027-01-01T00:00:00Z"),
        terms: Terms::default(),
    }
}

/// `user1` reserves so much.
pub fn reserved(number: i64, amount: i64) -> ProductEvent {
    reserved_by("user1", invest(number), amount)
}

/// The same by somebody else.
pub fn reserved_by(name: &str, invest_id: InvestId, amount: i64) -> ProductEvent {
    let expires_at = at("2026-06-01T00:10:00Z");
    ProductEvent::InvestReserved {
        invest_id,
        user_id: user(name),
        amount: won(amount),
        expires_at,
    }
}

/// An invest of `user1`'s is settled.
pub fn settled(number: i64, amount: i64) -> ProductEvent {
    settled_by("user1", invest(number), amount)
}

/// The same of somebody else's.
pub fn settled_by(name: &str, invest_id: InvestId, amount: i64) -> ProductEvent {
    ProductEvent::InvestSettled {
        invest_id,
        user_id: user(name),
        amount: won(amount),
    }
}

/// The payment provider declined it.
pub fn failed_by(name: &str, invest_id: InvestId, amount: i64) -> ProductEvent {
    let (code, detail) = ("DECLINED".into(), "no funds".into());
    ProductEvent::InvestFailed {
        invest_id,
        user_id: user(name),
        amount: won(amount),
        code,
        detail,
    }
}

/// What product 1's stream has at `sequence` when the product is opened and then only reserved from: 1, 2, 3... won.
pub fn nth_event(sequence: i64) -> ProductEvent {
    if sequence == 1 {
        opened(1)
    } else {
        reserved(sequence, sequence - 1)
    }
}

/// An event to be appended, with a correlation id of its own.
pub fn new_event(product_id: ProductId, sequence: i64, event: ProductEvent) -> NewEvent {
    let metadata = Metadata {
        correlation_id: format!("request-{product_id}-{sequence}"),
        ..Metadata::default()
    };
    NewEvent {
        product_id,
        sequence,
        event,
        metadata,
    }
}

/// A batch without keys.
pub fn batch(events: Vec<NewEvent>) -> Batch {
    Batch {
        events,
        keys: Vec::new(),
    }
}

/// Appends now what nobody contests.
pub async fn commit(writer: &mut Writer, events: Vec<NewEvent>) -> Vec<RecordedEvent> {
    let at = writer.now();
    commit_at(writer, at, events).await
}

/// The same at that time.
pub async fn commit_at(
    writer: &mut Writer,
    at: DateTime<Utc>,
    events: Vec<NewEvent>,
) -> Vec<RecordedEvent> {
    match writer.append(batch(events), at).await {
        Ok(Appended::Committed(events)) => events.to_vec(),
        other => panic!("it should be committed, but: {other:?}"),
    }
}

/// The only writer of a log: it knows what each product's next sequence is.
pub struct History {
    log: Log,
    writers: Vec<Writer>,
    sequences: HashMap<ProductId, i64>,
}

impl History {
    /// Of a log with no events yet.
    pub async fn of(log: &Log) -> Self {
        Self::continued(log, HashMap::new()).await
    }

    /// Of a log whose products stand at these sequences.
    pub async fn continued(log: &Log, sequences: HashMap<ProductId, i64>) -> Self {
        let mut writers = Vec::new();
        for partition in log.partitions() {
            writers.push(
                Writer::open(log.clone(), partition)
                    .await
                    .expect("a writer"),
            );
        }
        Self {
            log: log.clone(),
            writers,
            sequences,
        }
    }

    /// Each product's last sequence.
    pub fn sequences(&self) -> &HashMap<ProductId, i64> {
        &self.sequences
    }

    /// The last sequence of that product, 0 before it is opened.
    pub fn sequence(&self, id: i64) -> i64 {
        self.sequences.get(&product(id)).copied().unwrap_or(0)
    }

    /// The product's next event.
    pub fn next(
        &mut self,
        product_id: ProductId,
        event: ProductEvent,
        metadata: Metadata,
    ) -> NewEvent {
        let sequence = self.sequences.entry(product_id).or_default();
        *sequence += 1;
        NewEvent {
            product_id,
            sequence: *sequence,
            event,
            metadata,
        }
    }

    /// Appends them at `at`, or now: one batch for each partition.
    pub async fn append(
        &mut self,
        at: Option<DateTime<Utc>>,
        events: Vec<NewEvent>,
    ) -> Vec<RecordedEvent> {
        let mut batches = vec![Vec::new(); self.writers.len()];
        for event in events {
            batches[self.log.partition_of(event.product_id) as usize].push(event);
        }
        let mut recorded = Vec::new();
        for (writer, events) in self
            .writers
            .iter_mut()
            .zip(batches)
            .filter(|(_, events)| !events.is_empty())
        {
            let at = at.unwrap_or_else(|| writer.now());
            recorded.extend(commit_at(writer, at, events).await);
        }
        recorded
    }
}
