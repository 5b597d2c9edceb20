//! `rush`: one hot product, everybody at once.

use crate::contest::{Arena, Contestant, Figures, Load};
use crate::plan::Plan;
use crate::report::{Section, Series, Verdict, Wanted, alternate, millis, ratio, seconds};
use crate::summary::Spread;

/// Everybody, from the least that is possible to the most that is promised.
const CONTESTANTS: [Contestant; 8] = [
    Contestant::Floor,
    Contestant::GroupCommit,
    Contestant::MoaAccepting,
    Contestant::SqlUpdate,
    Contestant::SeedLock,
    Contestant::Stock,
    Contestant::Moa,
    Contestant::MoaWithServers,
];

/// Those that promise everything.
const ALL_OF_MOA: [Contestant; 2] = [Contestant::Moa, Contestant::MoaWithServers];

const EXPLANATION: &str = "\
Every request invests 1 won in the same product; one in a hundred is by a user who has invested before in the round, all others \
by users who have not. Each contestant asks again once it is answered (a closed loop): latencies are those of a system that is \
full. CPU and disk are counted until all is settled and in all read models. After each round what was accepted was compared with \
the log and every read model, to the won.";

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let (few, many) = (
        plan.closed(plan.connections()[0]),
        plan.closed(plan.connections()[1]),
    );
    let with_keys = Load { keys: true, ..many };
    let mut loads = vec![few, many];
    loads.dedup();
    let able = arena.able(&plan.wanted(&CONTESTANTS));
    let mut entries: Vec<_> = loads
        .iter()
        .flat_map(|load| able.iter().map(|who| (*who, *load)))
        .collect();
    entries.extend(
        arena
            .able(&plan.wanted(&ALL_OF_MOA))
            .into_iter()
            .map(|who| (who, with_keys)),
    );
    let all = alternate(arena, &entries, plan.rounds()).await?;

    let under = |load: Load| {
        all.iter()
            .filter(move |series| series.load == load)
            .collect::<Vec<_>>()
    };
    let mut text = format!("{EXPLANATION}\n");
    let mut plots = Vec::new();
    for load in loads {
        let (title, series) = (format!("{} connections", load.connections), under(load));
        text.push_str(&format!("\n### {title}\n\n{}", Series::table(&series)));
        let plot = Series::plot(&format!("One hot product, {title}"), &series);
        plots.push((format!("rush-{}.svg", load.connections), plot));
        // Beside that of `stock` nothing else could be told apart.
        let series: Vec<_> = series
            .into_iter()
            .filter(|series| series.contestant != Contestant::Stock)
            .collect();
        let plot = Series::cpu_plot(
            &format!("One hot product, {title}, with PostgreSQL"),
            &series,
        );
        plots.push((format!("cpu-{}.svg", load.connections), plot));
    }
    text.push_str(&format!(
        "\n### {} connections, an `Idempotency-Key` each\n\n{}",
        many.connections,
        Series::table(&under(with_keys))
    ));
    Ok(Section {
        title: "One hot product",
        verdicts: verdicts(&all, few, many, with_keys),
        text,
        plots,
    })
}

fn verdicts(all: &[Series], few: Load, many: Load, with_keys: Load) -> Vec<Verdict> {
    let find = |who, load| {
        all.iter()
            .find(|series| series.contestant == who && series.load == load)
    };
    let rate = |figures: &Figures| figures.rate;
    let at_least = |target, what: String, bound, of: Option<&Series>, to: Option<&Series>| {
        let measured = ratio(of?, to?, rate);
        Some(Verdict {
            target,
            what,
            wanted: Wanted::AtLeast(bound),
            measured,
            unit: " x",
        })
    };
    let at_most = |what: String, bound, measured: Spread, unit| Verdict {
        target: "P1",
        what,
        wanted: Wanted::AtMost(bound),
        measured,
        unit,
    };
    let mut verdicts = Vec::new();
    for who in ALL_OF_MOA {
        let Some(moa) = find(who, many) else { continue };
        let name = who.name();
        for (baseline, bound) in [(Contestant::SqlUpdate, 12.0), (Contestant::SeedLock, 16.0)] {
            let what = format!(
                "{name} beside {}, {} connections",
                baseline.name(),
                many.connections
            );
            verdicts.extend(at_least("P1", what, bound, Some(moa), find(baseline, many)));
        }
        for (load, bound) in [(many, 100.0), (few, 40.0)] {
            let Some(series) = find(who, load) else {
                continue;
            };
            let what = format!("{name}, p99, {} connections", load.connections);
            verdicts.push(at_most(
                what,
                bound,
                series.spread(|figures| millis(figures.p99)),
                " ms",
            ));
        }
        if let Some(age) = moa.amount_age() {
            verdicts.push(at_most(
                format!("{name}, age of the product's amount in reads, p99"),
                250.0,
                age,
                " ms",
            ));
        }
        let settled = moa.spread(|figures| seconds(figures.settled_after));
        verdicts.push(at_most(
            format!("{name}, all settled and in all read models after"),
            20.0,
            settled,
            " s",
        ));
        let what = format!("{name} with a key each beside itself without");
        verdicts.extend(at_least("P1", what, 0.7, find(who, with_keys), Some(moa)));
    }
    for load in [few, many] {
        let what = format!(
            "Moa accepting alone beside group-commit, {} connections",
            load.connections
        );
        let (moa, least) = (
            find(Contestant::MoaAccepting, load),
            find(Contestant::GroupCommit, load),
        );
        verdicts.extend(at_least("P2", what, 0.8, moa, least));
    }
    verdicts
}
