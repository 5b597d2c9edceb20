//! A comparison finds code that makes other rows than the live code.

use super::{CatchUpTarget, JobError, Rebuild, Throttle};
use crate::HoldingsProjection;
use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use crate::holdings::HoldingsState;
use crate::job::Progress;
use connection_pool::{Connection, Pool};
use domain::{InvestId, ProductEvent, Terms, UserId};
use event_log::consume::{ApplyError, Consumer, Projection};
use event_log::{Batch, Lease, Log, Metadata, NewEvent, Partition, RecordedEvent, Writer};
use sqlx::Executor as _;
use std::sync::Arc;
use std::time::Duration;
use testbed::Database;
use uuid::Uuid;

/// Forgets every third settlement of a user.
#[derive(Default)]
struct Forgetful {
    state: HoldingsState,
    settled: usize,
}

impl Fold for Forgetful {
    async fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> sqlx::Result<Self> {
        Ok(Self {
            state: HoldingsState::read(transaction, events).await?,
            settled: 0,
        })
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        if matches!(event.event, ProductEvent::InvestSettled { .. }) {
            self.settled += 1;
            if self.settled.is_multiple_of(3) {
                return Ok(());
            }
        }
        self.state.apply(event)
    }

    fn emit_new(&self, partition: Partition, copy: &mut CopyWriter) {
        self.state.emit_new(partition, copy);
    }

    async fn update(&self, transaction: &mut Connection, partition: Partition) -> sqlx::Result<()> {
        self.state.update(transaction, partition).await
    }
}

#[derive(Default)]
struct Broken;

impl Projection for Broken {
    const NAME: &'static str = HoldingsProjection::NAME;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for Broken {
    const TABLES: &'static [Table] = HoldingsProjection::TABLES;
    type Fold = Forgetful;
}

async fn log_with_holdings(pool: &Pool, users: i64) -> Log {
    let log = Log::open(pool.clone(), 1).await.unwrap();
    let mut writer = Writer::open(log.clone(), 0).await.unwrap();
    let product_id = 1.try_into().unwrap();
    let (amount, total): (domain::Amount, domain::Amount) =
        (7.try_into().unwrap(), 1_000.try_into().unwrap());
    let at = writer.now();
    let mut happened = vec![ProductEvent::ProductOpened {
        product_id,
        title: "apples".to_owned().try_into().unwrap(),
        total_investing_amount: total,
        started_at: at,
        finished_at: at,
        terms: Terms::default(),
    }];
    for number in 0..users {
        let user_id: UserId = format!("user{number}").try_into().unwrap();
        let invest_id = InvestId(Uuid::from_u128(number as u128 + 1));
        happened.push(ProductEvent::InvestReserved {
            invest_id,
            user_id: user_id.clone(),
            amount,
            expires_at: at,
        });
        happened.push(ProductEvent::InvestSettled {
            invest_id,
            user_id,
            amount,
        });
    }
    let metadata = Metadata {
        correlation_id: "a test".into(),
        ..Metadata::default()
    };
    let event = |(sequence, event)| NewEvent {
        product_id,
        sequence,
        event,
        metadata: metadata.clone(),
    };
    let events = (1..).zip(happened).map(event).collect();
    writer
        .append(
            Batch {
                events,
                ..Batch::default()
            },
            at,
        )
        .await
        .unwrap();
    log
}

async fn rebuild<M: ReadModel>(log: &Log, pool: &Pool, generation: i32) -> Rebuild<M> {
    sqlx::query("insert into generations values ('holdings', $1, 1, 'BUILDING')")
        .bind(generation)
        .execute(pool)
        .await
        .unwrap();
    let lease = Lease::acquire(log, &format!("job:{generation}"), Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    Rebuild {
        log: log.clone(),
        pool: pool.clone(),
        generation,
        lease: Arc::new(lease),
        progress: Arc::new(Progress::default()),
        throttle: Throttle::new(None),
        model: Arc::new(M::default()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_projection_is_found_by_the_comparison() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let log = log_with_holdings(&pool, 8).await;
    Consumer::new(log.clone(), pool.clone(), Arc::new(HoldingsProjection), 0)
        .catch_up()
        .await
        .unwrap();

    let good = rebuild::<HoldingsProjection>(&log, &pool, 2).await;
    assert_eq!(good.build(false).await.unwrap(), CatchUpTarget::Live);
    assert!(good.compare().await.unwrap().equal);

    let broken = rebuild::<Broken>(&log, &pool, 3).await;
    broken.build(false).await.unwrap();
    let found = broken.compare().await.unwrap();

    assert!(!found.equal);
    let holdings = found
        .tables
        .iter()
        .find(|table| table.table == "holdings")
        .unwrap();
    assert_eq!((holdings.rows.live, holdings.rows.new), (8, 6));
    let missing: Vec<_> = holdings
        .differences
        .iter()
        .map(|it| it.key["user_id"].as_str().unwrap())
        .collect();
    assert_eq!(missing, ["user2", "user5"]);
    assert!(
        holdings
            .differences
            .iter()
            .all(|it| it.live.is_some() && it.new.is_none())
    );
}

/// An index build continues in the server when its projector was killed, and may end just before its successor's.
#[tokio::test]
async fn a_concurrent_create_is_retried() {
    const INDEX: &str = "create index twice on holdings (amount)";
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let (mut first, mut second) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    first.execute(INDEX).await.unwrap();
    let late = tokio::spawn(async move { second.execute(INDEX).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    first.commit().await.unwrap();
    let taken = JobError::from(late.await.unwrap().unwrap_err());
    assert!(matches!(taken, JobError::Retryable(_)), "{taken:?}");
    let mut third = pool.acquire().await.unwrap();
    let there = JobError::from(third.execute(INDEX).await.unwrap_err());
    assert!(matches!(there, JobError::Retryable(_)), "{there:?}");
    let row = "insert into holdings_product values (1, 'a', 1), (1, 'a', 1)";
    let row = JobError::from(third.execute(row).await.unwrap_err());
    assert!(matches!(row, JobError::Fatal(_)), "{row:?}");
}
