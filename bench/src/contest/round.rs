//! One round: a contestant, a load, and everything that is measured of it.

use super::arena::Arena;
use super::contestant::{Contestant, Running};
use super::quiet::wait_until_settled;
use super::sums::Sums;
use super::{CpuTimes, Lags, age, lag};
use crate::load::{Answers, Listeners, Users, closed_loop, invest, open_loop};
use anyhow::{Context, ensure};
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How fast requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As fast as answers come.
    Closed,
    /// So many a second, whatever the answers do.
    Open(f64),
}

/// What a contestant is put under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) pace: Pace,
    pub(crate) connections: u16,
    pub(crate) time: Duration,
    pub(crate) users: Users,
    /// An `Idempotency-Key` with each request.
    pub(crate) keys: bool,
    /// Who follow the stream of products meanwhile, of all of Moa.
    pub(crate) listeners: u16,
}

/// What one round came to.
pub(crate) struct Figures {
    pub(crate) accepted: u64,
    /// Accepted a second, from the first request to the last answer.
    pub(crate) rate: f64,
    pub(crate) distinct_users: u64,
    /// Answers that are no acceptance, by code.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    /// From the first request until all was settled and in all read models.
    pub(crate) cpu: CpuTimes,
    pub(crate) wal_bytes: i64,
    pub(crate) grown_bytes: i64,
    pub(crate) load_took: Duration,
    /// From the last answer until all was settled and in all read models; zero where nothing follows.
    pub(crate) settled_after: Duration,
    /// p99 of the age of the product's own amount in reads, of all of Moa with one product.
    pub(crate) amount_age: Option<Duration>,
    /// From the start of its process to the first accepted invest, of a Moa.
    pub(crate) first_accept: Option<Duration>,
    /// Of all of Moa in an open loop.
    pub(crate) lags: Option<Lags>,
    /// Events that all listeners together were sent, a second.
    pub(crate) sent_rate: f64,
    /// How many sums were compared with what was accepted; all were right.
    pub(crate) sums: usize,
}

impl Figures {
    /// Accepted, settled and in all read models, a second.
    pub(crate) fn sustained_rate(&self) -> f64 {
        self.accepted as f64 / (self.load_took + self.settled_after).as_secs_f64()
    }

    /// CPU of the contestant and PostgreSQL for each accepted invest, in microseconds.
    pub(crate) fn cpu_micros_per_invest(&self) -> f64 {
        (self.cpu.contestant + self.cpu.postgres) * 1e6 / self.accepted.max(1) as f64
    }

    /// Bytes of WAL for each accepted invest.
    pub(crate) fn wal_bytes_per_invest(&self) -> f64 {
        self.wal_bytes as f64 / self.accepted.max(1) as f64
    }

    /// Bytes that the database grew by for each accepted invest.
    pub(crate) fn grown_bytes_per_invest(&self) -> f64 {
        self.grown_bytes as f64 / self.accepted.max(1) as f64
    }
}

/// Starts the contestant, puts it under load, waits until all is settled, checks its sums, and removes it.
///
/// # Errors
/// A wrong sum, or something that does not work. Never a time.
pub(crate) async fn measure(
    arena: &Arena,
    contestant: Contestant,
    load: Load,
) -> anyhow::Result<Figures> {
    let running = arena.start(contestant).await?;
    let measured = measure_running(arena, &running, load).await;
    let ended = arena.end(running).await;
    let figures = measured.with_context(|| format!("a round of {}", contestant.name()))?;
    ended.map(|()| figures)
}

async fn measure_running(arena: &Arena, running: &Running, load: Load) -> anyhow::Result<Figures> {
    let (servers, pool) = (&arena.servers, &running.pool);
    let sums_before = Sums::of(servers, running).await?;
    let disk_before = Disk::of(pool).await?;
    let cpu_before = CpuTimes::read(running.process.pid, servers.postmaster)?;
    let Watched {
        mut answers,
        amount_age,
        lags,
        sent_rate,
    } = put_under(running, load).await?;
    let settled_after = match running.contestant.is_all_of_moa() {
        true => wait_until_settled(pool, running.counters.as_ref()).await?,
        false => Duration::ZERO,
    };
    let cpu = CpuTimes::read(running.process.pid, servers.postmaster)? - cpu_before;
    let disk = Disk::of(pool).await?;
    let accepted = answers.accepted.count() as u64;
    let sums = Sums::of(servers, running).await?;
    // Nothing adds up to nothing: that is no figure.
    ensure!(
        accepted > 0,
        "nothing was accepted, all was answered otherwise: {:?}",
        answers.refused
    );
    sums.check_grown(&sums_before, accepted, answers.unknown)?;
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| answers.accepted.at(share));
    Ok(Figures {
        accepted,
        rate: answers.rate(),
        distinct_users: load.users.distinct(answers.requests()),
        p50,
        p99,
        max,
        cpu,
        wal_bytes: disk.wal_position - disk_before.wal_position,
        grown_bytes: disk.database_bytes - disk_before.database_bytes,
        load_took: answers.took,
        settled_after,
        amount_age,
        first_accept: running.first_accept,
        lags,
        sent_rate,
        sums: sums.places(),
        refused: answers.refused,
    })
}

/// What was answered under a load, and what was seen beside it.
struct Watched {
    answers: Answers,
    amount_age: Option<Duration>,
    lags: Option<Lags>,
    sent_rate: f64,
}

/// The load, and beside it what is watched of all of Moa.
async fn put_under(running: &Running, load: Load) -> anyhow::Result<Watched> {
    let listeners = match load.listeners {
        0 => None,
        count => Some(Listeners::start(running.read.context("it has no streams")?, count).await?),
    };
    let sent_before = listeners.as_ref().map_or(0, Listeners::events);
    let requests = invest(
        running.write,
        running.products.clone(),
        load.users,
        load.keys,
    );
    let end = CancellationToken::new();
    let _ended = end.clone().drop_guard();
    let age = match (running.read, running.products.as_slice()) {
        (Some(read), [product]) => Some(tokio::spawn(age::watch(
            read,
            *product,
            requests.clone(),
            end.clone(),
        ))),
        _ => None,
    };
    let is_watched = running.contestant.is_all_of_moa() && load.pace != Pace::Closed;
    let lags = is_watched.then(|| tokio::spawn(lag::watch(running.pool.clone(), end.clone())));
    let answers = match load.pace {
        Pace::Closed => closed_loop(&requests, load.connections, load.time).await?,
        Pace::Open(rate) => open_loop(&requests, load.connections, rate, load.time).await?,
    };
    end.cancel();
    let sent = listeners.as_ref().map_or(0, Listeners::events) - sent_before;
    listeners.map_or(Ok(()), Listeners::stop)?;
    let amount_age = match age {
        Some(age) => Some(age.await??.at(0.99)),
        None => None,
    };
    let lags = match lags {
        Some(lags) => Some(lags.await??),
        None => None,
    };
    Ok(Watched {
        sent_rate: sent as f64 / answers.took.as_secs_f64(),
        answers,
        amount_age,
        lags,
    })
}

/// What PostgreSQL has written.
#[derive(sqlx::FromRow)]
pub(crate) struct Disk {
    pub(crate) wal_position: i64,
    pub(crate) database_bytes: i64,
}

impl Disk {
    pub(crate) async fn of(pool: &PgPool) -> anyhow::Result<Self> {
        let asked = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint as wal_position,
                    pg_database_size(current_database()) as database_bytes",
        );
        Ok(asked.fetch_one(pool).await?)
    }
}
