//! A random history in a database of its own, and who may be asked about it.

use audit::Audit;
use audit::access::Reader;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductEvent, ProductId, UserId};
use edge::ServiceTime;
use event_log::{Appended, Batch, Log, Metadata, NewEvent, Position, RecordedEvent, Writer};
use serde_json::Value;
use sqlx::Executor as _;
use std::collections::HashMap;
use testbed::{Database, Random};
use tower::ServiceExt as _;
use uuid::Uuid;

pub const USERS: [&str; 4] = ["choi", "jung", "kim", "lee"];
pub const PRODUCTS: i64 = 7;
/// Won.
const TOTAL: i64 = 100_000;

pub struct Past {
    pub log: Log,
    pub pool: Pool,
    pub time: ServiceTime,
    /// In the order in which they were recorded; of one partition in the order of positions.
    pub events: Vec<RecordedEvent>,
    writers: Vec<Writer>,
    sequences: HashMap<i64, i64>,
    open: Vec<(InvestId, &'static str, i64, i64)>,
    now: DateTime<Utc>,
    random: Random,
    _database: Database,
}

impl Past {
    pub async fn with_partitions(partitions: i32, seed: u64) -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let log = Log::open(pool.clone(), partitions).await.unwrap();
        let mut writers = Vec::new();
        for partition in log.partitions() {
            writers.push(Writer::open(log.clone(), partition).await.unwrap());
        }
        Self {
            log,
            pool,
            time: "Asia/Seoul".parse().unwrap(),
            events: Vec::new(),
            writers,
            sequences: HashMap::new(),
            open: Vec::new(),
            // All of it is past; windows that are meant to be open are so from before it until after now.
            now: second(-3_600),
            random: Random::new(seed),
            _database: database,
        }
    }

    /// So many times something more happens, often at the same time as before.
    pub async fn happens(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += TimeDelta::milliseconds(self.random.below(3) as i64 * 700);
            let product = self.random.below(PRODUCTS as u64) as i64 + 1;
            let event = match self.random.below(10) {
                _ if !self.sequences.contains_key(&product) => opened(product),
                0..5 => self.reserved(product),
                5..9 if !self.open.is_empty() => {
                    self.fate().await;
                    continue;
                }
                9 if self.random.below(8) == 0 && product > 5 && self.sequences[&product] > 0 => {
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
        let metadata = Metadata { correlation_id: "c".into(), ..Metadata::default() };
        self.append_with(product, event, metadata).await
    }

    pub async fn append_with(&mut self, product: i64, event: ProductEvent, metadata: Metadata) -> RecordedEvent {
        let sequence = self.sequences.entry(product).or_default();
        *sequence += 1;
        let product_id: ProductId = product.try_into().unwrap();
        let new = NewEvent { product_id, sequence: *sequence, event, metadata };
        let writer = &mut self.writers[self.log.partition_of(product_id) as usize];
        let batch = Batch { events: vec![new], keys: vec![] };
        match writer.append(batch, self.now).await.unwrap() {
            Appended::Committed(events) => self.events.extend(events.iter().cloned()),
            other => panic!("nobody else writes here: {other:?}"),
        }
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
        self.events.iter().any(|event| event.product_id.get() == product && closes(event))
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
            0 => failed(invest_id, user, amount.won()),
            _ => ProductEvent::InvestSettled { invest_id, user_id, amount },
        };
        self.append(product, event).await;
    }

    /// Times to ask for, in order: before the first event, after the last, exactly at events, and just before events.
    pub fn times(&mut self, number: usize) -> Vec<DateTime<Utc>> {
        let mut times = vec![self.events[0].recorded_at - TimeDelta::days(1), self.now + TimeDelta::seconds(1)];
        for _ in 0..number {
            let at = self.events[self.random.below(self.events.len() as u64) as usize].recorded_at;
            times.push(at - TimeDelta::microseconds(self.random.below(2) as i64));
        }
        times.sort_unstable();
        times
    }

    pub async fn sql(&self, statements: &str) {
        (&self.pool).execute(statements).await.unwrap();
    }

    /// What the audit answers to the path and query after `/admin/audit/`.
    pub async fn audit(&self, path: &str) -> Value {
        let pool = self.pool.clone();
        let audit = Audit {
            log: self.log.clone(),
            read: pool.clone(),
            bulk: pool.clone(),
            write: pool,
            time: self.time,
            seals: None,
        };
        let routes = audit::routes(audit).layer(axum::Extension(Reader::Auditor));
        ask(edge::with_middleware(routes, &[]), &format!("/admin/audit/{path}"), "").await
    }

    /// What the public read side answers now.
    pub async fn public(&self, user: &str, path: &str) -> Value {
        let settings = query_api::Settings {
            pool: self.pool.clone(),
            redis: None,
            log_id: self.log.identity().log_id,
            partitions: self.log.partitions().count(),
            time: self.time,
            allowed_origins: vec![],
            health: Router::new(),
        };
        ask(query_api::router(settings), path, user).await
    }
}

async fn ask(router: Router, path: &str, user: &str) -> Value {
    let request = Request::builder().uri(path).header("X-USER-ID", user).body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    serde_json::from_slice(&to_bytes(answer.into_body(), usize::MAX).await.unwrap()).unwrap()
}

/// Of each partition the last position up to that time, by looking at every event.
pub fn recorded_up_to(events: &[RecordedEvent], at: DateTime<Utc>, partitions: i32) -> Vec<Position> {
    let upto = |partition| events.iter().filter(move |it| it.partition == partition && it.recorded_at <= at);
    (0..partitions).map(|partition| upto(partition).map(|it| it.position).max().unwrap_or(0)).collect()
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
    }
}

pub fn reserved(invest_id: InvestId, user: &str, amount: i64) -> ProductEvent {
    let expires_at = second(600);
    ProductEvent::InvestReserved { invest_id, user_id: self::user(user), amount: won(amount), expires_at }
}

pub fn failed(invest_id: InvestId, user: &str, amount: i64) -> ProductEvent {
    let (code, detail) = ("DECLINED".into(), "no funds".into());
    ProductEvent::InvestFailed { invest_id, user_id: self::user(user), amount: won(amount), code, detail }
}

pub fn user(name: &str) -> UserId {
    name.to_owned().try_into().unwrap()
}

fn won(amount: i64) -> Amount {
    amount.try_into().unwrap()
}

/// An id for a request that came at that time.
pub fn requested_at(at: DateTime<Utc>) -> Uuid {
    let since = at.timestamp_millis() as u64;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, since / 1_000, (since % 1_000) as u32 * 1_000_000))
}

/// So many seconds from now, in whole seconds.
pub fn second(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(Utc::now().timestamp() + n, 0).unwrap()
}
