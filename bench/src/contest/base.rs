//! The database that every Moa's is a copy of: some history, and fresh products that nobody has invested in.

use super::process::{command, moa, run};
use super::quiet::wait_until_quiet;
use super::{Contestant, Servers};
use crate::history::{self, Shape, connect};
use crate::models;
use anyhow::Context;
use chrono::{TimeDelta, Utc};
use domain::{Amount, MAX_AMOUNT, ProductEvent, ProductId, Terms, Title};
use event_log::{Appended, Batch, Log, Metadata, NewEvent, Partition, Writer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

/// Events of one append.
const EVENTS_PER_APPEND: usize = 1_000;
/// Fewer are caught up with by Moa itself as fast as the read models are rebuilt in bulk.
const MIN_EVENTS_TO_REBUILD: u64 = 20_000;
/// One for each partition's writer, and some for questions.
const CONNECTIONS: u32 = 32;
/// How long a fresh product takes invests.
const OPEN_FOR: TimeDelta = TimeDelta::days(365);

/// What is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BaseShape {
    /// What happened before.
    pub(crate) history: Shape,
    /// How many products nobody has invested in.
    pub(crate) fresh_products: usize,
}

/// A database to copy. Nobody is connected to it.
pub(super) struct Base {
    pub(super) database: String,
    /// The fresh products.
    pub(super) products: Vec<i64>,
    /// The key its seals are signed with, and the file that has them.
    pub(super) seal_key: PathBuf,
    pub(super) seals: PathBuf,
}

impl Base {
    /// Migrated, filled, all read models up to date, sealed, analysed.
    pub(super) async fn prepare(servers: &Servers, shape: BaseShape) -> anyhow::Result<Self> {
        let database = format!("base_{}", Uuid::now_v7().simple());
        servers.create(&database, None).await?;
        let url = servers.url(&database);
        let mut migrate = command(&moa()?);
        migrate
            .args(["migrate", "--partitions", &history::PARTITIONS.to_string()])
            .env("DATABASE_URL", &url);
        run(migrate).await.context("moa migrate")?;
        history::run(shape.history, &url).await?;
        let pool = connect(&url, CONNECTIONS).await?;
        let log = Log::open(pool.clone(), history::PARTITIONS).await?;
        if shape.history.events >= MIN_EVENTS_TO_REBUILD {
            models::fill_all(&log, &pool).await?;
        }
        let products = open_products(&log, shape.fresh_products).await?;
        pool.inner().close().await;
        let seal_key = servers.folder.join(format!("{database}.key"));
        let mut make_key = command(&moa()?);
        make_key.args(["audit", "key"]).arg(&seal_key);
        run(make_key).await.context("moa audit key")?;
        let seals = servers.folder.join(format!("{database}.seals"));
        let base = Self {
            database,
            products,
            seal_key,
            seals,
        };
        base.catch_up(servers).await?;
        Ok(base)
    }

    /// A Moa applies and seals what is there, and is stopped.
    async fn catch_up(&self, servers: &Servers) -> anyhow::Result<()> {
        let moa = Contestant::Moa
            .start_moa(servers, &self.database, (&self.seal_key, &self.seals))
            .await?;
        let pool = servers.pool(&self.database).await?;
        wait_until_quiet(&pool, None).await?;
        moa.stop().await?;
        sqlx::raw_sql("vacuum (analyze)").execute(&pool).await?;
        pool.close().await;
        Ok(())
    }
}

/// Products that take invests from now on.
async fn open_products(log: &Log, count: usize) -> anyhow::Result<Vec<i64>> {
    let mut of_partition: BTreeMap<Partition, Vec<NewEvent>> = BTreeMap::new();
    let mut products = Vec::with_capacity(count);
    for _ in 0..count {
        let product_id = log.next_product_id().await?;
        products.push(product_id.get());
        of_partition
            .entry(log.partition_of(product_id))
            .or_default()
            .push(opened(product_id)?);
    }
    for (partition, mut events) in of_partition {
        let mut writer = Writer::open(log.clone(), partition).await?;
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(EVENTS_PER_APPEND));
            let (now, batch) = (
                writer.now(),
                Batch {
                    events: std::mem::replace(&mut events, rest),
                    keys: Vec::new(),
                },
            );
            let appended = writer.append(batch, now).await?;
            anyhow::ensure!(
                matches!(appended, Appended::Committed(_)),
                "somebody else writes to this log"
            );
        }
    }
    Ok(products)
}

fn opened(product_id: ProductId) -> anyhow::Result<NewEvent> {
    let now = Utc::now();
    let event = ProductEvent::ProductOpened {
        product_id,
        title: Title::try_from(format!("fresh {product_id}"))?,
        total_investing_amount: Amount::try_from(MAX_AMOUNT)?,
        started_at: now,
        finished_at: now + OPEN_FOR,
        terms: Terms::default(),
    };
    let metadata = Metadata {
        correlation_id: Uuid::now_v7().to_string(),
        ..Metadata::default()
    };
    Ok(NewEvent {
        product_id,
        sequence: 1,
        event,
        metadata,
    })
}
