//! First pages of different users are read together by few statements, and each user gets their own.

use crate::read_side::{ReadSide, list};
use connection_pool::{Pool, Transaction};
use sqlx::postgres::PgPoolOptions;
use std::sync::Arc;
use std::time::Duration;
use testbed::http::Answer;
use testbed::{soon, until};
use tokio::task::JoinSet;

const USERS: i64 = 60;
const CONNECTIONS: u32 = 12;
/// Batches that are read at the same time.
const BATCHES: i64 = 2;

/// Sixty users with one holding each, of as many won as their number, and a lock that holds whoever reads them.
struct Held {
    plain: ReadSide,
    api: Arc<ReadSide>,
    lock: Transaction<'static>,
    reads: JoinSet<(i64, Answer)>,
}

fn holding(user: i64) -> String {
    format!(
        r#"{{"productId":2,"userId":"user{user}","title":"product1","totalInvestingAmount":1000,"myInvestingAmount":{user},"investDate":"2021-09-27T09:00:00"}}"#
    )
}

async fn read(api: &ReadSide, user: i64) -> Answer {
    api.get_as(&format!("user{user}"), "/api/product/my/invest").await
}

impl Held {
    async fn new() -> Self {
        let plain = ReadSide::new().await;
        plain.sql("insert into holdings_product values (2, 'product1', 1000)").await;
        plain
            .sql("insert into holdings select 'user' || n, 2, n, '2021-09-27T00:00:00Z' from generate_series(1, 59) as n")
            .await;
        plain.sql("insert into holdings_count select 'user' || n, 2, 1 from generate_series(1, 59) as n").await;
        let options = (*plain.pool.inner().connect_options()).clone().application_name("batches");
        let pool =
            PgPoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await.map(Pool::from).unwrap();
        let mut lock = plain.pool.begin().await.unwrap();
        sqlx::query("lock table holdings in access exclusive mode").execute(&mut *lock).await.unwrap();
        Self { api: Arc::new(plain.with_pool(pool)), plain, lock, reads: JoinSet::new() }
    }

    fn all_read(&mut self) {
        for user in 1..=USERS {
            let api = self.api.clone();
            self.reads.spawn(async move { (user, read(&api, user).await) });
        }
    }

    /// How many of its connections wait for the lock.
    async fn waiting(&self) -> i64 {
        let sql = "select count(*) from pg_stat_activity
                    where application_name = 'batches' and wait_event_type = 'Lock' and datname = current_database()";
        sqlx::query_scalar(sql).fetch_one(&self.plain.pool).await.unwrap()
    }

    async fn until_held(&self) {
        until("the first batch waits for the lock", async || self.waiting().await > 0).await;
    }
}

/// The last one has no holding.
#[tokio::test]
async fn users_who_read_at_the_same_time_share_statements_and_get_their_own() {
    let mut held = Held::new().await;
    held.all_read();
    held.until_held().await;
    // Long enough for the others to have come, had they statements of their own.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(held.waiting().await <= BATCHES);
    held.lock.rollback().await.unwrap();
    let answers = soon(held.reads.join_all()).await;
    assert_eq!(answers.len() as i64, USERS);
    for (user, answer) in answers {
        let expected = if user < USERS { list(1, &[&holding(user)]) } else { list(0, &[]) };
        assert_eq!((answer.status, answer.body), (200, expected), "user{user}");
    }
}

#[tokio::test]
async fn readers_who_leave_hold_up_nobody() {
    let mut held = Held::new().await;
    held.all_read();
    held.until_held().await;
    held.reads.shutdown().await;
    held.lock.rollback().await.unwrap();
    assert_eq!(soon(read(&held.api, 7)).await.body, list(1, &[&holding(7)]));
}

#[tokio::test]
async fn a_batch_that_fails_is_an_error_of_each_and_the_next_is_read() {
    let mut held = Held::new().await;
    held.plain.sql("alter table holdings_product rename to holdings_product_away").await;
    held.all_read();
    held.lock.rollback().await.unwrap();
    let answers = soon(held.reads.join_all()).await;
    assert!(answers.iter().all(|(_, answer)| answer.status == 500), "{answers:?}");
    held.plain.sql("alter table holdings_product_away rename to holdings_product").await;
    assert_eq!(soon(read(&held.api, 7)).await.body, list(1, &[&holding(7)]));
}
