//! A product as its stream tells it, with snapshots or without.

use crate::support::*;
use cqrs_es::Aggregate;
use domain::Product;
use event_log::{LogError, VersionedProduct};

/// Product 1, opened, three invests reserved, the second settled: five events.
async fn test_log_with_a_stream() -> TestLog {
    let test = TestLog::with_events(4).await;
    commit(
        &mut test.writer().await,
        vec![new_event(product(1), 5, settled(3, 2))],
    )
    .await;
    test
}

async fn folded(test: &TestLog, up_to: usize) -> VersionedProduct {
    let mut product = Product::default();
    test.events()
        .await
        .into_iter()
        .take(up_to)
        .for_each(|event| product.apply(event.event));
    VersionedProduct {
        product,
        sequence: up_to as i64,
        snapshot_sequence: 0,
    }
}

/// Alone and together with one that does not exist it is the same.
async fn loaded(test: &TestLog) -> VersionedProduct {
    let alone = test.log.load_product(product(1)).await.unwrap();
    let together = test.log.load_products(&[product(2), product(1)]).await;
    let together: Vec<_> = together.into_iter().map(Result::unwrap).collect();
    assert_eq!(together, [VersionedProduct::default(), alone.clone()]);
    alone
}

async fn snapshot_at(test: &TestLog, sequence: usize) {
    let hash = test.events().await[sequence - 1].hash;
    test.log
        .save_snapshot(product(1), &folded(test, sequence).await, &hash)
        .await
        .unwrap();
}

/// Puts another product's state in the snapshot: whoever uses it is found out.
async fn mark_the_snapshot(test: &TestLog) -> Product {
    let mut marked = Product::default();
    marked.apply(opened(1));
    marked.apply(reserved(99, 99));
    let state = serde_json::to_string(&marked).unwrap();
    let marking = sqlx::query("update product_snapshots set state = $1::json").bind(state);
    assert_eq!(
        marking.execute(&test.pool).await.unwrap().rows_affected(),
        1
    );
    marked
}

#[tokio::test]
async fn a_product_is_the_fold_of_its_stream() {
    let test = test_log_with_a_stream().await;
    let product = loaded(&test).await;
    assert_eq!(product, folded(&test, 5).await);
    assert_eq!(
        (product.product.reserved(), product.product.settled()),
        (4, 2)
    );
}

#[tokio::test]
async fn a_product_without_a_stream_is_not_opened() {
    let test = TestLog::with_one_partition().await;
    assert_eq!(loaded(&test).await, VersionedProduct::default());
}

#[tokio::test]
async fn a_stream_longer_than_one_read_is_loaded_whole() {
    let test = TestLog::with_events(4_001).await;
    assert_eq!(loaded(&test).await, folded(&test, 4_001).await);
}

#[tokio::test]
async fn a_snapshot_changes_nothing_but_how_much_is_read() {
    let test = test_log_with_a_stream().await;
    for sequence in 1..=5 {
        snapshot_at(&test, sequence).await;
        let expected = VersionedProduct {
            snapshot_sequence: sequence as i64,
            ..folded(&test, 5).await
        };
        assert_eq!(
            loaded(&test).await,
            expected,
            "with a snapshot at {sequence}"
        );
    }
}

#[tokio::test]
async fn a_good_snapshot_is_used() {
    let test = test_log_with_a_stream().await;
    snapshot_at(&test, 5).await;
    let marked = mark_the_snapshot(&test).await;
    assert_eq!(
        loaded(&test).await,
        VersionedProduct {
            product: marked,
            sequence: 5,
            snapshot_sequence: 5
        }
    );
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
        let test = test_log_with_a_stream().await;
        snapshot_at(&test, 5).await;
        mark_the_snapshot(&test).await;
        test.execute(spoiling).await;
        assert_eq!(loaded(&test).await, folded(&test, 5).await, "{spoiling}");
    }
}

#[tokio::test]
async fn the_later_snapshot_is_kept_unless_it_is_of_other_code() {
    let test = test_log_with_a_stream().await;
    let kept = async || -> i64 {
        sqlx::query_scalar("select sequence from product_snapshots")
            .fetch_one(&test.pool)
            .await
            .unwrap()
    };
    snapshot_at(&test, 4).await;
    snapshot_at(&test, 2).await;
    assert_eq!(kept().await, 4);
    snapshot_at(&test, 5).await;
    assert_eq!(kept().await, 5);
    test.execute("update product_snapshots set code_version = 'another'")
        .await;
    snapshot_at(&test, 2).await;
    assert_eq!(kept().await, 2);
}

#[tokio::test]
async fn a_hole_in_a_stream_is_named_and_not_skipped() {
    let test = test_log_with_a_stream().await;
    test.tamper("delete from events where sequence = 3").await;
    let broken = test.log.load_product(product(1)).await;
    assert!(
        matches!(
            broken,
            Err(LogError::Broken {
                partition: 0,
                position: 4,
                ..
            })
        ),
        "{broken:?}"
    );
    let together = test.log.load_products(&[product(1), product(2)]).await;
    assert!(
        matches!(
            together[..],
            [Err(LogError::Broken { position: 4, .. }), Ok(_)]
        ),
        "{together:?}"
    );
}
