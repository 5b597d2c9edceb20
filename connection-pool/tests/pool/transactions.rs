//! Transactions: what is begun ends, whatever becomes of whoever began it.

use crate::proxied_pool::{CONNECTIONS, ProxiedPool};
use connection_pool::Connection;
use futures::FutureExt as _;
use testbed::until;

async fn note(connection: &mut Connection, note: &str) {
    sqlx::query("insert into notes values ($1)")
        .bind(note)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_transaction_is_committed_or_rolled_back() {
    let test = ProxiedPool::new().await;
    let mut kept = test.pool.begin().await.unwrap();
    note(&mut kept, "kept").await;
    kept.commit().await.unwrap();
    let mut left = test.pool.begin().await.unwrap();
    note(&mut left, "left").await;
    drop(left);
    let mut back = test.pool.begin().await.unwrap();
    note(&mut back, "back").await;
    back.rollback().await.unwrap();
    // On the connection that had them open.
    sqlx::query("insert into notes values ('later')")
        .execute(&test.pool)
        .await
        .unwrap();
    assert_eq!(test.notes().await, ["kept", "later"]);
}

#[tokio::test]
async fn a_transaction_within_another_is_a_savepoint() {
    let test = ProxiedPool::new().await;
    let mut outer = test.pool.begin().await.unwrap();
    note(&mut outer, "outer").await;
    let mut inner = outer.begin().await.unwrap();
    note(&mut inner, "inner").await;
    drop(inner);
    note(&mut outer, "still outer").await;
    outer.commit().await.unwrap();
    assert_eq!(test.notes().await, ["outer", "still outer"]);
}

#[tokio::test]
async fn a_transaction_that_meets_a_lost_connection_begins_on_a_fresh_one() {
    let test = ProxiedPool::full().await;
    test.proxy.silence();
    let mut transaction = test.pool.begin().await.unwrap();
    note(&mut transaction, "once").await;
    transaction.commit().await.unwrap();
    assert_eq!(test.notes().await, ["once"]);
    test.is_whole().await;
}

/// sqlx does not know of a transaction whose begin was given up, and would hand it to the connection's next user.
#[tokio::test]
async fn a_begin_that_is_given_up_half_way_opens_no_transaction_for_the_next_user() {
    let test = ProxiedPool::full().await;
    for _ in 0..CONNECTIONS {
        let mut connection = test.pool.acquire().await.unwrap();
        // Polled until it has sent its statement, and given up.
        assert!(connection.begin().now_or_never().is_none());
    }
    for _ in 0..CONNECTIONS {
        sqlx::query("insert into notes values ('mine')")
            .execute(&test.pool)
            .await
            .unwrap();
    }
    until("all are noted", async || {
        test.notes().await.len() == CONNECTIONS as usize
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_is_not_answered_fails_within_its_bound() {
    let test = ProxiedPool::full().await;
    let mut transaction = test.pool.begin().await.unwrap();
    note(&mut transaction, "maybe").await;
    test.proxy.silence();
    transaction.commit().await.unwrap_err();
    test.is_whole().await;
}
