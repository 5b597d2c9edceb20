//! A product as its stream tells it, with snapshots or without.

use crate::house::*;
use cqrs_es::Aggregate;
use domain::Product;
use event_log::{LogError, VersionedProduct};

/// Product 1, opened, three invests reserved, the second settled: five events.
async fn house_with_a_stream() -> House {
    let house = House::with_events(4).await;
    commit(&mut house.writer().await, vec![happens(product(1), 5, settled(3, 2))]).await;
    house
}

async fn folded(house: &House, up_to: usize) -> VersionedProduct {
    let mut product = Product::default();
    house.events().await.into_iter().take(up_to).for_each(|event| product.apply(event.event));
    VersionedProduct { product, sequence: up_to as i64, snapshot_sequence: 0 }
}

async fn loaded(house: &House) -> VersionedProduct {
    house.log.load_product(product(1)).await.unwrap()
}

async fn snapshot_at(house: &House, sequence: usize) {
    let hash = house.events().await[sequence - 1].hash;
    house.log.save_snapshot(product(1), &folded(house, sequence).await, &hash).await.unwrap();
}

/// Puts another product's state in the snapshot: whoever uses it is found out.
async fn mark_the_snapshot(house: &House) -> Product {
    let mut marked = Product::default();
    marked.apply(opened(1));
    marked.apply(reserved(99, 99));
    let state = serde_json::to_string(&marked).unwrap();
    let marking = sqlx::query("update product_snapshots set state = $1::json").bind(state);
    assert_eq!(marking.execute(&house.pool).await.unwrap().rows_affected(), 1);
    marked
}

#[tokio::test]
async fn a_product_is_the_fold_of_its_stream() {
    let house = house_with_a_stream().await;
    let product = loaded(&house).await;
    assert_eq!(product, folded(&house, 5).await);
    assert_eq!((product.product.reserved(), product.product.settled()), (4, 2));
}

#[tokio::test]
async fn a_product_without_a_stream_is_not_opened() {
    let house = House::with_one_partition().await;
    assert_eq!(loaded(&house).await, VersionedProduct::default());
}

#[tokio::test]
async fn a_stream_longer_than_one_read_is_loaded_whole() {
    let house = House::with_events(4_001).await;
    assert_eq!(loaded(&house).await, folded(&house, 4_001).await);
}

#[tokio::test]
async fn a_snapshot_changes_nothing_but_how_much_is_read() {
    let house = house_with_a_stream().await;
    for sequence in 1..=5 {
        snapshot_at(&house, sequence).await;
        let expected = VersionedProduct { snapshot_sequence: sequence as i64, ..folded(&house, 5).await };
        assert_eq!(loaded(&house).await, expected, "with a snapshot at {sequence}");
    }
}

#[tokio::test]
async fn a_good_snapshot_is_used() {
    let house = house_with_a_stream().await;
    snapshot_at(&house, 5).await;
    let marked = mark_the_snapshot(&house).await;
    assert_eq!(loaded(&house).await, VersionedProduct { product: marked, sequence: 5, snapshot_sequence: 5 });
}

#[tokio::test]
async fn a_snapshot_of_other_code_or_of_another_log_or_unreadable_is_passed_over() {
    for spoiling in [
        "update product_snapshots set code_version = 'another'",
        "update product_snapshots set hash = sha256('another log')",
        "update product_snapshots set sequence = 4",
        "update product_snapshots set sequence = 6",
        r#"update product_snapshots set state = '{"terms": "none of them"}'"#,
    ] {
        let house = house_with_a_stream().await;
        snapshot_at(&house, 5).await;
        mark_the_snapshot(&house).await;
        house.execute(spoiling).await;
        assert_eq!(loaded(&house).await, folded(&house, 5).await, "{spoiling}");
    }
}

#[tokio::test]
async fn the_later_snapshot_is_kept_unless_it_is_of_other_code() {
    let house = house_with_a_stream().await;
    let kept = async || -> i64 {
        sqlx::query_scalar("select sequence from product_snapshots").fetch_one(&house.pool).await.unwrap()
    };
    snapshot_at(&house, 4).await;
    snapshot_at(&house, 2).await;
    assert_eq!(kept().await, 4);
    snapshot_at(&house, 5).await;
    assert_eq!(kept().await, 5);
    house.execute("update product_snapshots set code_version = 'another'").await;
    snapshot_at(&house, 2).await;
    assert_eq!(kept().await, 2);
}

#[tokio::test]
async fn a_hole_in_a_stream_is_named_and_not_skipped() {
    let house = house_with_a_stream().await;
    house.tamper("delete from events where sequence = 3").await;
    let broken = house.log.load_product(product(1)).await;
    assert!(matches!(broken, Err(LogError::Broken { partition: 0, position: 4, .. })), "{broken:?}");
}
