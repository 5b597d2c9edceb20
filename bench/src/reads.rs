//! `reads`: three views, quiet and during a rush, beside a handler that answers the same bytes.

use crate::contest::{Arena, Contestant, Running};
use crate::http::Connection;
use crate::load::{Answers, Users, closed_loop, get, invest};
use crate::plan::Plan;
use crate::report::{Bar, Section, Verdict, Wanted, bars, millis, spread, table};
use crate::summary::Spread;
use anyhow::Context;
use std::net::SocketAddr;
use std::time::Duration;

/// A view, and the part of the recorded answers' rate that it is to have.
struct View {
    name: &'static str,
    path: &'static str,
    /// Whether each user has an answer of their own.
    of_user: bool,
    wanted: f64,
}

const VIEWS: [View; 3] = [
    View {
        name: "product list",
        path: "/api/product?page=0&size=10",
        of_user: false,
        wanted: 0.5,
    },
    View {
        name: "my/invest",
        path: "/api/product/my/invest?page=0&size=10",
        of_user: true,
        wanted: 0.2,
    },
    View {
        name: "invest/log",
        path: "/api/invest/log?page=0&size=10",
        of_user: true,
        wanted: 0.2,
    },
];

const EXPLANATION: &str = "\
Reads as fast as answers come, the views of users by one user of the history after another. The handler beside them answers \
every request with the bytes, head and body, that Moa gave before. Then the same reads while a rush for the hot product goes \
on with as many connections; its sums were checked afterwards.";

/// Of one round.
#[derive(Clone, Copy, Default)]
struct Round {
    quiet: f64,
    quiet_p50_ms: f64,
    quiet_p99_ms: f64,
    recorded: f64,
    rush: f64,
    rush_p99_ms: f64,
}

/// All rounds of a view of a contestant.
struct Series {
    contestant: Contestant,
    view: &'static View,
    rounds: Vec<Round>,
}

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let mut all = Vec::new();
    let able = arena.able(&plan.wanted(&[Contestant::Moa, Contestant::MoaWithServers]));
    for contestant in &able {
        all.extend(VIEWS.iter().map(|view| Series {
            contestant: *contestant,
            view,
            rounds: Vec::new(),
        }));
    }
    for _ in 0..plan.rounds() {
        for contestant in &able {
            let running = arena.start(*contestant).await?;
            let mine = all
                .iter_mut()
                .filter(|series| series.contestant == *contestant);
            let measured = measure(arena, &running, plan, mine.collect()).await;
            let ended = arena.end(running).await;
            measured.with_context(|| format!("reads of {}", contestant.name()))?;
            ended?;
        }
    }
    Ok(Section {
        title: "Reads",
        verdicts: verdicts(&all),
        text: text(&all),
        plots: vec![("reads.svg".into(), plot(&all))],
    })
}

async fn measure(
    arena: &Arena,
    running: &Running,
    plan: &Plan,
    views: Vec<&mut Series>,
) -> anyhow::Result<()> {
    let (read, connections) = (
        running.read.context("it has no reads")?,
        plan.connections()[0],
    );
    let mut rounds = Vec::new();
    for series in &views {
        let users = series.view.of_user.then(|| plan.history_users());
        read_view(read, series.view, users, plan, plan.warm_up_time()).await?;
        let mut quiet = read_view(read, series.view, users, plan, plan.time()).await?;
        let (recorded, address) = arena
            .serve_recorded(&answer(read, series.view).await?)
            .await?;
        let beside = read_view(address, series.view, users, plan, plan.time()).await?;
        recorded.stop().await?;
        rounds.push(Round {
            quiet: quiet.rate(),
            quiet_p50_ms: millis(quiet.accepted.at(0.5)),
            quiet_p99_ms: millis(quiet.accepted.at(0.99)),
            recorded: beside.rate(),
            ..Round::default()
        });
    }
    let before = arena.sums(running).await?;
    let (mut accepted, mut unknown) = (0, 0);
    for (series, round) in views.iter().zip(&mut rounds) {
        let users = series.view.of_user.then(|| plan.history_users());
        let first = accepted;
        let rush = invest(
            running.write,
            running.products.clone(),
            Users {
                first,
                ..plan.users()
            },
            false,
        );
        let (rush, reads) = tokio::join!(
            closed_loop(&rush, connections, plan.time()),
            read_view(read, series.view, users, plan, plan.time())
        );
        let (rush, mut reads) = (rush?, reads?);
        accepted += rush.accepted.count() as u64;
        unknown += rush.unknown;
        (round.rush, round.rush_p99_ms) = (reads.rate(), millis(reads.accepted.at(0.99)));
    }
    arena
        .check_sums(running, &before, accepted, unknown)
        .await?;
    for (series, round) in views.into_iter().zip(rounds) {
        println!(
            "{:28} {:13} {:7.0}/s  recorded {:7.0}/s  p99 {:6.1} ms, in a rush {:6.1} ms",
            series.contestant.name(),
            series.view.name,
            round.quiet,
            round.recorded,
            round.quiet_p99_ms,
            round.rush_p99_ms
        );
        series.rounds.push(round);
    }
    Ok(())
}

/// As fast as answers come; every one must be what was asked for.
async fn read_view(
    at: SocketAddr,
    view: &View,
    users: Option<Users>,
    plan: &Plan,
    time: Duration,
) -> anyhow::Result<Answers> {
    let answers = closed_loop(&get(at, view.path, users), plan.connections()[0], time).await?;
    anyhow::ensure!(
        answers.refused.is_empty(),
        "reads of {} were refused: {:?}",
        view.name,
        answers.refused
    );
    Ok(answers)
}

/// One answer over HTTP, head and body.
async fn answer(at: SocketAddr, view: &View) -> anyhow::Result<Vec<u8>> {
    let user = if view.of_user {
        "X-USER-ID: user1\r\n"
    } else {
        ""
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n{user}\r\n",
        view.path
    );
    let mut connection = Connection::open(at).await?;
    let answer = connection.ask(request.as_bytes()).await?;
    Ok([answer.head, answer.body].concat())
}

impl Series {
    fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }

    fn ratio(&self) -> Spread {
        self.spread(|round| round.quiet / round.recorded)
    }

    fn slowed(&self) -> Spread {
        self.spread(|round| round.rush_p99_ms / round.quiet_p99_ms)
    }
}

fn verdicts(all: &[Series]) -> Vec<Verdict> {
    let of = |series: &Series| {
        let name = format!("{}, {}", series.contestant.name(), series.view.name);
        let (beside, during) = (
            format!("{name}, beside the same bytes"),
            format!("{name}, p99 in a rush beside quiet"),
        );
        let verdict = |what, wanted, measured| Verdict {
            target: "P7",
            what,
            wanted,
            measured,
            unit: " x",
        };
        [
            verdict(beside, Wanted::AtLeast(series.view.wanted), series.ratio()),
            verdict(during, Wanted::AtMost(3.0), series.slowed()),
        ]
    };
    all.iter().flat_map(of).collect()
}

fn text(all: &[Series]) -> String {
    let row = |series: &Series| {
        vec![
            format!("{}, {}", series.contestant.name(), series.view.name),
            spread(series.spread(|round| round.quiet), 0),
            spread(series.spread(|round| round.recorded), 0),
            spread(series.ratio(), 2),
            spread(series.spread(|round| round.quiet_p50_ms), 1),
            spread(series.spread(|round| round.quiet_p99_ms), 1),
            spread(series.spread(|round| round.rush), 0),
            spread(series.spread(|round| round.rush_p99_ms), 1),
        ]
    };
    let head = [
        "",
        "reads/s",
        "same bytes/s",
        "ratio",
        "p50 ms",
        "p99 ms",
        "reads/s in a rush",
        "its p99 ms",
    ];
    format!(
        "{EXPLANATION}\n\n{}",
        table(&head, &all.iter().map(row).collect::<Vec<_>>())
    )
}

fn plot(all: &[Series]) -> String {
    let label = |series: &Series| {
        let who = if series.contestant == Contestant::Moa {
            ""
        } else {
            " with Redis"
        };
        format!("{}{who}", series.view.name)
    };
    let bar = |series| Bar {
        label: label(series),
        size: series.spread(|round| round.quiet),
    };
    bars(
        "Reads, quiet",
        "a second",
        &all.iter().map(bar).collect::<Vec<_>>(),
    )
}
