//! First pages of different users are read together by few statements, and each user gets their own.

use crate::held::Held;
use crate::read_side::{ReadSide, list};
use std::time::Duration;
use testbed::soon;

const USERS: i64 = 60;
const CONNECTIONS: u32 = 12;
/// Batches that are read at the same time.
const BATCHES: i64 = 2;
const HOLDINGS: &str = "/api/product/my/invest";

/// A user's one holding, of as many won as the user's number.
fn holding(user: i64) -> String {
    format!(
        r#"{{"productId":2,"userId":"user{user}","title":"product1","totalInvestingAmount":1000,"myInvestingAmount":{user},"investDate":"2021-09-27T09:00:00"}}"#
    )
}

/// All users but the last have a holding; the table is locked, and all have begun to read it.
async fn held() -> Held {
    let plain = ReadSide::new().await;
    let users = "from generate_series(1, 59) as n";
    plain
        .sql("insert into holdings_product values (2, 'product1', 1000)")
        .await;
    plain
        .sql(&format!(
            "insert into holdings select 'user' || n, 2, n, '2021-09-27T00:00:00Z' {users}"
        ))
        .await;
    plain
        .sql(&format!(
            "insert into holdings_count select 'user' || n, 2, 1 {users}"
        ))
        .await;
    let mut held = Held::reading(plain, "holdings", CONNECTIONS).await;
    (1..=USERS).for_each(|user| held.reads(&format!("user{user}"), HOLDINGS, 1));
    held.until_waiting(1).await;
    held
}

#[tokio::test]
async fn users_who_read_at_the_same_time_share_statements_and_get_their_own() {
    let mut held = held().await;
    // There is no sign that nothing more comes: long enough for the others, had they statements of their own.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(held.waiting().await <= BATCHES);
    let mut answers = held.answers().await;
    assert_eq!(answers.len() as i64, USERS);
    answers.sort_by_key(|(user, _)| user["user".len()..].parse::<i64>().unwrap());
    for ((user, answer), number) in answers.into_iter().zip(1..) {
        let expected = if number < USERS {
            list(1, &[&holding(number)])
        } else {
            list(0, &[])
        };
        assert_eq!((answer.status, answer.body), (200, expected), "{user}");
    }
}

#[tokio::test]
async fn readers_who_leave_hold_up_nobody() {
    let mut held = held().await;
    held.reads.shutdown().await;
    held.free().await;
    assert_eq!(
        soon(held.api.get_as("user7", HOLDINGS)).await.body,
        list(1, &[&holding(7)])
    );
}

/// As long as other reads of users: four seconds, and then they are told to come again.
#[tokio::test]
async fn readers_whose_batch_does_not_begin_are_refused_in_time() {
    let mut held = held().await;
    // With another one as many batches are read as may be, and who comes then waits for one of them to end.
    held.reads("user7", HOLDINGS, 1);
    held.until_waiting(BATCHES).await;
    held.reads("user8", HOLDINGS, 1);
    let (user, refused) = soon(held.reads.join_next()).await.unwrap().unwrap();
    assert!(["user7", "user8"].contains(&user.as_str()), "{user}");
    refused.is_refused(
        503,
        "OVERLOADED",
        "Overloaded and not accepted, try again later : ",
    );
}

#[tokio::test]
async fn a_batch_that_fails_is_an_error_of_each_and_the_next_is_read() {
    let mut held = held().await;
    held.plain
        .sql("alter table holdings_product rename to holdings_product_away")
        .await;
    let answers = held.answers().await;
    assert!(
        answers.iter().all(|(_, answer)| answer.status == 500),
        "{answers:?}"
    );
    held.plain
        .sql("alter table holdings_product_away rename to holdings_product")
        .await;
    assert_eq!(
        soon(held.api.get_as("user7", HOLDINGS)).await.body,
        list(1, &[&holding(7)])
    );
}
