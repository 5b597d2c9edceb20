//! Pages while others write: nothing is missed, nothing comes twice.

use super::app::{TestApp, user};
use super::{Order, page};
use event_log::search::Filter;
use event_log::{Partition, Position, RecordedEvent};
use rstest::rstest;
use std::collections::BTreeMap;

/// 1. A walk in small pages is on its way while events are appended between any two pages, and the index moves now and then.
/// 2. In each partition what was given is, of what is asked for, everything from the first position up to some position:
///    upward at least the heads of the beginning, downward just the heads of the first page.
#[rstest]
#[tokio::test]
async fn nothing_is_missed_and_nothing_comes_twice(
    #[values(Order::Ascending, Order::Descending)] order: Order,
    #[values(None, Some("user3"))] name: Option<&str>,
    #[values(1, 4)] limit: usize,
) {
    let mut app = TestApp::with_partitions(3, limit as u64).await;
    app.happens(200).await;
    let filter = Filter {
        user: name.map(user),
        ..Filter::default()
    };
    let heads = app.log.heads().await.unwrap();
    let (mut given, mut cursor, mut pages) = (
        BTreeMap::<Partition, Vec<Position>>::new(),
        None::<String>,
        0,
    );
    loop {
        let page = page(&app, &filter, order, cursor.as_deref(), limit).await;
        for event in page.events {
            given
                .entry(event.partition)
                .or_default()
                .push(event.position);
        }
        let Some(next) = page.next else { break };
        cursor = Some(next.to_string());
        pages += 1;
        // Upward it would go on for ever.
        if pages < 40 {
            app.happens(7).await;
        }
        if pages % 10 == 5 {
            app.index().await;
        }
    }
    assert!(pages > 1, "{pages}");
    let all = app.events().await;
    for (partition, head) in app.log.partitions().zip(heads) {
        let mut given = given.remove(&partition).unwrap_or_default();
        if order == Order::Descending {
            given.reverse();
        }
        let upto = match order {
            Order::Ascending => given.last().copied().unwrap_or(0).max(head),
            Order::Descending => head,
        };
        assert_eq!(
            given,
            asked_for(&all, partition, name, upto),
            "partition {partition}"
        );
    }
}

fn asked_for(
    all: &[RecordedEvent],
    partition: Partition,
    name: Option<&str>,
    upto: Position,
) -> Vec<Position> {
    let is_asked = |event: &&RecordedEvent| {
        let of = event_log::search::subject(&event.event).map(|(user, _)| user.as_str());
        event.partition == partition && event.position <= upto && (name.is_none() || of == name)
    };
    all.iter()
        .filter(is_asked)
        .map(|event| event.position)
        .collect()
}
