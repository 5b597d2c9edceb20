//! `streams`: what those who follow the products cost those who invest.

use crate::contest::{Arena, Contestant, Load};
use crate::plan::Plan;
use crate::report::{Section, Series, Verdict, Wanted, alternate, ratio, spread};

/// On a base with one fresh product.
pub(crate) async fn run(arena: &Arena, plan: &Plan) -> anyhow::Result<Section> {
    let alone = plan.closed(plan.connections()[1]);
    let followed = Load {
        listeners: plan.listeners(),
        ..alone
    };
    let able = arena.able(&plan.wanted(&[Contestant::Moa]));
    let entries: Vec<_> = able
        .iter()
        .flat_map(|who| [(*who, alone), (*who, followed)])
        .collect();
    let all = alternate(arena, &entries, plan.rounds()).await?;
    let [alone, followed] = all.as_slice() else {
        return Ok(Section {
            title: "Streams",
            verdicts: Vec::new(),
            text: String::new(),
            plots: Vec::new(),
        });
    };
    let verdict = Verdict {
        target: "streams",
        what: format!(
            "Moa with {} listeners beside itself with none",
            followed.load.listeners
        ),
        wanted: Wanted::AtLeast(0.95),
        measured: ratio(followed, alone, |figures| figures.rate),
        unit: " x",
    };
    let text = format!(
        "The hot product as above, {} connections, first without listeners, then with {}, who follow the stream of products on \
         the same machine and were sent {} events a second in all.\n\n{}",
        alone.load.connections,
        followed.load.listeners,
        spread(followed.spread(|figures| figures.sent_rate), 0),
        Series::table(&[alone, followed])
    );
    Ok(Section {
        title: "Streams",
        verdicts: vec![verdict],
        text,
        plots: Vec::new(),
    })
}
