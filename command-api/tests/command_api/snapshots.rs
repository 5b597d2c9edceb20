//! A long stream is not read again from its beginning.

use crate::app::{product, won};
use crate::write_side::WriteSide;
use domain::{InvestId, ProductEvent, ProductId, UserId};
use event_log::{Appended, Batch, Metadata, NewEvent, Writer};
use uuid::Uuid;

/// Events after which a snapshot is due.
const DUE: i64 = 10_000;

/// Has users reserve 1 won each, by the log's own means, until the stream is this long.
async fn grows_to(test: &WriteSide, product: ProductId, length: i64) {
    let mut writer = Writer::open(test.log.clone(), 0).await.unwrap();
    let mut sequences = (test.events_of(product).await.len() as i64 + 1..=length).peekable();
    while sequences.peek().is_some() {
        let events = sequences
            .by_ref()
            .take(2_500)
            .map(|sequence| reserved(product, sequence))
            .collect();
        let appended = writer
            .append(
                Batch {
                    events,
                    keys: Vec::new(),
                },
                writer.now(),
            )
            .await
            .unwrap();
        assert!(matches!(appended, Appended::Committed(_)));
    }
}

fn reserved(product_id: ProductId, sequence: i64) -> NewEvent {
    let event = ProductEvent::InvestReserved {
        invest_id: InvestId(Uuid::now_v7()),
        user_id: UserId::try_from("user1".to_owned()).unwrap(),
        amount: won(1),
        expires_at: crate::app::hours_from_now(1),
    };
    NewEvent {
        product_id,
        sequence,
        event,
        metadata: Metadata::default(),
    }
}

/// A restart shows by what it refuses which state it began with: here the snapshot's, which was made to differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_gets_a_snapshot_and_a_restart_begins_with_it() {
    let (test, app) = WriteSide::with_app(1).await;
    app.opens_as(product(1), 1_000_000, crate::app::window_of_hours(-1, 1))
        .await;
    drop(app);
    grows_to(&test, product(1), DUE - 2).await;

    let app = test.app().await;
    app.invest(product(1), 1).sent().await.is_ok();
    app.stops().await;
    assert_eq!(test.count("product_snapshots").await, 0, "not yet");
    let app = test.app().await;
    app.invest(product(1), 1).sent().await.is_ok();
    test.until_there_is(&format!(
        "product_snapshots where product_id = 1 and sequence = {DUE}"
    ))
    .await;
    app.invest(product(1), 1).sent().await.is_ok();
    app.invest(product(1), 1_000_000)
        .sent()
        .await
        .is_sold_out(1_000_000 - DUE);
    app.stops().await;

    test.app()
        .await
        .invest(product(1), 1_000_000)
        .sent()
        .await
        .is_sold_out(1_000_000 - DUE);
    let forged =
        "update product_snapshots set state = jsonb_set(state::jsonb, '{reserved}', '7')::json";
    assert_eq!(test.execute(forged).await, 1);
    test.app()
        .await
        .invest(product(1), 1_000_000)
        .sent()
        .await
        .is_sold_out(1_000_000 - 7 - 1);
    // Of another part of the log, it is passed over.
    test.execute("update product_snapshots set hash = sha256('')")
        .await;
    test.app()
        .await
        .invest(product(1), 1_000_000)
        .sent()
        .await
        .is_sold_out(1_000_000 - DUE);
}
