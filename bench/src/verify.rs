//! How fast a sealed log is verified in its database, beside a bare binary COPY of the same columns.

use crate::history::connect;
use anyhow::Context;
use audit::proof::seal_store;
use audit::proof::sealer::{Sealer, Sealing};
use audit::proof::verify_live::{CONCURRENT_PARTITIONS, verify};
use connection_pool::Pool;
use event_log::{Log, Partition, Position, RawReader};
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use proof::key;
use proof::report::Verdict;
use proof::seal_chain::ValidSeals;
use std::time::Instant;

/// One for each reader, and some for questions.
const CONNECTIONS: u32 = 4 + CONCURRENT_PARTITIONS as u32;

/// Rows of one statement, as a verification reads them.
const RANGE: Position = 50_000;

/// One of a round's rates.
type Rate = fn(&Round) -> f64;

/// Rows a second of one round.
struct Round {
    /// A COPY of the whole table over one connection.
    one: f64,
    /// The same over as many connections as a verification has, each a part of the pages.
    several: f64,
    /// What a verification reads, and nothing made of it.
    read: f64,
    verified: f64,
}

pub(crate) async fn run(times: u32, database_url: &str) -> anyhow::Result<()> {
    let pool = connect(database_url, CONNECTIONS).await?;
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log: fill one with bench history")?;
    let log = Log::open(pool.clone(), partitions).await?;
    let events: Position = log.heads().await?.iter().sum();
    let sealed = seal(&log, &pool).await?;
    let mut rounds = Vec::new();
    for _ in 0..times {
        let rate = |began: Instant| events as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        copy(&pool, "copy events to stdout (format binary)").await?;
        let one = rate(began);
        let began = Instant::now();
        copy_in_parts(&pool).await?;
        let several = rate(began);
        let began = Instant::now();
        read(&pool, &log).await?;
        let read = rate(began);
        let began = Instant::now();
        let report = verify(&pool, &sealed).await?;
        let verified = rate(began);
        anyhow::ensure!(
            report.verdict == Verdict::Whole && report.events == events,
            "it is broken: {report:?}"
        );
        println!(
            "  COPY {one:.0} rows/s, over {CONCURRENT_PARTITIONS} connections {several:.0}, in order {read:.0}  verified {verified:.0} events/s"
        );
        rounds.push(Round {
            one,
            several,
            read,
            verified,
        });
    }
    let copies: [(&str, Rate); 3] = [
        ("COPY of the table", |round| round.one),
        ("COPY of its parts, a connection each", |round| {
            round.several
        }),
        ("COPY in order, a partition each connection", |round| {
            round.read
        }),
    ];
    println!(
        "medians: verified {:.0} events/s",
        median(&rounds, |round| round.verified)
    );
    for (name, rate) in copies {
        let ratio = median(&rounds, |round| round.verified / rate(round));
        println!(
            "  {name}: {:.0} rows/s, verified at {ratio:.2} of it",
            median(&rounds, rate)
        );
    }
    Ok(())
}

/// The seals of the whole log, made now with a key of the moment unless it has some.
pub(crate) async fn seal(log: &Log, pool: &Pool) -> anyhow::Result<ValidSeals> {
    let began = Instant::now();
    let sealing = Sealing {
        key: key::generate_key()?,
        earlier: Vec::new(),
        file: None,
    };
    empty(pool).await?;
    let seals = Sealer::begin(log, pool, &sealing)
        .await?
        .seal_once()
        .await?;
    println!(
        "{seals} seals made in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    let stored = seal_store::all_seals(pool).await?;
    let sealed = ValidSeals::read(
        stored,
        &[sealing.key.verifying_key()],
        Some(*log.identity()),
    );
    println!(
        "read and believed in {:.2} s",
        began.elapsed().as_secs_f64()
    );
    sealed.context("no seals were made")
}

/// Takes away the seals of an earlier run, whose key is gone: this is a database to measure with.
pub(crate) async fn empty(pool: &Pool) -> anyhow::Result<()> {
    sqlx::raw_sql("alter table seals disable trigger all; truncate seals; alter table seals enable trigger all")
        .execute(pool)
        .await?;
    Ok(())
}

async fn copy(pool: &Pool, statement: &str) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut bytes = connection.copy_out_raw(statement).await?;
    while bytes.try_next().await?.is_some() {}
    Ok(())
}

/// All columns of all rows in the order they lie in, a part of the pages over each connection; nothing is made of them.
async fn copy_in_parts(pool: &Pool) -> anyhow::Result<()> {
    let pages: i64 = sqlx::query_scalar(
        "select pg_relation_size('events') / current_setting('block_size')::bigint + 1",
    )
    .fetch_one(pool)
    .await?;
    let readers = CONCURRENT_PARTITIONS as i64;
    let parts: Vec<String> = (0..readers)
        .map(|part| {
            let (first, end) = (pages * part / readers, pages * (part + 1) / readers);
            format!(
                "copy (select * from events where ctid >= '({first},0)' and ctid < '({end},0)') to stdout (format binary)"
            )
        })
        .collect();
    let copies = parts.iter().cloned().map(|part| {
        let pool = pool.clone();
        async move { tokio::spawn(async move { copy(&pool, &part).await }).await? }
    });
    try_join_all(copies).await?;
    Ok(())
}

/// The log in order, over as many connections as a verification has.
async fn read(pool: &Pool, log: &Log) -> anyhow::Result<()> {
    let heads: Vec<(Partition, Position)> = log.partitions().zip(log.heads().await?).collect();
    let readers = (0..CONCURRENT_PARTITIONS).map(|reader| {
        let (pool, parts) = (
            pool.clone(),
            heads
                .iter()
                .copied()
                .skip(reader)
                .step_by(CONCURRENT_PARTITIONS)
                .collect::<Vec<_>>(),
        );
        async move { tokio::spawn(read_parts(pool, parts)).await? }
    });
    try_join_all(readers).await?;
    Ok(())
}

async fn read_parts(pool: Pool, parts: Vec<(Partition, Position)>) -> anyhow::Result<()> {
    let mut reader = RawReader::open(&pool).await?;
    let (blocks, mut incoming) = tokio::sync::mpsc::channel(4);
    let thrown_away = tokio::spawn(async move { while incoming.recv().await.is_some() {} });
    for (partition, head) in parts {
        let mut after = None;
        while after < Some(head) {
            after = reader.copy(partition, after, head, RANGE, &blocks).await?;
            anyhow::ensure!(after.is_some(), "the log has a hole");
        }
    }
    drop(blocks);
    Ok(thrown_away.await?)
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut rates: Vec<_> = rounds.iter().map(of).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
