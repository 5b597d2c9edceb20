//! What a user has invested, in sums.

use crate::read_side::ReadSide;
use rstest::rstest;
use testbed::http::success;

/// user4 in four products, of which nothing is left in one, and the earliest invest is in the last; user5 in one, where all of it failed.
async fn seeded() -> ReadSide {
    let api = ReadSide::new().await;
    let summaries = "insert into investor_summary values
        ('user4', 1, 1, 40, 0, 1, '2021-09-26T18:55:51.294487Z', '2021-09-27T01:00:00Z'),
        ('user4', 2, 1, 0, 7, 0, '2021-09-26T19:55:51.294487Z', '2021-09-26T19:55:51.294487Z'),
        ('user4', 3, 1, 0, 30, 0, '2021-09-26T18:11:01.981852Z', '2021-09-26T18:11:02Z'),
        ('user4', 4, 0, 0, 0, 2, '2021-09-26T18:12:00Z', '2021-09-26T18:12:00Z'),
        ('user5', 3, 0, 0, 0, 1, '2021-09-26T19:00:00Z', '2021-09-26T19:00:00Z')";
    api.sql(summaries).await;
    api
}

const OF_USER_4: &str = r#"{"userId":"user4","productCount":3,"settledAmount":40,"reservedAmount":37,"failedCount":3,"firstInvestDate":"2021-09-27T03:11:01.981852","lastInvestDate":"2021-09-27T10:00:00"}"#;
const OF_USER_5: &str = r#"{"userId":"user5","productCount":0,"settledAmount":0,"reservedAmount":0,"failedCount":1,"firstInvestDate":"2021-09-27T04:00:00","lastInvestDate":"2021-09-27T04:00:00"}"#;
const OF_USER_6: &str = r#"{"userId":"user6","productCount":0,"settledAmount":0,"reservedAmount":0,"failedCount":0,"firstInvestDate":null,"lastInvestDate":null}"#;

#[rstest]
#[case("user4", OF_USER_4)]
#[case("user5", OF_USER_5)]
#[case::who_never_invested("user6", OF_USER_6)]
#[tokio::test]
async fn each_user_sees_only_their_own(#[case] user: &str, #[case] summary: &str) {
    let api = seeded().await;
    let answer = api.get_as(user, "/api/product/my/summary").await;
    assert_eq!((answer.status, answer.body), (200, success(summary)));
}
