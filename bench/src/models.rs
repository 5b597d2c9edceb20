//! How fast read models are rebuilt: from position 0 until every index exists, and how long the comparison takes.

use anyhow::{Context, bail};
use connection_pool::Pool;
use event_log::Log;
use projector::{Job, JobState, Jobs, PROJECTIONS, RebuildOptions};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often it is looked how far a job is.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The name under which all read models at once are told.
pub(crate) const TOGETHER: &str = "all together";
/// How long one may take.
const REBUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How fast one read model was rebuilt, or all together.
pub(crate) struct Rebuilt {
    pub(crate) name: String,
    /// Events a second, until every index exists.
    pub(crate) rate: f64,
    /// The part of it that indexes took, in seconds.
    pub(crate) indexing_s: f64,
}

/// When a job's stages began.
struct Stages {
    folding: Instant,
    indexing: Instant,
    ready: Instant,
    comparing: Option<Instant>,
    ended: Instant,
}

/// Makes each model anew, then all of them at once; `copied` is the rows a second of a bare COPY of the same events.
pub(crate) async fn run(
    log: &Log,
    pool: &Pool,
    model: Option<&str>,
    copied: f64,
    reset_memory: impl Fn(),
    memory: impl Fn() -> String,
) -> anyhow::Result<Vec<Rebuilt>> {
    let mut rebuilt = Vec::new();
    let shutdown = CancellationToken::new();
    let working = tokio::spawn(projector::run_jobs(
        log.clone(),
        pool.clone(),
        shutdown.clone(),
    ));
    let jobs = Jobs::new(log.clone(), pool.clone());
    let events = log.heads().await?.iter().sum::<i64>() as f64;
    let wanted = |name: &str| model.is_none_or(|model| model == name);
    for projection in PROJECTIONS
        .iter()
        .filter(|projection| wanted(projection.name))
    {
        // The first fills what is live, so that there is something to compare with.
        fill(&jobs, projection.name).await?;
        reset_memory();
        let (stages, job) = remake(&jobs, projection.name).await?;
        rebuilt.extend(tell(
            projection.name,
            events,
            copied,
            &[stages],
            &job,
            &memory(),
        ));
        jobs.drop(projection.name).await?;
    }
    if model.is_none() {
        rebuilt.extend(together(&jobs, events, copied, reset_memory, memory).await?);
    }
    shutdown.cancel();
    working.await?;
    Ok(rebuilt)
}

/// Fills every read model from the log, in bulk, and lets it go live.
pub(crate) async fn fill_all(log: &Log, pool: &Pool) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let working = tokio::spawn(projector::run_jobs(
        log.clone(),
        pool.clone(),
        shutdown.clone(),
    ));
    let jobs = Jobs::new(log.clone(), pool.clone());
    for projection in PROJECTIONS {
        fill(&jobs, projection.name).await?;
    }
    shutdown.cancel();
    Ok(working.await?)
}

async fn together(
    jobs: &Jobs,
    events: f64,
    copied: f64,
    reset_memory: impl Fn(),
    memory: impl Fn() -> String,
) -> anyhow::Result<Option<Rebuilt>> {
    reset_memory();
    let began = Instant::now();
    let all =
        futures::future::try_join_all(PROJECTIONS.iter().map(|known| remake(jobs, known.name)))
            .await?;
    let (stages, done): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let rebuilt = done
        .last()
        .and_then(|last| tell(TOGETHER, events, copied, &stages, last, &memory()));
    println!("  (all of it: {:.1} s)", began.elapsed().as_secs_f64());
    for projection in PROJECTIONS {
        jobs.drop(projection.name).await?;
    }
    Ok(rebuilt)
}

async fn fill(jobs: &Jobs, name: &str) -> anyhow::Result<()> {
    jobs.drop(name).await?;
    let wanted = RebuildOptions {
        switches: true,
        accept_differences: true,
        max_rate: None,
    };
    let job = jobs.rebuild(name, wanted).await?;
    followed(jobs, job).await?;
    jobs.drop(name).await?;
    Ok(())
}

async fn remake(jobs: &Jobs, name: &str) -> anyhow::Result<(Stages, Job)> {
    let job = jobs
        .rebuild(
            name,
            RebuildOptions {
                switches: false,
                accept_differences: false,
                max_rate: None,
            },
        )
        .await?;
    followed(jobs, job).await
}

async fn followed(jobs: &Jobs, id: i64) -> anyhow::Result<(Stages, Job)> {
    let asked = Instant::now();
    let (mut folding, mut indexing, mut ready, mut comparing) = (None, None, None, None);
    loop {
        let job = jobs.job(id).await?.context("the job is gone")?;
        let now = Instant::now();
        let stage = job.stage.as_str();
        let reached = [
            "FOLDING",
            "INDEXING",
            "CATCHING_UP",
            "COMPARING",
            "SWITCHING",
        ]
        .iter()
        .position(|it| *it == stage);
        let times = [&mut folding, &mut indexing, &mut ready, &mut comparing];
        for (number, time) in times.into_iter().enumerate() {
            if reached >= Some(number) && (number < 3 || stage == "COMPARING") {
                time.get_or_insert(now);
            }
        }
        if job.state == JobState::Failed {
            bail!(
                "{} failed: {}",
                job.projection,
                job.problem.unwrap_or_default()
            );
        }
        if job.state == JobState::Done {
            let folding = folding.unwrap_or(asked);
            let indexing = indexing.unwrap_or(now);
            let ready = ready.unwrap_or(now);
            return Ok((
                Stages {
                    folding,
                    indexing,
                    ready,
                    comparing,
                    ended: now,
                },
                job,
            ));
        }
        anyhow::ensure!(
            asked.elapsed() < REBUILD_TIMEOUT,
            "{} takes too long: {job:?}",
            job.projection
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn tell(
    name: &str,
    events: f64,
    copied: f64,
    stages: &[Stages],
    job: &Job,
    memory: &str,
) -> Option<Rebuilt> {
    let first = stages.iter().map(|it| it.folding).min();
    let ready = stages.iter().map(|it| it.ready).max();
    let (first, ready) = first.zip(ready)?;
    let rate = events / (ready - first).as_secs_f64();
    let indexing: Duration = stages
        .iter()
        .map(|it| it.ready - it.indexing)
        .max()
        .unwrap_or_default();
    let comparing = stages
        .iter()
        .filter_map(|it| it.comparing.map(|began| it.ended - began))
        .max();
    println!(
        "  {name}: {rate:.0} events/s to ready, {:.2} of COPY ({:.1} s, of which indexes {:.1} s); compared in {:.1} s; peak memory {memory}; equal: {}",
        rate / copied,
        (ready - first).as_secs_f64(),
        indexing.as_secs_f64(),
        comparing.unwrap_or_default().as_secs_f64(),
        job.outcome
            .as_ref()
            .map(|found| found["equal"].to_string())
            .unwrap_or_default(),
    );
    Some(Rebuilt {
        name: name.into(),
        rate,
        indexing_s: indexing.as_secs_f64(),
    })
}
