//! Rounds of several contestants, in alternation, and what they come to.

use super::plot::{Bar, bars};
use super::text::{millis, seconds, spread, table};
use crate::contest::{Arena, Contestant, Figures, Load, measure};
use crate::summary::Spread;
use std::collections::BTreeMap;
use std::time::Duration;

/// The rounds of one contestant under one load.
pub(crate) struct Series {
    pub(crate) contestant: Contestant,
    pub(crate) load: Load,
    pub(crate) rounds: Vec<Figures>,
}

/// Measures everybody once, then everybody again in the opposite order, and so on.
pub(crate) async fn alternate(
    arena: &Arena,
    entries: &[(Contestant, Load)],
    rounds: u32,
) -> anyhow::Result<Vec<Series>> {
    let series = |(contestant, load): &(Contestant, Load)| Series {
        contestant: *contestant,
        load: *load,
        rounds: Vec::new(),
    };
    let mut all: Vec<_> = entries.iter().map(series).collect();
    for round in 0..rounds {
        let mut order: Vec<_> = all.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for series in order {
            let figures = measure(arena, series.contestant, series.load).await?;
            tell(series, round, &figures);
            series.rounds.push(figures);
        }
    }
    Ok(all)
}

fn tell(series: &Series, round: u32, figures: &Figures) {
    let sums = if figures.sums == 0 {
        "no sums".into()
    } else {
        format!("{} sums right", figures.sums)
    };
    println!(
        "round {} {:28} {:3} connections{}  {:7.0}/s  p99 {:7.1} ms  settled after {:5.1} s  {sums}",
        round + 1,
        series.contestant.name(),
        series.load.connections,
        if series.load.keys { ", keys" } else { "" },
        figures.rate,
        millis(figures.p99),
        seconds(figures.settled_after),
    );
}

/// One measure of each round beside that of another one, round by round.
pub(crate) fn ratio(of: &Series, to: &Series, measure: impl Fn(&Figures) -> f64) -> Spread {
    Spread::of(
        of.rounds
            .iter()
            .zip(&to.rounds)
            .map(|(of, to)| measure(of) / measure(to).max(f64::MIN_POSITIVE)),
    )
}

impl Series {
    /// One measure of all rounds.
    pub(crate) fn spread(&self, measure: impl Fn(&Figures) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(measure))
    }

    /// The figures of several series, one row each: what they did, then what that cost.
    pub(crate) fn table(all: &[&Self]) -> String {
        let did = [
            "",
            "accepted/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "settled after s",
            "age of the amount, p99 ms",
            "users",
            "other answers",
        ];
        let cost = [
            "for each accepted invest",
            "its own CPU µs",
            "PostgreSQL's",
            "RabbitMQ's, Redis's",
            "loader's",
            "WAL B",
            "database B",
        ];
        let rows = |row: fn(&Self) -> Vec<String>| {
            all.iter().map(|series| row(series)).collect::<Vec<_>>()
        };
        format!(
            "{}\n{}",
            table(&did, &rows(Self::did)),
            table(&cost, &rows(Self::cost))
        )
    }

    fn did(&self) -> Vec<String> {
        let settled = || spread(self.spread(|round| seconds(round.settled_after)), 1);
        vec![
            self.contestant.name().to_owned(),
            spread(self.spread(|round| round.rate), 0),
            spread(self.spread(|round| millis(round.p50)), 1),
            spread(self.spread(|round| millis(round.p99)), 1),
            spread(self.spread(|round| millis(round.max)), 0),
            if self.contestant.is_all_of_moa() {
                settled()
            } else {
                String::new()
            },
            self.amount_age()
                .map(|age| spread(age, 0))
                .unwrap_or_default(),
            spread(self.spread(|round| round.distinct_users as f64), 0),
            self.refused(),
        ]
    }

    fn cost(&self) -> Vec<String> {
        let cpu = |of: fn(&Figures) -> f64| {
            spread(
                self.spread(|round| of(round) * 1e6 / round.accepted.max(1) as f64),
                0,
            )
        };
        vec![
            self.contestant.name().to_owned(),
            cpu(|round| round.cpu.contestant),
            cpu(|round| round.cpu.postgres),
            if self.contestant.needs_brokers() {
                cpu(|round| round.cpu.brokers)
            } else {
                String::new()
            },
            cpu(|round| round.cpu.loader),
            spread(self.spread(Figures::wal_bytes_per_invest), 0),
            spread(self.spread(Figures::grown_bytes_per_invest), 0),
        ]
    }

    /// Of the product's own amount in reads, p99 of each round, in milliseconds.
    pub(crate) fn amount_age(&self) -> Option<Spread> {
        let ages: Option<Vec<Duration>> =
            self.rounds.iter().map(|round| round.amount_age).collect();
        ages.map(|ages| Spread::of(ages.into_iter().map(millis)))
    }

    /// `SOLD_OUT 12, OVERLOADED 3`: all rounds together.
    fn refused(&self) -> String {
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for (code, count) in self.rounds.iter().flat_map(|round| &round.refused) {
            *codes.entry(code).or_default() += count;
        }
        codes
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// CPU of each and of PostgreSQL for each accepted invest.
    pub(crate) fn cpu_plot(title: &str, all: &[&Self]) -> String {
        let bar = |series: &&Self| Bar {
            label: series.contestant.name().into(),
            size: series.spread(Figures::cpu_micros_per_invest),
        };
        bars(
            title,
            "CPU µs for each accepted invest",
            &all.iter().map(bar).collect::<Vec<_>>(),
        )
    }

    /// Accepted a second of each.
    pub(crate) fn plot(title: &str, all: &[&Self]) -> String {
        let bar = |series: &&Self| Bar {
            label: series.contestant.name().into(),
            size: series.spread(|round| round.rate),
        };
        bars(
            title,
            "accepted/s",
            &all.iter().map(bar).collect::<Vec<_>>(),
        )
    }
}
