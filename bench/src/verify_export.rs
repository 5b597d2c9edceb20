//! How fast an export of a sealed log is written to a file, and verified from it.

use crate::history::connect;
use crate::verify::seal;
use anyhow::Context;
use audit::export::export;
use chrono::Utc;
use connection_pool::Pool;
use event_log::Log;
use futures::TryStreamExt as _;
use proof::export::{Format, Header, verify_against};
use proof::report::Verdict;
use proof::seal_chain::ValidSeals;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Instant;

/// One that reads, and some for questions.
const CONNECTIONS: u32 = 4;

pub(crate) async fn run(times: u32, database_url: &str) -> anyhow::Result<()> {
    let pool = connect(database_url, CONNECTIONS).await?;
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log: fill one with bench history")?;
    let log = Log::open(pool.clone(), partitions).await?;
    let sealed = seal(&log, &pool).await?;
    for format in [Format::Ndjson, Format::Csv] {
        let file = Temporary(
            std::env::temp_dir().join(format!("moa-bench-{}.export", std::process::id())),
        );
        let events = write(&log, &pool, format, &file.0).await?;
        let (path, sealed) = (file.0.clone(), sealed.clone());
        let rates =
            tokio::task::spawn_blocking(move || verified(times, &path, &sealed, events)).await??;
        println!(
            "{format:?}: median {:.0} events/s verified",
            rates[rates.len() / 2]
        );
    }
    Ok(())
}

/// A file that goes when it is done with.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

async fn write(log: &Log, pool: &Pool, format: Format, path: &Path) -> anyhow::Result<i64> {
    let (heads, began) = (log.heads().await?, Instant::now());
    let events: i64 = heads.iter().sum();
    let header = Header::of(*log.identity(), heads, None, Utc::now());
    let (mut blocks, mut file, mut bytes) = (
        pin!(export(pool.clone(), header, format)),
        File::create(path)?,
        0,
    );
    while let Some(block) = blocks.try_next().await? {
        file.write_all(&block)?;
        bytes += block.len();
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{format:?}: {events} events, {} MB, written in {seconds:.1} s, {:.0} events/s",
        bytes / 1_000_000,
        events as f64 / seconds
    );
    Ok(events)
}

/// Events a second of each time, in order of size.
fn verified(times: u32, path: &Path, sealed: &ValidSeals, events: i64) -> anyhow::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..times.max(1) {
        let began = Instant::now();
        let report = verify_against(path, sealed)?;
        rates.push(events as f64 / began.elapsed().as_secs_f64());
        anyhow::ensure!(
            report.verdict == Verdict::Whole && report.events == events,
            "it is broken: {report:?}"
        );
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates)
}
