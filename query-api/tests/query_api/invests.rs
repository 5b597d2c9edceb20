//! A user's invest log, and one invest of it.

use crate::read_side::ReadSide;
use rstest::rstest;
use testbed::http::{refusal, success};

/// Three invests of user4, and one of user5.
async fn seeded() -> ReadSide {
    let api = ReadSide::new().await;
    api.sql("insert into invest_log_product values (2, 'product1', 60), (3, 'product2', 5)")
        .await;
    let invests = "insert into invest_log values
        ('00000000-0000-7000-8000-000000000001', 2, 'user4', 10, 'SETTLED', null, null, 10, 10,
         '2021-09-26T18:55:51Z', '2021-09-26T18:55:51.294487Z'),
        ('00000000-0000-7000-8000-000000000002', 3, 'user4', 5, 'FAILED', 'NOT_EXIST_PRODUCT', '3', 5, 5,
         '2021-09-26T18:56:00Z', '2021-09-26T18:56:01Z'),
        ('00000000-0000-7000-8000-000000000003', 2, 'user4', 20, 'RESERVED', null, null, 30, 60,
         '2021-09-26T18:57:00.5Z', '2021-09-26T18:57:00.5Z'),
        ('00000000-0000-7000-8000-000000000004', 2, 'user5', 30, 'RESERVED', null, null, 30, 40,
         '2021-09-26T18:56:30Z', '2021-09-26T18:56:30Z')";
    api.sql(invests).await;
    api.sql("insert into invest_log_user values ('user4', 2, 30, 2), ('user4', 3, 0, 1), ('user5', 2, 30, 1)").await;
    api
}

const SETTLED: &str = r#"{"investId":"00000000-0000-7000-8000-000000000001","productId":2,"title":"product1","investAmount":10,"investResult":"SUCCESS","failReason":null,"accrueUserInvest":10,"accrueProductInvest":10,"state":"SETTLED","requestedAt":"2021-09-27T03:55:51","updatedAt":"2021-09-27T03:55:51.294487"}"#;
const FAILED: &str = r#"{"investId":"00000000-0000-7000-8000-000000000002","productId":3,"title":"product2","investAmount":5,"investResult":"FAIL","failReason":"NOT_EXIST_PRODUCT : 3","accrueUserInvest":5,"accrueProductInvest":5,"state":"FAILED","requestedAt":"2021-09-27T03:56:00","updatedAt":"2021-09-27T03:56:01"}"#;
const RESERVED: &str = r#"{"investId":"00000000-0000-7000-8000-000000000003","productId":2,"title":"product1","investAmount":20,"investResult":"FAIL","failReason":"PENDING","accrueUserInvest":30,"accrueProductInvest":60,"state":"RESERVED","requestedAt":"2021-09-27T03:57:00.500000","updatedAt":"2021-09-27T03:57:00.500000"}"#;
const OF_USER_5: &str = r#"{"investId":"00000000-0000-7000-8000-000000000004","productId":2,"title":"product1","investAmount":30,"investResult":"FAIL","failReason":"PENDING","accrueUserInvest":30,"accrueProductInvest":40,"state":"RESERVED","requestedAt":"2021-09-27T03:56:30","updatedAt":"2021-09-27T03:56:30"}"#;

#[rstest]
#[case("user4", "?page=0&size=10", 3, &[RESERVED, FAILED, SETTLED])]
#[case("user4", "?page=1&size=2", 3, &[SETTLED])]
#[case("user4", "?page=2&size=2", 3, &[])]
#[case("user4", "?productId=2", 2, &[RESERVED, SETTLED])]
#[case("user4", "?productId=2&page=1&size=1", 2, &[SETTLED])]
#[case("user4", "?productId=9", 0, &[])]
#[case("user5", "", 1, &[OF_USER_5])]
#[case("user5", "?productId=3", 0, &[])]
#[case("user6", "", 0, &[])]
#[tokio::test]
async fn each_user_sees_only_their_own(
    #[case] user: &str,
    #[case] query: &str,
    #[case] total_count: i64,
    #[case] items: &[&str],
) {
    let api = seeded().await;
    api.shows(user, &format!("/api/invest/log{query}"), total_count, items)
        .await;
}

#[rstest]
#[case("user4", 1, SETTLED)]
#[case("user4", 2, FAILED)]
#[case("user4", 3, RESERVED)]
#[case("user5", 4, OF_USER_5)]
#[tokio::test]
async fn one_invest_as_in_the_log(#[case] user: &str, #[case] id: u32, #[case] item: &str) {
    let api = seeded().await;
    let answer = api
        .get_as(
            user,
            &format!("/api/invest/log/00000000-0000-7000-8000-00000000000{id}"),
        )
        .await;
    assert_eq!((answer.status, answer.body), (200, success(item)));
}

/// In the words of a failed one; the state says what it is.
#[rstest]
#[case("WITHDRAWN", "WITHDRAWN", "the user withdrew the invest")]
#[case("REFUNDED", "WITHDRAWN", "the user withdrew the invest")]
#[case("REFUNDED", "CANCELLED", "the product was cancelled by its operator")]
#[tokio::test]
async fn what_was_given_back_says_why(
    #[case] state: &str,
    #[case] code: &str,
    #[case] detail: &str,
) {
    let api = seeded().await;
    let given_back = format!(
        "update invest_log set state = '{state}', fail_code = '{code}', fail_detail = '{detail}'"
    );
    api.sql(&format!("{given_back} where state = 'SETTLED'"))
        .await;
    let told = format!(r#""investResult":"FAIL","failReason":"{code} : {detail}""#);
    let item = SETTLED.replace(r#""investResult":"SUCCESS","failReason":null"#, &told);
    let item = item.replace(r#""state":"SETTLED""#, &format!(r#""state":"{state}""#));
    api.shows(
        "user4",
        "/api/invest/log?productId=2&page=1&size=1",
        2,
        &[&item],
    )
    .await;
    let answer = api
        .get_as(
            "user4",
            "/api/invest/log/00000000-0000-7000-8000-000000000001",
        )
        .await;
    assert_eq!((answer.status, answer.body), (200, success(&item)));
}

#[tokio::test]
async fn anothers_invest_and_an_unknown_one_are_the_same_404() {
    let api = seeded().await;
    for id in [
        "00000000-0000-7000-8000-000000000004",
        "00000000-0000-7000-8000-000000000009",
    ] {
        let answer = api.get_as("user4", &format!("/api/invest/log/{id}")).await;
        assert_eq!(
            (answer.status, answer.body),
            (404, refusal(404, "404", "Not found : "))
        );
    }
}
