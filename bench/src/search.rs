//! How soon the first page of a search is there, for every single filter and in both orders.

use crate::history::connect;
use crate::summary::Latencies;
use anyhow::Context;
use connection_pool::Pool;
use event_log::search::{Bound, EVENT_INDEX, EVENT_TYPES, Filter, Order, Search, subject};
use event_log::{Log, Position, RecordedEvent};
use std::time::Instant;

/// One asks at a time; the log has questions of its own.
const CONNECTIONS: u32 = 2;
/// Events of a page.
const PAGE: usize = 100;

/// The same question with values that lie all over the log.
struct Question {
    name: String,
    filter: Box<dyn Fn(&RecordedEvent) -> Filter>,
}

pub(crate) async fn run(times: u32, database_url: &str) -> anyhow::Result<()> {
    let pool = connect(database_url, CONNECTIONS).await?;
    let partitions = Log::partitions_of(&pool)
        .await?
        .context("there is no log: fill one with bench history")?;
    let log = Log::open(pool.clone(), partitions).await?;
    let heads = log.heads().await?;
    let checkpoints = log.checkpoints().await?;
    let indexed = checkpoints
        .iter()
        .filter(|at| at.consumer == EVENT_INDEX)
        .map(|at| at.position)
        .sum::<Position>();
    let events = heads.iter().sum::<Position>();
    println!(
        "{events} events, {indexed} of them indexed; first pages of {PAGE}, {times} of each, one after another"
    );
    let samples = samples(&log, &heads, times).await?;
    for question in questions() {
        for (name, order) in [("asc", Order::Ascending), ("desc", Order::Descending)] {
            let (mut waits, mut events) = (Latencies::default(), 0);
            for sample in &samples {
                let began = Instant::now();
                events += ask(&log, &pool, (question.filter)(sample), order).await?;
                waits.add(began.elapsed());
            }
            println!(
                "  {:<22} {name:<4} {}  {} events",
                question.name,
                waits.ranked(),
                events / samples.len().max(1)
            );
        }
    }
    Ok(())
}

async fn ask(log: &Log, pool: &Pool, filter: Filter, order: Order) -> anyhow::Result<usize> {
    let mut search = Search::begin(log, pool, filter, order, None).await?;
    Ok(search.page(PAGE).await?.events.len())
}

/// Events that lie evenly in all partitions, of any type that has a user.
async fn samples(log: &Log, heads: &[Position], times: u32) -> anyhow::Result<Vec<RecordedEvent>> {
    let mut samples = Vec::new();
    for n in 0..times {
        let partition = n as usize % heads.len();
        let after = heads[partition] / i64::from(times) * i64::from(n);
        let found = log
            .read_after(i32::try_from(partition)?, after, 2_000)
            .await?;
        samples.extend(
            found
                .into_iter()
                .find(|event| subject(&event.event).is_some()),
        );
    }
    anyhow::ensure!(!samples.is_empty(), "there are no invests in this log");
    Ok(samples)
}

fn questions() -> Vec<Question> {
    let none = Filter::default;
    let mut questions = vec![
        question("nothing", move |_| none()),
        question("product", move |event| Filter {
            product: Some(event.product_id),
            ..none()
        }),
        question("user", move |event| Filter {
            user: subject(&event.event).map(|(user, _)| user.clone()),
            ..none()
        }),
        question("invest", move |event| Filter {
            invest: subject(&event.event).map(|(_, invest)| invest),
            ..none()
        }),
        question("correlation", move |event| Filter {
            correlation: Some(event.metadata.correlation_id.clone()),
            ..none()
        }),
        question("from a time", move |event| Filter {
            from: Some(Bound::Time(event.recorded_at)),
            ..none()
        }),
        question("to a time", move |event| Filter {
            to: Some(Bound::Time(event.recorded_at)),
            ..none()
        }),
        question("from a position", move |event| Filter {
            from: Some(Bound::Position(event.position)),
            ..none()
        }),
        question("to a position", move |event| Filter {
            to: Some(Bound::Position(event.position)),
            ..none()
        }),
        question("partition", move |event| Filter {
            partition: Some(event.partition),
            ..none()
        }),
        question("user and product", move |event| Filter {
            user: subject(&event.event).map(|(user, _)| user.clone()),
            product: Some(event.product_id),
            ..none()
        }),
        question("product, from a time", move |event| Filter {
            product: Some(event.product_id),
            from: Some(Bound::Time(event.recorded_at)),
            ..none()
        }),
    ];
    questions.extend(EVENT_TYPES.map(|name| {
        question(name, move |_| Filter {
            event_type: Some(name.into()),
            ..none()
        })
    }));
    questions
}

fn question(name: &str, filter: impl Fn(&RecordedEvent) -> Filter + 'static) -> Question {
    Question {
        name: name.into(),
        filter: Box::new(filter),
    }
}
