//! A log is created once and is the same one ever after.

use crate::support::*;
use event_log::{Log, LogError};
use testbed::Database;

#[tokio::test]
async fn a_log_keeps_its_identity() {
    let test = TestLog::with_partitions(4).await;
    let again = test.another_process().await;
    assert_eq!(again.identity(), test.log.identity());
    assert_eq!(again.partitions().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(again.partition_of(product(6)), 2);
}

#[tokio::test]
async fn two_logs_are_not_the_same() {
    let (one, other) = (
        TestLog::with_one_partition().await,
        TestLog::with_one_partition().await,
    );
    assert_ne!(one.log.identity().log_id, other.log.identity().log_id);
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_a_sentence() {
    let test = TestLog::with_partitions(4).await;
    for wrong in [5, 65, 0, -1] {
        let refused = Log::open(test.pool.clone(), wrong).await.err().unwrap();
        assert!(matches!(refused, LogError::Mismatch(_)), "{refused:?}");
        assert_eq!(
            refused.to_string(),
            format!(
                "this log was created with 4 partitions, which cannot change: set partitions to 4, not {wrong}"
            )
        );
    }
}

#[tokio::test]
async fn a_new_log_has_1_to_64_partitions() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    for wrong in [0, 65] {
        let refused = Log::open(pool.clone(), wrong).await.err().unwrap();
        assert!(matches!(refused, LogError::Mismatch(_)), "{refused:?}");
        assert!(refused.to_string().contains("1 to 64"), "{refused}");
    }
    assert_eq!(Log::partitions_of(&pool).await.unwrap(), None);
    Log::open(pool.clone(), 64).await.unwrap();
    assert_eq!(Log::partitions_of(&pool).await.unwrap(), Some(64));
}

#[tokio::test]
async fn processes_that_create_the_log_at_once_agree() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let opened = futures::future::join_all((0..8).map(|_| Log::open(pool.clone(), 3))).await;
    let mut identities: Vec<_> = opened
        .into_iter()
        .map(|log| *log.unwrap().identity())
        .collect();
    identities.dedup();
    assert_eq!(identities.len(), 1);
}

#[tokio::test]
async fn product_ids_are_never_given_twice() {
    let test = TestLog::with_one_partition().await;
    let first = test.log.next_product_id().await.unwrap();
    let second = test
        .another_process()
        .await
        .next_product_id()
        .await
        .unwrap();
    assert_eq!((first, second), (product(1), product(2)));
}
