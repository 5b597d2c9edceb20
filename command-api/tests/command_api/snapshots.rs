//! A long stream is not read again from its beginning.

use crate::house::House;
use crate::moa::{product, won};
use domain::{InvestId, ProductEvent, ProductId, UserId};
use event_log::{Appended, Batch, Metadata, NewEvent, Writer};
use uuid::Uuid;

/// Events after which a snapshot is due.
const DUE: i64 = 10_000;

/// Has users reserve 1 won each, by the log's own means, until the stream is this long.
async fn grows_to(house: &House, product: ProductId, length: i64) {
    let mut writer = Writer::open(house.log.clone(), 0).await.unwrap();
    let mut sequences = (house.events_of(product).await.len() as i64 + 1..=length).peekable();
    while sequences.peek().is_some() {
        let events = sequences.by_ref().take(2_500).map(|sequence| reserved(product, sequence)).collect();
        let appended = writer.append(Batch { events, keys: Vec::new() }, writer.now()).await.unwrap();
        assert!(matches!(appended, Appended::Committed(_)));
    }
}

fn reserved(product_id: ProductId, sequence: i64) -> NewEvent {
    let event = ProductEvent::InvestReserved {
        invest_id: InvestId(Uuid::now_v7()),
        user_id: UserId::try_from("user1".to_owned()).unwrap(),
        amount: won(1),
        expires_at: crate::moa::hours_from_now(1),
    };
    NewEvent { product_id, sequence, event, metadata: Metadata::default() }
}

/// A restart shows by what it refuses which state it began with: here the snapshot's, which was made to differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_gets_a_snapshot_and_a_restart_begins_with_it() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    moa.opens_as(product(1), 1_000_000, crate::moa::window_of_hours(-1, 1)).await;
    drop(moa);
    grows_to(&house, product(1), DUE - 2).await;

    let moa = house.moa().await;
    moa.invest(product(1), 1).sent().await.is_ok();
    moa.stops().await;
    assert_eq!(house.count("product_snapshots").await, 0, "not yet");
    let moa = house.moa().await;
    moa.invest(product(1), 1).sent().await.is_ok();
    house.until_there_is(&format!("product_snapshots where product_id = 1 and sequence = {DUE}")).await;
    moa.invest(product(1), 1).sent().await.is_ok();
    moa.invest(product(1), 1_000_000).sent().await.is_sold_out(1_000_000 - DUE);
    moa.stops().await;

    house.moa().await.invest(product(1), 1_000_000).sent().await.is_sold_out(1_000_000 - DUE);
    let forged = "update product_snapshots set state = jsonb_set(state::jsonb, '{reserved}', '7')::json";
    assert_eq!(house.sql(forged).await, 1);
    house.moa().await.invest(product(1), 1_000_000).sent().await.is_sold_out(1_000_000 - 7 - 1);
    // Of another part of the log, it is passed over.
    house.sql("update product_snapshots set hash = sha256('')").await;
    house.moa().await.invest(product(1), 1_000_000).sent().await.is_sold_out(1_000_000 - DUE);
}
