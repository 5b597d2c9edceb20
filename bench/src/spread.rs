//! `spread`: the same load over many products.

use crate::contest::{Arena, Contestant};
use crate::plan::Plan;
use crate::report::{Section, Series, Verdict, Wanted, alternate, ratio};

const CONTESTANTS: [Contestant; 5] = [
    Contestant::GroupCommit,
    Contestant::SqlUpdate,
    Contestant::SeedLock,
    Contestant::Moa,
    Contestant::MoaWithServers,
];

/// On a base with many fresh products.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let load = plan.closed(plan.connections()[1]);
    let entries: Vec<_> = arena
        .able(&plan.wanted(&CONTESTANTS))
        .into_iter()
        .map(|who| (who, load))
        .collect();
    let all = alternate(arena, &entries, plan.rounds()).await?;
    let find = |who| all.iter().find(|series| series.contestant == who);
    let mut verdicts = Vec::new();
    for who in [Contestant::Moa, Contestant::MoaWithServers] {
        let (Some(moa), Some(baseline)) = (find(who), find(Contestant::SqlUpdate)) else {
            continue;
        };
        verdicts.push(Verdict {
            target: "P3",
            what: format!("{} beside sql-update, spread", who.name()),
            wanted: Wanted::AtLeast(6.0),
            measured: ratio(moa, baseline, |figures| figures.rate),
            unit: " x",
        });
    }
    let series: Vec<_> = all.iter().collect();
    let products = plan.spread().fresh_products;
    let text = format!(
        "One product after another out of {products}, {} connections, else as above.\n\n{}",
        load.connections,
        Series::table(&series)
    );
    let plot = Series::plot(&format!("Spread over {products} products"), &series);
    Ok(Section {
        title: "Spread over many products",
        verdicts,
        text,
        plots: vec![("spread.svg".into(), plot)],
    })
}
