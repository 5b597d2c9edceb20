//! `idle`: what a Moa that nobody uses costs, and how soon a single invest is SUCCESS in it.

use crate::contest::{Arena, Contestant, CpuTimes, Disk, Running};
use crate::plan::Plan;
use crate::report::{Section, Verdict, Wanted, millis, spread, table};
use crate::seen;
use crate::summary::Spread;
use anyhow::Context;

/// One at a time, each a while after the one before it shows.
const INVESTS_PER_ROUND: u32 = 100;
const SECONDS_PER_HOUR: f64 = 3_600.0;

const EXPLANATION: &str = "\
One Moa in one process, and two of each service with RabbitMQ and Redis, to which nobody else speaks: a hundred invests, one at a \
time, each 100 ms after the one before it was seen, from sending a request until the invest log says SUCCESS, looked at every 2 ms. \
Before that, all of Moa in one process is left alone, for a minute at least: CPU of it and of its PostgreSQL, and what PostgreSQL writes \
to its WAL and adds to the database, in an hour at that rate.";

/// Of one round.
struct Round {
    cpu_percent: f64,
    own_cpu_percent: f64,
    wal_megabytes: f64,
    grown_megabytes: f64,
    success_ms: f64,
    /// Of two of each service, where there are RabbitMQ and Redis.
    services_success_ms: Option<f64>,
}

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let mut rounds = Vec::new();
    for _ in 0..plan.sustained_rounds() {
        let round = Round::measure(arena, plan).await?;
        println!(
            "idle {:.2} % of a core and {:.2} MB of WAL an hour; SUCCESS after {:.1} ms, with two of each service {}",
            round.cpu_percent,
            round.wal_megabytes,
            round.success_ms,
            round
                .services_success_ms
                .map_or("not measured".into(), |millis| format!("{millis:.1} ms")),
        );
        rounds.push(round);
    }
    let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let (cpu, wal, success) = (
        of(|round| round.cpu_percent),
        of(|round| round.wal_megabytes),
        of(|round| round.success_ms),
    );
    let services: Option<Vec<f64>> = rounds
        .iter()
        .map(|round| round.services_success_ms)
        .collect();
    let services = services.map(Spread::of);
    let at_most = |target, what: &str, bound, measured, unit| Verdict {
        target,
        what: what.into(),
        wanted: Wanted::AtMost(bound),
        measured,
        unit,
    };
    let mut verdicts = vec![at_most(
        "P10",
        "a single invest until SUCCESS, one process",
        15.0,
        success,
        " ms",
    )];
    let what = "a single invest until SUCCESS, two of each service";
    verdicts.extend(services.map(|services| at_most("P10", what, 30.0, services, " ms")));
    verdicts.push(at_most(
        "P11",
        "an idle Moa and its PostgreSQL, of a core",
        1.0,
        cpu,
        " %",
    ));
    verdicts.push(at_most(
        "P11",
        "an idle Moa, WAL in an hour",
        1.0,
        wal,
        " MB",
    ));
    let head = [
        "SUCCESS after ms, median",
        "two of each service",
        "idle, % of a core",
        "Moa's own of it",
        "WAL MB an hour",
        "database MB an hour",
    ];
    let row = vec![
        spread(success, 1),
        services
            .map(|services| spread(services, 1))
            .unwrap_or_default(),
        spread(cpu, 2),
        spread(of(|round| round.own_cpu_percent), 2),
        spread(wal, 2),
        spread(of(|round| round.grown_megabytes), 2),
    ];
    let text = format!("{EXPLANATION}\n\n{}", table(&head, &[row]));
    Ok(Section {
        title: "Idle",
        verdicts,
        text,
        plots: Vec::new(),
    })
}

impl Round {
    async fn measure(arena: &Arena, plan: &Plan) -> anyhow::Result<Self> {
        let running = arena.start(Contestant::Moa).await?;
        let measured = Self::of_one_process(arena, plan, &running).await;
        arena.end(running).await?;
        let round = measured?;
        if !arena.servers.has_brokers() {
            return Ok(round);
        }
        let running = arena.start_services().await?;
        let success = success_ms(&running).await;
        arena.end(running).await?;
        Ok(Self {
            services_success_ms: Some(success?),
            ..round
        })
    }

    async fn of_one_process(arena: &Arena, plan: &Plan, running: &Running) -> anyhow::Result<Self> {
        let (time, pid, postmaster) = (
            plan.idle_time(),
            running.process.pid,
            arena.servers.postmaster,
        );
        // What was begun before is ended, the checkpoint of what a start writes among it: what is written from now on is what is
        // written in every minute.
        tokio::time::sleep(time / 4).await;
        sqlx::raw_sql("checkpoint").execute(&running.pool).await?;
        let (disk, cpu) = (
            Disk::of(&running.pool).await?,
            CpuTimes::read(pid, postmaster)?,
        );
        tokio::time::sleep(time).await;
        let cpu = CpuTimes::read(pid, postmaster)? - cpu;
        let written = Disk::of(&running.pool).await?;
        let percent = |seconds: f64| seconds * 100.0 / time.as_secs_f64();
        let megabytes = |bytes: i64| bytes as f64 / 1e6 * SECONDS_PER_HOUR / time.as_secs_f64();
        Ok(Self {
            cpu_percent: percent(cpu.contestant + cpu.postgres),
            own_cpu_percent: percent(cpu.contestant),
            wal_megabytes: megabytes(written.wal_position - disk.wal_position),
            grown_megabytes: megabytes(written.database_bytes - disk.database_bytes),
            success_ms: success_ms(running).await?,
            services_success_ms: None,
        })
    }
}

/// The median, from sending an invest.
async fn success_ms(running: &Running) -> anyhow::Result<f64> {
    let (read, product) = (
        running.read.context("it has no reads")?,
        running.products[0],
    );
    let mut seen = seen::measure(running.write, read, product, INVESTS_PER_ROUND).await?;
    Ok(millis(seen.in_log.at(0.5)))
}
