//! `writers`: two processes that accept invests of one product, beside one.

use crate::contest::{Arena, Contestant, Running};
use crate::load::{Answers, Users, closed_loop, invest};
use crate::plan::Plan;
use crate::report::{Section, Verdict, Wanted, millis, spread, table};
use crate::summary::Spread;

const EXPLANATION: &str = "\
Accepting alone, the hot product as above: by one `moa serve command-api`, then by two on the same log with half of the \
connections each. Every append holds the partition's append lock, and whoever gets it reads what the other has written.";

/// Of one round.
struct Round {
    alone: f64,
    both: f64,
    both_p99_ms: f64,
    /// Of what both accepted, the part of the process that accepted less.
    lesser_share: f64,
}

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds() {
        let round = Round::measure(arena, plan).await?;
        println!(
            "one process accepts {:.0}/s, two {:.0}/s, the lesser of them {:.2} of that, p99 {:.1} ms",
            round.alone, round.both, round.lesser_share, round.both_p99_ms
        );
        rounds.push(round);
    }
    let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let ratio = of(|round| round.both / round.alone);
    let (p99, share) = (
        of(|round| round.both_p99_ms),
        of(|round| round.lesser_share),
    );
    let verdict = |what: &str, wanted, measured, unit| Verdict {
        target: "P5",
        what: what.into(),
        wanted,
        measured,
        unit,
    };
    let verdicts = vec![
        verdict(
            "two processes that accept beside one",
            Wanted::AtLeast(0.8),
            ratio,
            " x",
        ),
        verdict(
            "two processes that accept, p99",
            Wanted::AtMost(150.0),
            p99,
            " ms",
        ),
        verdict(
            "two processes that accept, share of the lesser",
            Wanted::AtLeast(0.4),
            share,
            " x",
        ),
    ];
    let head = [
        "one, accepted/s",
        "two, accepted/s",
        "ratio",
        "p99 ms of two",
        "share of the lesser",
    ];
    let row = vec![
        spread(of(|round| round.alone), 0),
        spread(of(|round| round.both), 0),
        spread(ratio, 2),
        spread(p99, 1),
        spread(share, 2),
    ];
    let text = format!("{EXPLANATION}\n\n{}", table(&head, &[row]));
    Ok(Section {
        title: "Two writers",
        verdicts,
        text,
        plots: Vec::new(),
    })
}

impl Round {
    async fn measure(arena: &Arena, plan: &Plan) -> anyhow::Result<Self> {
        let running = arena.start(Contestant::MoaAccepting).await?;
        let measured = measure_one(arena, plan, &running).await;
        arena.end(running).await?;
        let alone = measured?.rate();
        let mut running = arena.start(Contestant::MoaAccepting).await?;
        let measured = measure_two(arena, plan, &mut running).await;
        arena.end(running).await?;
        let [first, second] = measured?;
        let (accepted, took) = (
            accepted(&first) + accepted(&second),
            first.took.max(second.took),
        );
        let lesser = accepted_least(&first, &second);
        let mut both = first;
        both.merge(second);
        Ok(Self {
            alone,
            both: accepted / took.as_secs_f64(),
            both_p99_ms: millis(both.accepted.at(0.99)),
            lesser_share: lesser / accepted,
        })
    }
}

async fn measure_one(arena: &Arena, plan: &Plan, running: &Running) -> anyhow::Result<Answers> {
    let before = arena.sums(running).await?;
    let requests = invest(running.write, running.products.clone(), plan.users(), false);
    let answers = closed_loop(&requests, plan.connections()[1], plan.time()).await?;
    arena
        .check_sums(
            running,
            &before,
            answers.accepted.count() as u64,
            answers.unknown,
        )
        .await?;
    Ok(answers)
}

async fn measure_two(
    arena: &Arena,
    plan: &Plan,
    running: &mut Running,
) -> anyhow::Result<[Answers; 2]> {
    let other = arena.start_another(running).await?;
    let before = arena.sums(running).await?;
    let users = plan.users();
    let load = |to, first| {
        invest(
            to,
            running.products.clone(),
            Users { first, ..users },
            false,
        )
    };
    let (one, two) = (load(running.write, 0), load(other, users.count / 2));
    let connections = plan.connections()[1] / 2;
    let (one, two) = tokio::try_join!(
        closed_loop(&one, connections, plan.time()),
        closed_loop(&two, connections, plan.time())
    )?;
    let (accepted, unknown) = (accepted(&one) + accepted(&two), one.unknown + two.unknown);
    arena
        .check_sums(running, &before, accepted as u64, unknown)
        .await?;
    Ok([one, two])
}

fn accepted(answers: &Answers) -> f64 {
    answers.accepted.count() as f64
}

fn accepted_least(one: &Answers, two: &Answers) -> f64 {
    accepted(one).min(accepted(two))
}
