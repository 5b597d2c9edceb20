//! `log-size`: what an invest costs, and how soon the first is accepted after a start, as the log and the views grow.

use crate::contest::{Arena, Contestant, Figures, Servers, measure};
use crate::plan::Plan;
use crate::report::{Section, Series, Verdict, Wanted, ratio, seconds, spread, table};
use crate::summary::Spread;

const CONTESTANTS: [Contestant; 2] = [Contestant::MoaAccepting, Contestant::Moa];

const EXPLANATION: &str = "\
The hot product as above, on logs of several lengths; nine tenths of the users of the longest have holdings in many products. Accepting \
alone is what an accept costs; all of Moa, until all is settled and in every view, what its steps cost too. The first accept \
counts from the start of the process, on a database that was copied just before. Most of the WAL of a long log \
are pages written whole, which PostgreSQL does with each that is changed for the first time after a checkpoint.";

/// A log, and what was measured on it.
struct Sized {
    events: u64,
    series: Vec<Series>,
}

/// Prepares a base of each size.
pub(crate) async fn measure_all(
    mut servers: Servers,
    plan: &Plan,
    max_events: u64,
) -> anyhow::Result<(Servers, Section)> {
    let mut all = Vec::new();
    for shape in plan.sizes(max_events) {
        let events = shape.history.events;
        println!("a log of {events} events");
        let arena = Arena::open(servers, shape).await?;
        let load = plan.closed(plan.connections()[1]);
        let mut series: Vec<_> = plan
            .wanted(&CONTESTANTS)
            .into_iter()
            .map(|contestant| Series {
                contestant,
                load,
                rounds: Vec::new(),
            })
            .collect();
        for _ in 0..plan.sustained_rounds() {
            for one in &mut series {
                let figures = measure(&arena, one.contestant, load).await?;
                println!(
                    "{:28} {:.0}/s, {:.0} µs CPU for each, first accept after {:.2} s",
                    one.contestant.name(),
                    figures.rate,
                    figures.cpu_micros_per_invest(),
                    first_accept(&figures)
                );
                one.rounds.push(figures);
            }
        }
        all.push(Sized { events, series });
        servers = arena.close().await?;
    }
    let section = Section {
        title: "Length of the log",
        verdicts: verdicts(&all),
        text: text(&all),
        plots: Vec::new(),
    };
    Ok((servers, section))
}

fn first_accept(figures: &Figures) -> f64 {
    figures.first_accept.map_or(0.0, seconds)
}

fn verdicts(all: &[Sized]) -> Vec<Verdict> {
    let Some((smallest, larger)) = all.split_first() else {
        return Vec::new();
    };
    let mut verdicts = Vec::new();
    for sized in larger {
        for (series, least) in sized.series.iter().zip(&smallest.series) {
            verdicts.push(Verdict {
                target: "P8",
                what: format!(
                    "{}, CPU for each invest, {} events beside {}",
                    series.contestant.name(),
                    sized.events,
                    smallest.events
                ),
                wanted: Wanted::AtMost(1.2),
                measured: ratio(series, least, Figures::cpu_micros_per_invest),
                unit: " x",
            });
        }
    }
    for sized in all {
        for series in &sized.series {
            verdicts.push(Verdict {
                target: "P8",
                what: format!(
                    "{}, first accept after a start, {} events",
                    series.contestant.name(),
                    sized.events
                ),
                wanted: Wanted::AtMost(2.0),
                measured: series.spread(first_accept),
                unit: " s",
            });
        }
    }
    verdicts
}

fn text(all: &[Sized]) -> String {
    let figure = |series: &Series, of: fn(&Figures) -> f64, digits| {
        spread(Spread::of(series.rounds.iter().map(of)), digits)
    };
    let row = |events: u64, series: &Series| {
        vec![
            events.to_string(),
            series.contestant.name().to_owned(),
            figure(series, |round| round.rate, 0),
            figure(
                series,
                |round| round.cpu.contestant * 1e6 / round.accepted.max(1) as f64,
                0,
            ),
            figure(
                series,
                |round| round.cpu.postgres * 1e6 / round.accepted.max(1) as f64,
                0,
            ),
            figure(series, Figures::wal_bytes_per_invest, 0),
            figure(series, |round| seconds(round.settled_after), 1),
            figure(series, first_accept, 2),
        ]
    };
    let rows = all.iter().flat_map(|sized| {
        sized
            .series
            .iter()
            .map(move |series| row(sized.events, series))
    });
    let head = [
        "events before",
        "",
        "accepted/s",
        "CPU µs for each, Moa's",
        "PostgreSQL's",
        "WAL B for each",
        "in all views after s",
        "first accept after s",
    ];
    format!(
        "{EXPLANATION}\n\n{}",
        table(&head, &rows.collect::<Vec<_>>())
    )
}
