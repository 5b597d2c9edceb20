//! `overload`: ten times as many invests are offered as a slow database takes.

use crate::contest::{Arena, Contestant, Running, resident_bytes};
use crate::load::{Answers, Users, closed_loop, invest, open_loop};
use crate::plan::Plan;
use crate::report::{Section, Verdict, Wanted, millis, spread, table};
use crate::summary::Spread;
use std::time::Duration;

/// How much more is offered than is managed.
const OFFERED_RATIO: f64 = 10.0;
/// So many of those who offer wait for an answer at once, at most.
const MAX_CONNECTIONS: u16 = 2_048;

/// Makes every append take half a millisecond longer for each event, as a slow disk does: an invest is two events, so some 1,000 a
/// second are managed.
const SLOW_APPENDS: &str = "
    create function bench_slow_append() returns trigger language plpgsql as
        'begin perform pg_sleep(0.0005 * (select count(*) from new_events)); return null; end';
    create trigger bench_slow_append after insert on events
        referencing new table as new_events for each statement execute function bench_slow_append()";

const EXPLANATION: &str = "\
All of Moa in one process. A trigger makes every append wait half a millisecond for each event, so that about a thousand invests a \
second are managed; that is measured with a closed loop. Then ten times as many are due, in an open loop: what is accepted a second \
is the goodput, and everybody else is to be refused at once. Latency counts from when a request was due. Memory is what is \
resident at the end beside that after a third of the time.";

/// Of one round.
struct Round {
    managed: f64,
    goodput: f64,
    accepted_p99_ms: f64,
    refused: f64,
    refused_p99_ms: f64,
    memory_growth: f64,
    megabytes: f64,
}

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let mut rounds = Vec::new();
    for _ in 0..plan.sustained_rounds() {
        let running = arena.start(Contestant::Moa).await?;
        let measured = Round::measure(arena, plan, &running).await;
        arena.end(running).await?;
        let round = measured?;
        println!(
            "{:.0}/s managed, {:.0}/s offered: {:.0}/s accepted, refused within {:.1} ms (p99), memory {:.2} of a third in",
            round.managed,
            round.managed * OFFERED_RATIO,
            round.goodput,
            round.refused_p99_ms,
            round.memory_growth
        );
        rounds.push(round);
    }
    let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let (ratio, memory) = (
        of(|round| round.goodput / round.managed),
        of(|round| round.memory_growth),
    );
    let refused_p99 = of(|round| round.refused_p99_ms);
    let verdict = |what: &str, wanted, measured, unit| Verdict {
        target: "P9",
        what: what.into(),
        wanted,
        measured,
        unit,
    };
    let mut verdicts = vec![
        verdict(
            "ten times as much offered: accepted, beside what is managed",
            Wanted::AtLeast(0.8),
            ratio,
            " x",
        ),
        verdict(
            "ten times as much offered: memory at the end beside a third in",
            Wanted::AtMost(1.1),
            memory,
            " x",
        ),
    ];
    // Nothing refused, as by the few clients of a quick run, says nothing of how fast refusals are.
    if rounds.iter().all(|round| round.refused > 0.0) {
        verdicts.push(verdict(
            "ten times as much offered: refusals, p99",
            Wanted::AtMost(100.0),
            refused_p99,
            " ms",
        ));
    }
    let head = [
        "managed/s",
        "accepted/s, ten times offered",
        "ratio",
        "its p99 ms",
        "refused/s",
        "their p99 ms",
        "MB at the end",
        "beside a third in",
    ];
    let row = vec![
        spread(of(|round| round.managed), 0),
        spread(of(|round| round.goodput), 0),
        spread(ratio, 2),
        spread(of(|round| round.accepted_p99_ms), 0),
        spread(of(|round| round.refused), 0),
        spread(refused_p99, 1),
        spread(of(|round| round.megabytes), 0),
        spread(memory, 2),
    ];
    Ok(Section {
        title: "Overload",
        verdicts,
        text: format!("{EXPLANATION}\n\n{}", table(&head, &[row])),
        plots: Vec::new(),
    })
}

impl Round {
    async fn measure(arena: &Arena, plan: &Plan, running: &Running) -> anyhow::Result<Self> {
        sqlx::raw_sql(SLOW_APPENDS).execute(&running.pool).await?;
        let before = arena.sums(running).await?;
        let requests = invest(running.write, running.products.clone(), plan.users(), false);
        let managed = closed_loop(&requests, plan.connections()[0], plan.time()).await?;
        let connections = if plan.quick {
            plan.connections()[1]
        } else {
            MAX_CONNECTIONS
        };
        let users = Users {
            first: managed.requests(),
            ..plan.users()
        };
        let requests = invest(running.write, running.products.clone(), users, false);
        let (time, pid) = (plan.sustained_time(), running.process.pid);
        let (offered, early) = tokio::join!(
            open_loop(&requests, connections, managed.rate() * OFFERED_RATIO, time),
            resident_bytes_after(pid, time / 3)
        );
        let (mut offered, early, late) = (offered?, early?, resident_bytes(pid)?);
        let all = |count: fn(&Answers) -> u64| count(&managed) + count(&offered);
        let (accepted, unknown) = (
            all(|answers| answers.accepted.count() as u64),
            all(|answers| answers.unknown),
        );
        arena
            .check_sums(running, &before, accepted, unknown)
            .await?;
        Ok(Self {
            managed: managed.rate(),
            goodput: offered.rate(),
            accepted_p99_ms: millis(offered.accepted.at(0.99)),
            refused: offered.declined.count() as f64 / offered.took.as_secs_f64(),
            refused_p99_ms: millis(offered.declined.at(0.99)),
            memory_growth: late / early,
            megabytes: late / 1e6,
        })
    }
}

async fn resident_bytes_after(pid: u32, wait: Duration) -> anyhow::Result<f64> {
    tokio::time::sleep(wait).await;
    resident_bytes(pid)
}
