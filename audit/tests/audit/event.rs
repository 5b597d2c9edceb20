//! Searches: whatever is asked, in whatever order and pages, and wherever the index stands, the answer is that of a plain
//! scan of the whole log.

mod app;
mod bounded;
mod http;
mod index;
mod writing;

use app::{TestApp, product_id, scanned, user};
use domain::InvestId;
use event_log::search::{Bound, Cursor, EVENT_TYPES, Filter, Order, Page, Search, subject};
use event_log::{Partition, Position, RecordedEvent};
use rstest::rstest;
use testbed::Random;
use uuid::Uuid;

const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];
/// Pages of one question at most: the larger the answer, the larger its pages.
const PAGES: usize = 8;

/// All that is found, page by page, each asked for with the cursor of the one before.
async fn found(
    app: &TestApp,
    filter: &Filter,
    order: Order,
    limit: usize,
) -> Vec<(Partition, Position)> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let Page { events, next } = page(app, filter, order, cursor.as_deref(), limit).await;
        assert!(events.len() <= limit);
        found.extend(events.iter().map(|event| (event.partition, event.position)));
        match next {
            Some(next) => cursor = Some(next.to_string()),
            None => return found,
        }
    }
}

/// The same from one search that goes on, as a stream does.
async fn streamed(
    app: &TestApp,
    filter: &Filter,
    order: Order,
    limit: usize,
) -> Vec<(Partition, Position)> {
    let search = Search::begin(&app.log, &app.pool, filter.clone(), order, None).await;
    let (mut search, mut found) = (search.unwrap(), Vec::new());
    loop {
        let Page { events, next } = search.page(limit).await.unwrap();
        found.extend(events.iter().map(|event| (event.partition, event.position)));
        if next.is_none() {
            return found;
        }
    }
}

async fn page(
    app: &TestApp,
    filter: &Filter,
    order: Order,
    cursor: Option<&str>,
    limit: usize,
) -> Page {
    let cursor = cursor.map(|text| Cursor::read(text, app.log.identity(), filter, order).unwrap());
    let search = Search::begin(&app.log, &app.pool, filter.clone(), order, cursor.as_ref()).await;
    search.unwrap().page(limit).await.unwrap()
}

/// A question whose values are those of events of the log, or of none.
fn question(random: &mut Random, all: &[RecordedEvent], fields: u64) -> Filter {
    let mut filter = Filter::default();
    for _ in 0..fields {
        let event = &all[random.below(all.len() as u64) as usize];
        let strange = random.below(12) == 0;
        match random.below(8) {
            0 => {
                filter.product = Some(if strange {
                    product_id(77)
                } else {
                    event.product_id
                })
            }
            1 => {
                filter.user = subject(&event.event)
                    .map(|(of, _)| if strange { user("nobody") } else { of.clone() })
            }
            2 => {
                let invest = subject(&event.event).map(|(_, invest)| invest);
                filter.invest = if strange {
                    Some(InvestId(Uuid::now_v7()))
                } else {
                    invest
                };
            }
            3 => {
                filter.event_type =
                    Some(EVENT_TYPES[random.below(EVENT_TYPES.len() as u64) as usize].into())
            }
            4 => {
                filter.correlation = Some(if strange {
                    "none".into()
                } else {
                    event.metadata.correlation_id.clone()
                })
            }
            5 => filter.from = Some(bound(random, event)),
            6 => filter.to = Some(bound(random, event)),
            _ => filter.partition = Some(if strange { 60 } else { event.partition }),
        }
    }
    filter
}

fn bound(random: &mut Random, event: &RecordedEvent) -> Bound {
    match random.below(4) {
        0 => Bound::Time(event.recorded_at),
        1 => Bound::Time(
            event.recorded_at + chrono::TimeDelta::microseconds(random.below(3) as i64 - 1),
        ),
        2 => Bound::Time(event.recorded_at + chrono::TimeDelta::hours(random.below(3) as i64 - 1)),
        _ => Bound::Position(event.position),
    }
}

async fn agrees(app: &mut TestApp, filter: &Filter, all: &[RecordedEvent]) {
    for order in ORDERS {
        let expected = scanned(all, filter, order);
        let limit = app.random.below(60) as usize + 1 + expected.len() / PAGES;
        assert_eq!(
            found(app, filter, order, limit).await,
            expected,
            "{filter:?} {order:?}, {limit} a page"
        );
        let limit = app.random.below(40) as usize + 1;
        assert_eq!(
            streamed(app, filter, order, limit).await,
            expected,
            "{filter:?} {order:?}, {limit} at a time"
        );
    }
}

/// What the index has of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Indexed {
    Nothing,
    Half,
    All,
}

/// 1. A log of some thousand events in several partitions; the index has all, half or nothing of it.
/// 2. Nothing, each field alone, and random combinations are asked for, in both orders, in pages of random size.
/// 3. Each answer is that of a plain scan.
#[rstest]
#[tokio::test]
async fn an_answer_is_that_of_a_plain_scan(
    #[values(Indexed::Nothing, Indexed::Half, Indexed::All)] indexed: Indexed,
    #[values(1, 4)] partitions: i32,
) {
    let mut app = TestApp::with_partitions(partitions, 7 + partitions as u64).await;
    app.happens(1_000).await;
    if indexed == Indexed::Half {
        app.index().await;
    }
    app.happens(1_000).await;
    if indexed == Indexed::All {
        app.index().await;
    }
    let all = app.events().await;
    assert_eq!(all.len(), 2_000);
    agrees(&mut app, &Filter::default(), &all).await;
    for event_type in EVENT_TYPES {
        agrees(
            &mut app,
            &Filter {
                event_type: Some(event_type.into()),
                ..Filter::default()
            },
            &all,
        )
        .await;
    }
    for fields in [
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 5, 6,
    ] {
        let filter = question(&mut app.random, &all, fields);
        agrees(&mut app, &filter, &all).await;
    }
}
