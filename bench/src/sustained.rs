//! `sustained`: what is accepted, settled and in all read models, a second, over a longer time; and how it is at 70 % of that.

use crate::contest::{Arena, Contestant, Figures, Load, Pace, measure};
use crate::plan::Plan;
use crate::report::{
    Bar, Line, Section, Series, Verdict, Wanted, bars, lines, millis, ratio, seconds, spread, table,
};
use crate::summary::Spread;

const CONTESTANTS: [Contestant; 3] = [
    Contestant::SqlUpdate,
    Contestant::Moa,
    Contestant::MoaWithServers,
];

/// The part of what a contestant sustains that latency and lag are quoted at.
const QUOTED_SHARE: f64 = 0.7;

const EXPLANATION: &str = "\
A closed loop first: accepted, divided by the time until all of it was settled and in all read models, is what a contestant \
sustains. Then an open loop at 70 % of that: requests are due at a fixed rate, and latency counts from when a request was due. \
A view's lag is the age of the oldest event that it has not applied, looked at ten times a second.";

/// Both loads of one contestant.
struct Sustained {
    full: Series,
    quoted: Series,
}

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let full = Load {
        time: plan.sustained_time(),
        ..plan.closed(plan.connections()[1])
    };
    let series = |contestant| Series {
        contestant,
        load: full,
        rounds: Vec::new(),
    };
    let begin = |contestant| Sustained {
        full: series(contestant),
        quoted: series(contestant),
    };
    let mut all: Vec<_> = arena
        .able(&plan.wanted(&CONTESTANTS))
        .into_iter()
        .map(begin)
        .collect();
    for _ in 0..plan.sustained_rounds() {
        for one in &mut all {
            let figures = measure(arena, one.full.contestant, full).await?;
            let rate = figures.sustained_rate();
            println!("{:28} sustains {rate:.0}/s", one.full.contestant.name());
            one.full.rounds.push(figures);
            let quoted = Load {
                pace: Pace::Open(rate * QUOTED_SHARE),
                ..full
            };
            one.quoted
                .rounds
                .push(measure(arena, one.quoted.contestant, quoted).await?);
        }
    }
    Ok(Section {
        title: "Sustained",
        verdicts: verdicts(&mut all),
        text: text(&mut all),
        plots: plots(&all),
    })
}

fn verdicts(all: &mut [Sustained]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for moa in all.iter().filter(|one| one.full.contestant.is_all_of_moa()) {
        let Some(baseline) = all
            .iter()
            .find(|one| one.full.contestant == Contestant::SqlUpdate)
        else {
            continue;
        };
        verdicts.push(Verdict {
            target: "P4",
            what: format!(
                "{} beside sql-update, sustained",
                moa.full.contestant.name()
            ),
            wanted: Wanted::AtLeast(5.0),
            measured: ratio(&moa.full, &baseline.full, Figures::sustained_rate),
            unit: " x",
        });
    }
    for one in all
        .iter_mut()
        .filter(|one| one.full.contestant.is_all_of_moa())
    {
        let worst = one.quoted.rounds.iter_mut().map(|round| {
            lags(round)
                .into_iter()
                .map(|(_, p99)| p99)
                .fold(0.0, f64::max)
        });
        verdicts.push(Verdict {
            target: "P4",
            what: format!(
                "{}, lag of the slowest view at 70 %, p99",
                one.quoted.contestant.name()
            ),
            wanted: Wanted::AtMost(1.0),
            measured: Spread::of(worst),
            unit: " s",
        });
    }
    verdicts
}

/// Of each view of a round, p99 in seconds.
fn lags(round: &mut Figures) -> Vec<(String, f64)> {
    let ranked = round.lags.iter_mut().flat_map(|lags| &mut lags.ranked);
    ranked
        .map(|(view, lags)| (view.clone(), seconds(lags.at(0.99))))
        .collect()
}

fn text(all: &mut [Sustained]) -> String {
    let rate = |one: &Sustained| {
        vec![
            one.full.contestant.name().to_owned(),
            spread(one.full.spread(Figures::sustained_rate), 0),
            spread(one.quoted.spread(|round| round.rate), 0),
            spread(one.quoted.spread(|round| millis(round.p50)), 1),
            spread(one.quoted.spread(|round| millis(round.p99)), 1),
            spread(one.full.spread(Figures::cpu_micros_per_invest), 0),
        ]
    };
    let head = [
        "",
        "sustained/s",
        "at 70 %/s",
        "its p50 ms",
        "its p99 ms",
        "CPU µs/invest, full",
    ];
    let mut text = format!(
        "{EXPLANATION}\n\n{}",
        table(&head, &all.iter().map(rate).collect::<Vec<_>>())
    );
    for (title, part) in [("Full", true), ("At 70 %", false)] {
        let series: Vec<_> = all
            .iter()
            .map(|one| if part { &one.full } else { &one.quoted })
            .collect();
        text.push_str(&format!("\n### {title}\n\n{}", Series::table(&series)));
    }
    for one in all
        .iter_mut()
        .filter(|one| one.quoted.contestant.is_all_of_moa())
    {
        let name = one.quoted.contestant.name();
        let rounds: Vec<_> = one.quoted.rounds.iter_mut().map(lags).collect();
        let views = rounds.first().into_iter().flatten().map(|(view, _)| {
            let of_view = |round: &Vec<(String, f64)>| {
                round
                    .iter()
                    .find(|(name, _)| name == view)
                    .map(|(_, p99)| *p99)
            };
            vec![
                view.clone(),
                spread(Spread::of(rounds.iter().filter_map(of_view)), 2),
            ]
        });
        text.push_str(&format!(
            "\n### {name}: lag at 70 %\n\n{}",
            table(&["view", "p99 s"], &views.collect::<Vec<_>>())
        ));
    }
    text
}

fn plots(all: &[Sustained]) -> Vec<(String, String)> {
    let bar = |one: &Sustained| Bar {
        label: one.full.contestant.name().into(),
        size: one.full.spread(Figures::sustained_rate),
    };
    let sustained: Vec<_> = all.iter().map(bar).collect();
    let mut plots = vec![(
        "sustained.svg".to_owned(),
        bars(
            "Sustained: accepted, settled, in all read models",
            "a second",
            &sustained,
        ),
    )];
    for one in all
        .iter()
        .filter(|one| one.quoted.contestant.is_all_of_moa())
    {
        let Some(lags) = one
            .quoted
            .rounds
            .last()
            .and_then(|round| round.lags.as_ref())
        else {
            continue;
        };
        let line = |(view, points): (&String, &Vec<_>)| Line {
            label: view.clone(),
            points: points.clone(),
        };
        let title = format!("{}: lag of each view at 70 %", one.quoted.contestant.name());
        let file = if one.quoted.contestant == Contestant::Moa {
            "lag.svg"
        } else {
            "lag-with-servers.svg"
        };
        plots.push((
            file.to_owned(),
            lines(
                &title,
                "s",
                "s",
                &lags.over_time.iter().map(line).collect::<Vec<_>>(),
            ),
        ));
    }
    plots
}
