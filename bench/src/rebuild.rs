//! How fast the log can be read, by a bare COPY of all columns and in bulk as events; and how fast read models are rebuilt.

use crate::contest::Servers;
use crate::history::{self, connect};
use crate::models::{self, TOGETHER};
use crate::plan::Plan;
use crate::report::{Bar, Section, Verdict, Wanted, bars, spread, table};
use crate::summary::Spread;
use anyhow::Context;
use connection_pool::Pool;
use event_log::{Log, Partition, Position};
use futures::TryStreamExt as _;
use std::time::Instant;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Readers at once: as many as a small machine has cores.
const CONCURRENT_READERS: usize = 2;
/// Events of one range.
const RANGE: Position = 20_000;
/// One to copy, one for the log's own questions, one for each reader.
const CONNECTIONS: u32 = 2 + CONCURRENT_READERS as u32;

/// Connections of rebuilds, as a service has them for each.
const REBUILDING: u32 = 32;

/// Rows a second of one round.
struct Round {
    copied: f64,
    read: f64,
}

/// What one run came to.
pub(crate) struct Rebuilds {
    /// Medians, rows and events a second.
    copied: f64,
    read: f64,
    models: Vec<models::Rebuilt>,
}

const EXPLANATION: &str = "\
Events a second, from position 0 until every index exists, beside one connection's binary COPY of all columns of the same events \
just before.";

/// On a history that is made for it.
pub(crate) async fn measure(
    servers: &Servers,
    plan: &Plan,
    model: Option<&str>,
) -> anyhow::Result<Section> {
    let (database, shape) = (
        format!("rebuilt_{}", Uuid::now_v7().simple()),
        plan.rebuilt(),
    );
    servers.create(&database, None).await?;
    history::run(shape, &servers.url(&database)).await?;
    let mut runs = Vec::new();
    for _ in 0..plan.rounds() {
        runs.push(run(1, model, &servers.url(&database)).await?);
    }
    servers.discard(&database).await?;
    let mut rows = vec![
        vec![
            "COPY".to_owned(),
            spread(Spread::of(runs.iter().map(|run| run.copied)), 0),
        ],
        vec![
            "read and decoded only".to_owned(),
            spread(Spread::of(runs.iter().map(|run| run.read)), 0),
        ],
    ];
    rows.iter_mut().for_each(|row| row.resize(4, String::new()));
    let (mut verdicts, mut plotted) = (Vec::new(), Vec::new());
    for (at, first) in runs
        .first()
        .into_iter()
        .flat_map(|run| run.models.iter().enumerate())
    {
        let of = |measure: fn(&Rebuilds, &models::Rebuilt) -> f64| {
            Spread::of(
                runs.iter()
                    .filter_map(|run| Some(measure(run, run.models.get(at)?))),
            )
        };
        let (rate, ratio) = (
            of(|_, model| model.rate),
            of(|run, model| model.rate / run.copied),
        );
        let indexing = of(|_, model| model.indexing_s);
        rows.push(vec![
            first.name.clone(),
            spread(rate, 0),
            spread(ratio, 2),
            spread(indexing, 2),
        ]);
        plotted.push(Bar {
            label: first.name.clone(),
            size: rate,
        });
        let wanted = Wanted::AtLeast(if first.name == TOGETHER { 0.3 } else { 0.5 });
        let what = format!("rebuild of {}, beside COPY", first.name);
        verdicts.push(Verdict {
            target: "P6",
            what,
            wanted,
            measured: ratio,
            unit: " x",
        });
    }
    let table = table(&["", "a second", "of COPY", "indexes s"], &rows);
    let text = format!("{EXPLANATION} {} events.\n\n{table}", shape.events);
    let plots = vec![(
        "rebuild.svg".to_owned(),
        bars("Rebuilds", "events/s", &plotted),
    )];
    Ok(Section {
        title: "Rebuilds",
        verdicts,
        text,
        plots,
    })
}

/// On a history that is there.
pub(crate) async fn run(
    times: u32,
    model: Option<&str>,
    database_url: &str,
) -> anyhow::Result<Rebuilds> {
    let pool = connect(database_url, CONNECTIONS).await?;
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log: fill one with bench history")?;
    let log = Log::open(pool.clone(), partitions).await?;
    let heads = log.heads().await?;
    let events: Position = heads.iter().sum();
    println!("{events} events");
    let mut rounds = Vec::new();
    for _ in 0..times {
        let round = Round {
            copied: copy(&pool, events).await?,
            read: read(&log, &heads, events).await?,
        };
        println!(
            "  COPY {:.0} rows/s  read {:.0} events/s, {:.2} of it",
            round.copied,
            round.read,
            round.read / round.copied
        );
        rounds.push(round);
    }
    let (copied, read) = (
        median(&rounds, |round| round.copied),
        median(&rounds, |round| round.read),
    );
    let ratio = median(&rounds, |round| round.read / round.copied);
    println!(
        "medians: COPY {copied:.0} rows/s  read {read:.0} events/s, {ratio:.2} of it  peak memory {}",
        peak_memory()?
    );
    let pool = connect(database_url, REBUILDING).await?;
    let models = models::run(
        &log,
        &pool,
        model,
        copied,
        || _ = std::fs::write("/proc/self/clear_refs", "5"),
        || peak_memory().unwrap_or_default(),
    )
    .await?;
    Ok(Rebuilds {
        copied,
        read,
        models,
    })
}

/// All columns of all rows, in the order they lie in, over one connection; nothing is made of them.
async fn copy(pool: &Pool, events: Position) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut connection = pool.acquire().await?;
    let mut bytes = connection
        .copy_out_raw("copy events to stdout (format binary)")
        .await?;
    while bytes.try_next().await?.is_some() {}
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

/// The same events, read in order of their positions, in today's shape.
async fn read(log: &Log, heads: &[Position], events: Position) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut reading = JoinSet::new();
    for reader in 0..CONCURRENT_READERS {
        let parts = (0..)
            .zip(heads.iter().copied())
            .skip(reader)
            .step_by(CONCURRENT_READERS)
            .collect();
        reading.spawn(read_parts(log.clone(), parts));
    }
    while let Some(read) = reading.join_next().await {
        read??;
    }
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

async fn read_parts(log: Log, parts: Vec<(Partition, Position)>) -> anyhow::Result<()> {
    let mut reader = log.bulk().await?;
    for (partition, head) in parts {
        let mut at = 0;
        while at < head {
            let events = reader.read(partition, at, head.min(at + RANGE)).await?;
            at += events.len() as Position;
        }
    }
    Ok(())
}

fn median(rounds: &[Round], of: fn(&Round) -> f64) -> f64 {
    let mut rates: Vec<_> = rounds.iter().map(of).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// The most memory that this process ever held: what Linux says of it.
fn peak_memory() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("only Linux says how much memory it was")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no word of peak memory")?;
    Ok(peak.trim().into())
}
