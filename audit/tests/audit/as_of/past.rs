//! A random history in a database of its own, and who may be asked about it.

use crate::asked::{ask, service_time};
use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{GiveBackReason, InvestId, ProductEvent, Terms};
use edge::ServiceTime;
use event_log::{Metadata, Position, RecordedEvent};
use serde_json::Value;
use std::ops::Deref;
use testbed::events::{History, failed_by};
use testbed::http::call;
pub use testbed::values::user;
use testbed::values::{product, won};
use testbed::{Random, TestLog};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const USERS: [&str; 4] = ["choi", "jung", "kim", "lee"];
pub const PRODUCTS: i64 = 7;
/// Won.
const TOTAL: i64 = 100_000;
/// The product that is cancelled some time.
const CANCELLED: i64 = 4;

/// Its id, user, product and amount.
type Invest = (InvestId, &'static str, i64, i64);

pub struct Past {
    test_log: TestLog,
    pub time: ServiceTime,
    /// In the order in which they were recorded; of one partition in the order of positions.
    pub events: Vec<RecordedEvent>,
    history: History,
    open: Vec<Invest>,
    settled: Vec<Invest>,
    /// Withdrawn and not refunded.
    withdrawn: Vec<Invest>,
    now: DateTime<Utc>,
    random: Random,
}

impl Deref for Past {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.test_log
    }
}

impl Past {
    pub async fn with_partitions(partitions: i32, seed: u64) -> Self {
        let test_log = TestLog::with_partitions(partitions).await;
        let history = History::of(&test_log.log).await;
        let (time, events, open) = (service_time(), Vec::new(), Vec::new());
        let (settled, withdrawn) = (Vec::new(), Vec::new());
        // All of it is past; windows that are meant to be open are so from before it until after now.
        Self {
            test_log,
            time,
            events,
            history,
            open,
            settled,
            withdrawn,
            now: second(-3_600),
            random: Random::new(seed),
        }
    }

    /// So many times something more happens, often at the same time as before.
    pub async fn happens(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += TimeDelta::milliseconds(self.random.below(3) as i64 * 700);
            let product = self.random.below(PRODUCTS as u64) as i64 + 1;
            let event = match self.random.below(12) {
                _ if self.history.sequence(product) == 0 => opened(product),
                0..5 => self.reserved(product),
                5..9 if !self.open.is_empty() => {
                    self.fate().await;
                    continue;
                }
                10..12 => {
                    self.gives_back().await;
                    continue;
                }
                9 if self.random.below(8) == 0 && product > 5 => {
                    // Nothing more is reserved of it; its reservations still get their fates.
                    if self.is_closed(product) {
                        continue;
                    }
                    ProductEvent::ProductClosed {}
                }
                _ => self.reserved(product),
            };
            self.append(product, event).await;
        }
    }

    /// Appends one event at the time that it is.
    pub async fn append(&mut self, product: i64, event: ProductEvent) -> RecordedEvent {
        let metadata = Metadata {
            correlation_id: "c".into(),
            ..Metadata::default()
        };
        self.append_with(product, event, metadata).await
    }

    pub async fn append_with(
        &mut self,
        product: i64,
        event: ProductEvent,
        metadata: Metadata,
    ) -> RecordedEvent {
        let new = self.history.next(self::product(product), event, metadata);
        self.events
            .extend(self.history.append(Some(self.now), vec![new]).await);
        self.events.last().unwrap().clone()
    }

    pub fn passes(&mut self, time: TimeDelta) {
        self.now += time;
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn is_closed(&self, product: i64) -> bool {
        let closes = |event: &RecordedEvent| matches!(event.event, ProductEvent::ProductClosed {});
        self.events
            .iter()
            .any(|event| event.product_id.get() == product && closes(event))
    }

    fn reserved(&mut self, product: i64) -> ProductEvent {
        let user = USERS[self.random.below(USERS.len() as u64) as usize];
        // Half of them tell no time, and half of the others a wrong one.
        let id = match self.random.below(4) {
            0 | 1 => Uuid::new_v4(),
            2 => Uuid::now_v7(),
            _ => requested_at(self.now),
        };
        let (invest_id, amount) = (InvestId(id), self.random.below(900) as i64 + 1);
        self.open.push((invest_id, user, product, amount));
        reserved(invest_id, user, amount)
    }

    async fn fate(&mut self) {
        let which = self.random.below(self.open.len() as u64) as usize;
        let (invest_id, user, product, amount) = self.open.swap_remove(which);
        let (user_id, amount) = (self::user(user), won(amount));
        let event = match self.random.below(3) {
            0 => failed_by(user, invest_id, amount.won()),
            _ => {
                self.settled.push((invest_id, user, product, amount.won()));
                ProductEvent::InvestSettled {
                    invest_id,
                    user_id,
                    amount,
                }
            }
        };
        self.append(product, event).await;
    }

    /// Something is withdrawn or refunded, or a product is cancelled, of which a settled invest is refunded from then on.
    async fn gives_back(&mut self) {
        match self.random.below(4) {
            0 if !self.open.is_empty() => {
                let which = self.random.below(self.open.len() as u64) as usize;
                let invest = self.open.swap_remove(which);
                self.withdraws(invest, false).await;
            }
            1 if !self.withdrawn.is_empty() => {
                let invest = self.withdrawn.swap_remove(0);
                self.refunds(invest, GiveBackReason::Withdrawn).await;
            }
            2 if self.history.sequence(CANCELLED) > 0 && !self.is_cancelled() => {
                let reason = "a reason".to_owned().try_into().unwrap();
                self.append(CANCELLED, ProductEvent::ProductCancelled { reason })
                    .await;
            }
            _ if !self.settled.is_empty() => {
                let which = self.random.below(self.settled.len() as u64) as usize;
                let invest = self.settled.swap_remove(which);
                if invest.2 == CANCELLED && self.is_cancelled() {
                    self.refunds(invest, GiveBackReason::Cancelled).await;
                } else {
                    self.withdraws(invest, true).await;
                }
            }
            _ => {}
        }
    }

    async fn withdraws(&mut self, invest: Invest, settled: bool) {
        let (invest_id, user, product, amount) = invest;
        let (user_id, amount) = (self::user(user), won(amount));
        self.append(
            product,
            ProductEvent::InvestWithdrawn {
                invest_id,
                user_id,
                amount,
                settled,
            },
        )
        .await;
        self.withdrawn.push(invest);
    }

    async fn refunds(
        &mut self,
        (invest_id, user, product, amount): Invest,
        reason: GiveBackReason,
    ) {
        let (user_id, amount, code) = (self::user(user), won(amount), reason.code().into());
        self.append(
            product,
            ProductEvent::InvestRefunded {
                invest_id,
                user_id,
                amount,
                code,
            },
        )
        .await;
    }

    fn is_cancelled(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event.event, ProductEvent::ProductCancelled { .. }))
    }

    /// Times to ask for, in order: before the first event, after the last, exactly at events, and just before events.
    pub fn times(&mut self, number: usize) -> Vec<DateTime<Utc>> {
        let mut times = vec![
            self.events[0].recorded_at - TimeDelta::days(1),
            self.now + TimeDelta::seconds(1),
        ];
        for _ in 0..number {
            let at = self.events[self.random.below(self.events.len() as u64) as usize].recorded_at;
            times.push(at - TimeDelta::microseconds(self.random.below(2) as i64));
        }
        times.sort_unstable();
        times
    }

    /// What the audit answers to the path and query after `/admin/audit/`.
    pub async fn audit(&self, path: &str) -> Value {
        ask(self, path).await.json()
    }

    /// What the public read side answers now.
    pub async fn public(&self, user: &str, path: &str) -> Value {
        let settings = query_api::Settings {
            pool: self.pool.clone(),
            redis: None,
            log_id: self.log.identity().log_id,
            incarnation: self.log.incarnation(),
            partitions: self.log.partitions().count(),
            time: self.time,
            callers: std::sync::Arc::default(),
            health: Router::new(),
            streams: query_api::StreamLimits::default(),
            readers: query_api::ReaderNotice::default(),
            shutdown: CancellationToken::new(),
        };
        call(
            &query_api::router(settings),
            "GET",
            path,
            &[("X-USER-ID", user)],
        )
        .await
        .json()
    }
}

/// Of each partition the last position up to that time, by looking at every event.
pub fn recorded_up_to(
    events: &[RecordedEvent],
    at: DateTime<Utc>,
    partitions: i32,
) -> Vec<Position> {
    let upto = |partition| {
        events
            .iter()
            .filter(move |it| it.partition == partition && it.recorded_at <= at)
    };
    (0..partitions)
        .map(|partition| upto(partition).map(|it| it.position).max().unwrap_or(0))
        .collect()
}

/// 1 to 4 take invests at all times; 5 did long ago, 6 will, 7 takes some that are closed soon.
pub fn opened(product: i64) -> ProductEvent {
    let day = TimeDelta::days(1);
    let (started_at, finished_at) = match product {
        5 => (second(0) - day * 9, second(0) - day * 8),
        6 => (second(0) + day, second(0) + day * 2),
        _ => (second(0) - day, second(0) + day),
    };
    ProductEvent::ProductOpened {
        product_id: product.try_into().unwrap(),
        title: format!("product{product}").try_into().unwrap(),
        total_investing_amount: won(TOTAL),
        started_at,
        finished_at,
        terms: Terms::default(),
    }
}

pub fn reserved(invest_id: InvestId, user: &str, amount: i64) -> ProductEvent {
    let expires_at = second(600);
    ProductEvent::InvestReserved {
        invest_id,
        user_id: self::user(user),
        amount: won(amount),
        expires_at,
    }
}

/// An id for a request that came at that time.
pub fn requested_at(at: DateTime<Utc>) -> Uuid {
    let since = at.timestamp_millis() as u64;
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        since / 1_000,
        (since % 1_000) as u32 * 1_000_000,
    ))
}

/// So many seconds from now, in whole seconds.
pub fn second(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(Utc::now().timestamp() + n, 0).unwrap()
}
