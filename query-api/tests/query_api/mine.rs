//! A user's holdings.

use crate::read_side::ReadSide;
use rstest::rstest;

/// The seed's holdings of user4, and one of another user.
async fn seeded() -> ReadSide {
    let api = ReadSide::new().await;
    api.sql("insert into holdings_product values (2, 'product1', 1000), (3, 'product2', 100)")
        .await;
    let holdings = "insert into holdings values
                    ('user4', 3, 30, '2021-09-26T18:11:01.981852Z'),
                    ('user4', 2, 10, '2021-09-26T18:55:51.294487Z'),
                    ('user5', 3, 70, '2021-09-26T19:00:00Z')";
    api.sql(holdings).await;
    api.sql("insert into holdings_count values ('user4', 2, 1), ('user4', 3, 1), ('user5', 3, 1)")
        .await;
    api
}

const HOLDING_2: &str = r#"{"productId":2,"userId":"user4","title":"product1","totalInvestingAmount":1000,"myInvestingAmount":10,"investDate":"2021-09-27T03:55:51.294487"}"#;
const HOLDING_3: &str = r#"{"productId":3,"userId":"user4","title":"product2","totalInvestingAmount":100,"myInvestingAmount":30,"investDate":"2021-09-27T03:11:01.981852"}"#;
const OF_USER_5: &str = r#"{"productId":3,"userId":"user5","title":"product2","totalInvestingAmount":100,"myInvestingAmount":70,"investDate":"2021-09-27T04:00:00"}"#;

#[rstest]
#[case("user4", "?page=0&size=10", 2, &[HOLDING_2, HOLDING_3])]
#[case("user4", "?size=1", 2, &[HOLDING_2])]
#[case("user4", "?size=1&page=1", 2, &[HOLDING_3])]
#[case("user4", "?size=1&page=2", 2, &[])]
#[case("user5", "", 1, &[OF_USER_5])]
#[case("user6", "", 0, &[])]
#[tokio::test]
async fn each_user_sees_only_their_own(
    #[case] user: &str,
    #[case] query: &str,
    #[case] total_count: i64,
    #[case] items: &[&str],
) {
    let api = seeded().await;
    api.shows(
        user,
        &format!("/api/product/my/invest{query}"),
        total_count,
        items,
    )
    .await;
}
