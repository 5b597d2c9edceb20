//! The work of one page is bounded, and nothing is lost by it.

use super::app::{TestApp, scanned, user};
use super::{ORDERS, Order, page};
use event_log::search::Filter;

/// More than is looked at for one page.
const MANY: usize = 25_000;

/// 1. Nothing is indexed. One user's invests stand at both ends of a long stretch of another's, and one in the middle of
///    another partition.
/// 2. Pages come short, or empty, each with a cursor; none takes the whole log.
/// 3. Together they are what a scan finds, in order.
#[tokio::test]
async fn a_rare_thing_in_a_long_log_takes_several_pages() {
    let mut app = TestApp::with_partitions(2, 3).await;
    app.reserves(1, "kim", 3).await;
    app.reserves(1, "lee", MANY).await;
    app.reserves(2, "lee", 10).await;
    app.reserves(2, "kim", 1).await;
    app.reserves(1, "kim", 2).await;
    let filter = Filter {
        user: Some(user("kim")),
        ..Filter::default()
    };
    let all = app.events().await;
    for order in ORDERS {
        let (mut found, mut cursor, mut short) = (Vec::new(), None, 0);
        loop {
            let page = page(&app, &filter, order, cursor.as_deref(), 100).await;
            found.extend(
                page.events
                    .iter()
                    .map(|event| (event.partition, event.position)),
            );
            let Some(next) = page.next else { break };
            short += 1;
            cursor = Some(next.to_string());
        }
        assert_eq!(found, scanned(&all, &filter, order), "{order:?}");
        assert!((1..10).contains(&short), "{short} pages came short");
    }
    // What is known to be first is given with the first page, though the rest of the log was not looked at.
    let first = page(&app, &filter, Order::Ascending, None, 100).await;
    assert_eq!((first.events.len(), first.next.is_some()), (3, true));
}
