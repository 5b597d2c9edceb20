//! Prepares servers and databases, measures, and writes the report.

use crate::contest::{Arena, Servers};
use crate::plan::Plan;
use crate::report::{self, Section};
use crate::{idle, log_size, overload, reads, rebuild, rush, spread, streams, sustained, writers};
use std::path::PathBuf;

/// The longest log of `all`: the next one takes half an hour and 40 GB of disk.
const MAX_EVENTS_OF_ALL: u64 = 1_000_000;

/// Something to measure.
#[derive(Clone, Debug)]
pub(crate) enum Measurement {
    Rush,
    Spread,
    Sustained,
    Reads,
    Streams,
    Writers,
    Overload,
    Idle,
    /// Logs of up to so many events.
    LogSize(u64),
    /// Of one read model, or of all.
    Rebuild(Option<String>),
}

impl Measurement {
    pub(crate) fn all() -> [Self; 10] {
        [
            Self::Rush,
            Self::Sustained,
            Self::Reads,
            Self::Streams,
            Self::Writers,
            Self::Overload,
            Self::Idle,
            Self::Spread,
            Self::Rebuild(None),
            Self::LogSize(MAX_EVENTS_OF_ALL),
        ]
    }
}

/// Measures one thing after another in one sitting. `what` names the report.
pub(crate) async fn measure(
    what: &str,
    plan: &Plan,
    measurements: &[Measurement],
) -> anyhow::Result<()> {
    let mut servers = Servers::start().await?;
    let mut sections = Vec::new();
    for measurement in measurements {
        let section;
        (servers, section) = measure_one(servers, plan, measurement).await?;
        sections.push(section);
        // A command that is interrupted leaves what it has measured.
        report::write(&path(what, plan), &intro(plan), &sections, &servers).await?;
    }
    println!("The report is {}.", path(what, plan).display());
    servers.stop().await
}

async fn measure_one(
    servers: Servers,
    plan: &Plan,
    measurement: &Measurement,
) -> anyhow::Result<(Servers, Section)> {
    if let Measurement::Rebuild(model) = measurement {
        let section = rebuild::measure(&servers, plan, model.as_deref()).await?;
        return Ok((servers, section));
    }
    if let Measurement::LogSize(max_events) = measurement {
        return log_size::measure_all(servers, plan, *max_events).await;
    }
    let shape = if matches!(measurement, Measurement::Spread) {
        plan.spread()
    } else {
        plan.hot()
    };
    let arena = Arena::open(servers, shape).await?;
    let section = match measurement {
        Measurement::Spread => spread::run(&arena, plan).await?,
        Measurement::Sustained => sustained::run(&arena, plan).await?,
        Measurement::Reads => reads::run(&arena, plan).await?,
        Measurement::Streams => streams::run(&arena, plan).await?,
        Measurement::Writers => writers::run(&arena, plan).await?,
        Measurement::Overload => overload::run(&arena, plan).await?,
        Measurement::Idle => idle::run(&arena, plan).await?,
        Measurement::Rush | Measurement::Rebuild(_) | Measurement::LogSize(_) => {
            rush::run(&arena, plan).await?
        }
    };
    Ok((arena.close().await?, section))
}

fn path(what: &str, plan: &Plan) -> PathBuf {
    let folder = if what == "all" {
        "bench/report.md".into()
    } else {
        PathBuf::from(format!("target/bench/{what}.md"))
    };
    plan.report.clone().unwrap_or(folder)
}

/// How it was called, and what that means.
fn intro(plan: &Plan) -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!(
        "Produced by `cargo run --release -p bench -- {}`. {} Finished",
        arguments.join(" "),
        plan.describe()
    )
}
