//! The list of open products, and one product.

use crate::read_side::{ReadSide, list};
use rstest::rstest;
use testbed::http::{refusal, success};

const OPEN: (&str, &str) = ("-1 day", "1 day");

/// The seed's two products, with windows that end far from now.
async fn seeded() -> ReadSide {
    let api = ReadSide::new().await;
    let insert = "insert into product_list (product_id, title, total_amount, current_amount, invest_users, started_at,
                  finished_at) values
                  (2, 'product1', 1000, 210, 3, '2021-09-25T18:02:16.953372Z', '2121-10-16T15:00:00Z'),
                  (3, 'product2', 100, 100, 4, '2021-09-26T18:08:23.115211Z', '2121-10-16T15:00:00Z')";
    api.sql(insert).await;
    api
}

const PRODUCT_3: &str = r#"{"productId":3,"title":"product2","totalInvestingAmount":100,"currentInvestingAmount":100,"investingCnt":4,"startedAt":"2021-09-27T03:08:23.115211","finishedAt":"2121-10-17T00:00:00","investStatus":"COMPLETE"}"#;
const PRODUCT_2: &str = r#"{"productId":2,"title":"product1","totalInvestingAmount":1000,"currentInvestingAmount":210,"investingCnt":3,"startedAt":"2021-09-26T03:02:16.953372","finishedAt":"2121-10-17T00:00:00","investStatus":"ONGOING"}"#;

#[tokio::test]
async fn the_seeds_list() {
    let api = seeded().await;
    let answer = api.get("/api/product?page=0&size=10").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body, list(2, &[PRODUCT_3, PRODUCT_2]));
}

#[tokio::test]
async fn nothing_open_is_an_empty_list() {
    let api = ReadSide::new().await;
    assert_eq!(api.get("/api/product").await.body, list(0, &[]));
}

#[tokio::test]
async fn only_open_products_are_listed_and_counted() {
    let api = ReadSide::new().await;
    api.product(1, 100, 0, ("-2 days", "-1 day")).await;
    api.product(2, 100, 0, OPEN).await;
    api.product(3, 100, 0, ("1 day", "2 days")).await;
    api.product(4, 100, 0, OPEN).await;
    for product_id in 5..=7 {
        api.product(product_id, 100, 0, OPEN).await;
    }
    for (product_id, end) in [
        (4, "closed = true"),
        (6, "cancel_reason = 'a reason'"),
        (7, "failed = true"),
    ] {
        api.sql(&format!(
            "update product_list set {end} where product_id = {product_id}"
        ))
        .await;
    }
    let answer = api.get("/api/product").await;
    assert_eq!(
        (answer.total_count(), answer.each("productId")),
        (2, vec![5.into(), 2.into()])
    );
}

/// `startedAt` itself is inside, `finishedAt` itself is not: the clock has passed the instant that was now.
#[tokio::test]
async fn a_window_ends_before_its_end() {
    let api = ReadSide::new().await;
    api.product(1, 100, 0, ("0 seconds", "1 day")).await;
    api.product(2, 100, 0, ("-1 day", "0 seconds")).await;
    assert_eq!(api.get("/api/product").await.each("productId"), [1]);
}

#[rstest]
#[case("", &[5, 4, 3, 2, 1])]
#[case("?page=0&size=2", &[5, 4])]
#[case("?page=1&size=2", &[3, 2])]
#[case("?page=2&size=2", &[1])]
#[case("?page=3&size=2", &[])]
#[case("?page=1000000000&size=1000", &[])]
#[case("?size=1&other=x", &[5])]
#[tokio::test]
async fn pages(#[case] query: &str, #[case] shown: &[i64]) {
    let api = ReadSide::new().await;
    for product_id in 1..=5 {
        api.product(product_id, 100, 0, OPEN).await;
    }
    let answer = api.get(&format!("/api/product{query}")).await;
    assert_eq!(answer.total_count(), 5);
    assert_eq!(answer.each("productId"), shown);
}

#[tokio::test]
async fn one_product_as_in_the_list() {
    let api = seeded().await;
    assert_eq!(api.get("/api/product/3").await.body, success(PRODUCT_3));
    assert_eq!(api.get("/api/product/2").await.body, success(PRODUCT_2));
}

#[rstest]
#[case(("-2 days", "-1 day"), 99, false, "FINISHED")]
#[case(("-2 days", "-1 day"), 100, false, "FINISHED")]
#[case(("-1 day", "0 seconds"), 99, false, "FINISHED")]
#[case(("1 day", "2 days"), 0, false, "UPCOMING")]
#[case(OPEN, 99, false, "ONGOING")]
#[case(("0 seconds", "1 day"), 99, false, "ONGOING")]
#[case(OPEN, 100, false, "COMPLETE")]
#[case(OPEN, 99, true, "CLOSED")]
#[case(("-2 days", "-1 day"), 99, true, "CLOSED")]
#[case(("1 day", "2 days"), 0, true, "CLOSED")]
#[tokio::test]
async fn one_product_is_shown_with_its_true_status(
    #[case] window: (&str, &str),
    #[case] taken: i64,
    #[case] closed: bool,
    #[case] status: &str,
) {
    let api = ReadSide::new().await;
    api.product(1, 100, taken, window).await;
    api.sql(&format!("update product_list set closed = {closed}"))
        .await;
    let answer = api.get("/api/product/1").await;
    let told = format!(r#""investStatus":"{status}""#);
    assert!(
        answer.body.contains(r#""productId":1"#) && answer.body.contains(&told),
        "{}",
        answer.body
    );
}

/// In the list a product is as ever.
#[tokio::test]
async fn one_product_is_shown_with_its_terms() {
    let api = seeded().await;
    api.sql(
        "update product_list set min_invest_amount = 100, max_amount_per_user = 500, target_amount = 600,
                                 withdrawable_until = '2021-10-01T15:00:00.5Z'
          where product_id = 2",
    )
    .await;
    let with_terms = format!(
        r#"{},"terms":{{"minInvestAmount":100,"maxAmountPerUser":500,"targetAmount":600,"withdrawableUntil":"2021-10-02T00:00:00.500000"}}}}"#,
        PRODUCT_2.strip_suffix('}').unwrap()
    );
    assert_eq!(api.get("/api/product/2").await.body, success(&with_terms));
    assert_eq!(
        api.get("/api/product").await.body,
        list(2, &[PRODUCT_3, PRODUCT_2])
    );
}

#[rstest]
#[case::open(OPEN, false)]
#[case::closed(OPEN, true)]
#[case::over(("-2 days", "-1 day"), false)]
#[case::to_come(("1 day", "2 days"), false)]
#[tokio::test]
async fn a_cancelled_product_says_why_and_a_failed_one_that_it_failed(
    #[case] window: (&str, &str),
    #[case] closed: bool,
) {
    let api = ReadSide::new().await;
    api.product(1, 100, 0, window).await;
    api.product(2, 100, 0, window).await;
    api.sql(&format!("update product_list set closed = {closed}"))
        .await;
    api.sql(
        "update product_list set cancel_reason = 'the orchard burnt down' where product_id = 1",
    )
    .await;
    api.sql("update product_list set failed = true where product_id = 2")
        .await;
    let answer = api.get("/api/product/1").await;
    let told = r#""investStatus":"CANCELLED","cancelReason":"the orchard burnt down"}"#;
    assert!(answer.body.contains(told), "{}", answer.body);
    let answer = api.get("/api/product/2").await;
    assert!(
        answer.body.contains(r#""investStatus":"FAILED"}"#),
        "{}",
        answer.body
    );
    for (status, shown) in [
        ("CANCELLED", &[1][..]),
        ("FAILED", &[2]),
        ("CANCELLED,FAILED", &[2, 1]),
    ] {
        let answer = api.get(&format!("/api/product?status={status}")).await;
        assert_eq!(
            (answer.total_count(), answer.each("productId")),
            (
                shown.len() as i64,
                shown.iter().map(|id| (*id).into()).collect()
            )
        );
    }
    let others = api
        .get("/api/product?status=UPCOMING,ONGOING,COMPLETE,FINISHED,CLOSED")
        .await;
    assert_eq!(others.total_count(), 0);
}

#[tokio::test]
async fn products_are_listed_by_their_status() {
    let api = ReadSide::new().await;
    for (product_id, taken, window) in [
        (1, 0, ("-2 days", "-1 day")),
        (2, 100, ("-2 days", "-1 day")),
        (3, 0, ("1 day", "2 days")),
        (4, 99, OPEN),
        (5, 100, OPEN),
        (6, 0, OPEN),
        (7, 0, ("1 day", "2 days")),
    ] {
        api.product(product_id, 100, taken, window).await;
    }
    api.sql("update product_list set closed = true where product_id in (6, 7)")
        .await;
    for product_id in [8, 9] {
        api.product(product_id, 100, 0, OPEN).await;
    }
    api.sql(
        "update product_list set cancel_reason = 'a reason', closed = true where product_id = 8",
    )
    .await;
    api.sql("update product_list set failed = true where product_id = 9")
        .await;
    for (query, shown) in [
        ("UPCOMING", &[3][..]),
        ("ONGOING", &[4]),
        ("COMPLETE", &[5]),
        ("FINISHED", &[2, 1]),
        ("CLOSED", &[7, 6]),
        ("CANCELLED", &[8]),
        ("FAILED", &[9]),
        ("CANCELLED,FAILED", &[9, 8]),
        ("ONGOING,COMPLETE", &[5, 4]),
        ("UPCOMING,FINISHED", &[3, 2, 1]),
        ("FINISHED,FINISHED", &[2, 1]),
    ] {
        let answer = api.get(&format!("/api/product?status={query}")).await;
        assert_eq!(answer.each("productId"), shown, "{query}");
        assert_eq!(answer.total_count(), shown.len() as i64, "{query}");
        let wanted: Vec<_> = query.split(',').collect();
        assert!(
            answer
                .each("investStatus")
                .iter()
                .all(|status| wanted.contains(&status.as_str().unwrap())),
            "{query}"
        );
    }
    let page = api
        .get("/api/product?status=UPCOMING,ONGOING,COMPLETE,FINISHED,CLOSED&page=1&size=3")
        .await;
    assert_eq!(
        (page.total_count(), page.each("productId")),
        (7, vec![4.into(), 3.into(), 2.into()])
    );
    let words = "UPCOMING, ONGOING, COMPLETE, FINISHED, CLOSED, CANCELLED, FAILED";
    for wrong in ["", "OPEN", "ongoing", "ONGOING,"] {
        let what = format!("status must be a list of {words}, was {wrong}");
        api.get(&format!("/api/product?status={wrong}"))
            .await
            .is_invalid(&what);
    }
}

#[tokio::test]
async fn an_unknown_product_does_not_exist() {
    let api = ReadSide::new().await;
    let answer = api.get("/api/product/7").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        refusal(200, "NOT_EXIST_PRODUCT", "Not exist product : ")
    );
}
