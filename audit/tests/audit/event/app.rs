//! A random history, its index, and a plain scan of it.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{InvestId, ProductEvent, Terms, UserId};
use event_log::consume::Consumer;
use event_log::search::{Bound, Filter, Order};
use event_log::{Metadata, NewEvent, Partition, RecordedEvent};
use projector::EventIndexProjection;
use std::ops::Deref;
use std::sync::Arc;
use testbed::events::History;
use testbed::values::won;
pub use testbed::values::{product as product_id, user};
use testbed::{Random, TestLog};
use uuid::Uuid;

pub const USERS: u64 = 12;
pub const PRODUCTS: u64 = 9;

pub struct TestApp {
    test_log: TestLog,
    pub random: Random,
    history: History,
    open: Vec<(i64, UserId, InvestId)>,
    now: DateTime<Utc>,
}

impl Deref for TestApp {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.test_log
    }
}

impl TestApp {
    pub async fn with_partitions(partitions: i32, seed: u64) -> Self {
        let test_log = TestLog::with_partitions(partitions).await;
        let history = History::of(&test_log.log).await;
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        Self {
            test_log,
            random: Random::new(seed),
            history,
            open: Vec::new(),
            now,
        }
    }

    /// Appends so many events: what is decided at one time may lie in several partitions.
    pub async fn happens(&mut self, events: usize) {
        let mut left = events;
        while left > 0 {
            self.now += TimeDelta::microseconds(self.random.below(3) as i64 * 400_000);
            let together = left.min(self.random.below(40) as usize + 1);
            left -= together;
            let events = (0..together).map(|_| self.something()).collect();
            self.history.append(Some(self.now), events).await;
        }
    }

    /// So many reservations of one user in one product, and nothing else.
    pub async fn reserves(&mut self, product: u64, name: &str, times: usize) {
        for chunk in (0..times).collect::<Vec<_>>().chunks(1_000) {
            let events = chunk.iter().map(|_| {
                let event = reserved(InvestId(Uuid::now_v7()), user(name));
                self.new_event(product as i64, event)
            });
            let events = events.collect();
            self.now += TimeDelta::seconds(1);
            self.history.append(Some(self.now), events).await;
        }
    }

    fn something(&mut self) -> NewEvent {
        let product = self.random.below(PRODUCTS) as i64 + 1;
        if self.history.sequence(product) == 0 {
            return self.new_event(product, opened(product));
        }
        if self.random.below(60) == 0 {
            return self.new_event(product, ProductEvent::ProductClosed {});
        }
        if self.random.below(2) == 0 && !self.open.is_empty() {
            let which = self.random.below(self.open.len() as u64) as usize;
            let (product, user_id, invest_id) = self.open.swap_remove(which);
            let event = match self.random.below(8) {
                0 => failed(invest_id, user_id),
                1 => ProductEvent::InvestWithdrawn {
                    invest_id,
                    user_id,
                    amount: won(1),
                    settled: false,
                },
                _ => ProductEvent::InvestSettled {
                    invest_id,
                    user_id,
                    amount: won(1),
                },
            };
            return self.new_event(product, event);
        }
        let (user_id, invest_id) = (
            user(&format!("user{}", self.random.below(USERS))),
            InvestId(Uuid::now_v7()),
        );
        self.open.push((product, user_id.clone(), invest_id));
        self.new_event(product, reserved(invest_id, user_id))
    }

    fn new_event(&mut self, product: i64, event: ProductEvent) -> NewEvent {
        // Ids of requests are text of any kind, most of them uuids; some go with several events.
        let correlation_id = match self.random.below(4) {
            0 => format!("request {}", self.random.below(30)),
            _ => Uuid::now_v7().to_string(),
        };
        let metadata = Metadata {
            correlation_id,
            ..Metadata::default()
        };
        self.history.next(product_id(product), event, metadata)
    }

    /// Brings the index to where the log is.
    pub async fn index(&self) {
        for partition in self.log.partitions() {
            let projection = Arc::new(EventIndexProjection);
            Consumer::new(self.log.clone(), self.pool.clone(), projection, partition)
                .catch_up()
                .await
                .unwrap();
        }
    }
}

/// What a plain scan finds, in order.
pub fn scanned(all: &[RecordedEvent], filter: &Filter, order: Order) -> Vec<(Partition, i64)> {
    let mut found: Vec<_> = all.iter().filter(|event| is_asked(event, filter)).collect();
    found.sort_by_key(|event| (event.recorded_at, event.partition, event.position));
    if order == Order::Descending {
        found.reverse();
    }
    found
        .into_iter()
        .map(|event| (event.partition, event.position))
        .collect()
}

/// The question in other words than the program's.
fn is_asked(event: &RecordedEvent, filter: &Filter) -> bool {
    let payload = serde_json::to_value(&event.event).unwrap()[event.event.name()].clone();
    let says =
        |field: &str, asked: Option<String>| asked.is_none_or(|asked| payload[field] == asked);
    let after = match filter.from {
        None => true,
        Some(Bound::Time(from)) => event.recorded_at >= from,
        Some(Bound::Position(from)) => event.position >= from,
    };
    let before = match filter.to {
        None => true,
        Some(Bound::Time(to)) => event.recorded_at < to,
        Some(Bound::Position(to)) => event.position <= to,
    };
    filter.product.is_none_or(|asked| asked == event.product_id)
        && says("userId", filter.user.as_ref().map(|user| user.to_string()))
        && says("investId", filter.invest.map(|invest| invest.to_string()))
        && filter
            .event_type
            .as_ref()
            .is_none_or(|asked| asked == event.event.name())
        && filter
            .correlation
            .as_ref()
            .is_none_or(|asked| *asked == event.metadata.correlation_id)
        && filter
            .partition
            .is_none_or(|asked| asked == event.partition)
        && after
        && before
}

fn opened(product: i64) -> ProductEvent {
    ProductEvent::ProductOpened {
        product_id: product_id(product),
        title: format!("\"product\", {product}").try_into().unwrap(),
        total_investing_amount: won(1_000),
        started_at: DateTime::UNIX_EPOCH,
        finished_at: DateTime::UNIX_EPOCH + TimeDelta::days(1),
        terms: Terms::default(),
    }
}

fn reserved(invest_id: InvestId, user_id: UserId) -> ProductEvent {
    ProductEvent::InvestReserved {
        invest_id,
        user_id,
        amount: won(1),
        expires_at: DateTime::UNIX_EPOCH,
    }
}

fn failed(invest_id: InvestId, user_id: UserId) -> ProductEvent {
    let (code, detail) = ("DECLINED".into(), "no funds, \"none\"".into());
    ProductEvent::InvestFailed {
        invest_id,
        user_id,
        amount: won(1),
        code,
        detail,
    }
}
