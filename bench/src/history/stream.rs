//! What happens in one partition: products are opened, then reservations get their fates while others are made.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Amount, InvestId, MAX_AMOUNT, ProductEvent, ProductId, Terms, Title, UserId};
use event_log::{Metadata, NewEvent, RecordedEvent};
use std::collections::{HashMap, VecDeque};
use testbed::Random;
use uuid::Uuid;

/// One in so many reservations fails, the others are settled: 4 %.
const EVENTS_PER_FAILURE: u64 = 25;
/// Amounts are 1 to so many times [`AMOUNT_UNIT_WON`].
const AMOUNT_UNITS: u64 = 100;
/// Won.
const AMOUNT_UNIT_WON: i64 = 10_000;
/// How long a reservation stands.
const RESERVED_FOR: TimeDelta = TimeDelta::minutes(10);
/// How long a product takes invests.
const OPEN_FOR: TimeDelta = TimeDelta::days(365);

/// The events of one partition, still to happen.
pub(crate) struct Stream {
    random: Random,
    users: u64,
    left: usize,
    unopened: VecDeque<ProductId>,
    products: Vec<Product>,
    /// Where a product is in `products`.
    places: HashMap<ProductId, usize>,
    /// Committed, without a fate, oldest first.
    open: VecDeque<RecordedEvent>,
}

struct Product {
    id: ProductId,
    sequence: i64,
    remaining: i64,
}

impl Stream {
    pub(crate) fn new(seed: u64, products: Vec<ProductId>, users: u64, events: u64) -> Self {
        Self {
            random: Random::new(seed),
            users,
            left: events as usize,
            places: products.iter().copied().zip(0..).collect(),
            unopened: products.into(),
            products: Vec::new(),
            open: VecDeque::new(),
        }
    }

    /// How many events are still to happen.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// What happens together next, at `at`: about `together` events. Tell [`Self::committed`] what became of them.
    pub(crate) fn next(
        &mut self,
        together: usize,
        at: DateTime<Utc>,
    ) -> anyhow::Result<Vec<NewEvent>> {
        let mut events = Vec::with_capacity(together);
        while events.len() < together
            && let Some(id) = self.unopened.pop_front()
        {
            events.push(self.open(id, at)?);
        }
        let reservations = (together.saturating_sub(events.len()) / 2).min(self.room(events.len()));
        for number in 0..reservations.max(self.open.len()) {
            events.extend(
                self.open
                    .pop_front()
                    .map(|reserved| self.fate(reserved))
                    .transpose()?,
            );
            if number < reservations {
                events.push(self.reserve(at)?);
            }
        }
        if events.is_empty() {
            events.push(self.close()?);
        }
        self.left -= events.len();
        Ok(events)
    }

    /// How many reservations can still be made so that all get their fates.
    fn room(&self, opened: usize) -> usize {
        self.left.saturating_sub(opened + self.open.len()) / 2
    }

    /// Reservations get their fates once they are committed: a fate names its reservation as its cause.
    pub(crate) fn committed(&mut self, events: &[RecordedEvent]) {
        let reserved = events
            .iter()
            .filter(|event| matches!(event.event, ProductEvent::InvestReserved { .. }));
        self.open.extend(reserved.cloned());
    }

    fn open(&mut self, product_id: ProductId, at: DateTime<Utc>) -> anyhow::Result<NewEvent> {
        self.products.push(Product {
            id: product_id,
            sequence: 0,
            remaining: MAX_AMOUNT,
        });
        let event = ProductEvent::ProductOpened {
            product_id,
            title: Title::try_from(format!("product{product_id}"))?,
            total_investing_amount: Amount::try_from(MAX_AMOUNT)?,
            started_at: at,
            finished_at: at + OPEN_FOR,
            terms: Terms::default(),
        };
        self.happens(self.products.len() - 1, event, requested())
    }

    fn reserve(&mut self, at: DateTime<Utc>) -> anyhow::Result<NewEvent> {
        let amount =
            Amount::try_from((self.random.below(AMOUNT_UNITS) as i64 + 1) * AMOUNT_UNIT_WON)?;
        let user_id = UserId::try_from(format!("user{}", self.random.below(self.users) + 1))?;
        let place = self.random.below(self.products.len() as u64) as usize;
        let product = self
            .products
            .get_mut(place)
            .context("there is no product")?;
        product.remaining -= amount.won();
        anyhow::ensure!(
            product.remaining >= 0,
            "a product is sold out: take more --products"
        );
        let invest_id = InvestId(Uuid::now_v7());
        let expires_at = at + RESERVED_FOR;
        self.happens(
            place,
            ProductEvent::InvestReserved {
                invest_id,
                user_id,
                amount,
                expires_at,
            },
            requested(),
        )
    }

    fn fate(&mut self, reserved: RecordedEvent) -> anyhow::Result<NewEvent> {
        let ProductEvent::InvestReserved {
            invest_id,
            user_id,
            amount,
            ..
        } = reserved.event
        else {
            anyhow::bail!("only a reservation has a fate");
        };
        let place = *self
            .places
            .get(&reserved.product_id)
            .context("a product without a place")?;
        let metadata = Metadata {
            causation_id: Some(reserved.event_id.to_string()),
            ..reserved.metadata
        };
        if self.random.below(EVENTS_PER_FAILURE) > 0 {
            return self.happens(
                place,
                ProductEvent::InvestSettled {
                    invest_id,
                    user_id,
                    amount,
                },
                metadata,
            );
        }
        self.products[place].remaining += amount.won();
        let (code, detail) = (
            "PAYMENT_DECLINED".into(),
            "the account does not cover it".into(),
        );
        self.happens(
            place,
            ProductEvent::InvestFailed {
                invest_id,
                user_id,
                amount,
                code,
                detail,
            },
            metadata,
        )
    }

    /// For the one event that is left when no reservation and fate fit any more.
    fn close(&mut self) -> anyhow::Result<NewEvent> {
        self.happens(0, ProductEvent::ProductClosed {}, requested())
    }

    fn happens(
        &mut self,
        place: usize,
        event: ProductEvent,
        metadata: Metadata,
    ) -> anyhow::Result<NewEvent> {
        let product = self
            .products
            .get_mut(place)
            .context("there is no such product")?;
        product.sequence += 1;
        Ok(NewEvent {
            product_id: product.id,
            sequence: product.sequence,
            event,
            metadata,
        })
    }
}

fn requested() -> Metadata {
    Metadata {
        correlation_id: Uuid::now_v7().to_string(),
        ..Metadata::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::{Hash, Partition};

    /// As the log would record them.
    fn recorded(events: Vec<NewEvent>, after: i64) -> Vec<RecordedEvent> {
        let record = |(new, position): (NewEvent, i64)| RecordedEvent {
            partition: Partition::default(),
            position,
            event_id: Uuid::now_v7(),
            product_id: new.product_id,
            sequence: new.sequence,
            event: new.event,
            metadata: new.metadata,
            recorded_at: DateTime::UNIX_EPOCH,
            hash: Hash::default(),
        };
        events.into_iter().zip(after + 1..).map(record).collect()
    }

    /// The whole stream in batches of 100.
    fn all(products: i64, events: u64) -> Vec<RecordedEvent> {
        let products = (1..=products)
            .map(|id| ProductId::try_from(id).expect("an id"))
            .collect();
        let (mut stream, mut all) = (Stream::new(1, products, 50, events), Vec::new());
        while stream.left() > 0 {
            let events = stream.next(100, DateTime::UNIX_EPOCH).expect("events");
            let events = recorded(events, all.len() as i64);
            stream.committed(&events);
            all.extend(events);
        }
        all
    }

    #[test]
    fn exactly_as_many_events_as_asked_for_happen() {
        for events in [3, 4, 100, 101, 250, 1_000, 12_345] {
            assert_eq!(all(1, events).len() as u64, events);
        }
        assert_eq!(all(333, 1_000).len(), 1_000);
    }

    #[test]
    fn every_product_decides_so_itself() {
        let mut products: HashMap<ProductId, (domain::Product, i64)> = HashMap::new();
        for event in all(10, 5_001) {
            let (product, sequence) = products.entry(event.product_id).or_default();
            assert_eq!(event.sequence, *sequence + 1);
            *sequence += 1;
            let was_open =
                |product: &domain::Product, id| product.open_invests().any(|(open, _)| *open == id);
            match &event.event {
                ProductEvent::ProductOpened { .. } => assert_eq!(event.sequence, 1),
                ProductEvent::InvestReserved { amount, .. } => {
                    assert!(amount.won() <= product.remaining())
                }
                ProductEvent::InvestSettled { invest_id, .. }
                | ProductEvent::InvestFailed { invest_id, .. } => {
                    assert!(was_open(product, *invest_id));
                }
                ProductEvent::ProductClosed {} => assert!(product.is_opened()),
                ProductEvent::InvestWithdrawn { .. }
                | ProductEvent::InvestRefunded { .. }
                | ProductEvent::ProductCancelled { .. }
                | ProductEvent::ProductFailed { .. } => {
                    panic!("nothing is given back here: {event:?}")
                }
            }
            cqrs_es::Aggregate::apply(product, event.event);
        }
        assert!(
            products
                .values()
                .all(|(product, _)| product.reserved() == 0 && product.settled() > 0)
        );
    }
}
