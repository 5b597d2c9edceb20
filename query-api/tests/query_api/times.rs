//! Times: local to the zone that a header names, or with their offset.

use crate::read_side::ReadSide;

/// One row in every view, each with the same time.
async fn with_one_of_each() -> ReadSide {
    let api = ReadSide::new().await;
    let at = "'2021-09-26T18:11:01.981852Z'";
    let id = "00000000-0000-7000-8000-000000000001";
    for sql in [
        format!(
            "insert into product_list (product_id, title, total_amount, current_amount, invest_users, started_at, finished_at,
                                       withdrawable_until)
             values (3, 'product2', 100, 30, 1, {at}, '2121-10-16T15:00:00Z', {at})"
        ),
        "insert into holdings_product values (3, 'product2', 100)".into(),
        format!("insert into holdings values ('user4', 3, 30, {at})"),
        "insert into holdings_count values ('user4', 3, 1)".into(),
        "insert into invest_log_product values (3, 'product2', 30)".into(),
        format!("insert into invest_log values ('{id}', 3, 'user4', 30, 'SETTLED', null, null, 30, 30, {at}, {at})"),
        "insert into invest_log_user values ('user4', 3, 30, 1)".into(),
        format!("insert into investor_summary values ('user4', 3, 1, 30, 0, 0, {at}, {at})"),
    ] {
        api.sql(&sql).await;
    }
    api
}

#[tokio::test]
async fn every_view_shows_times_with_their_offset_when_asked() {
    let api = with_one_of_each().await;
    let local = r#":"2021-09-27T03:11:01.981852""#;
    let with_offset = r#":"2021-09-27T03:11:01.981852+09:00""#;
    for path in [
        "/api/product",
        "/api/product?status=ONGOING",
        "/api/product/3",
        "/api/product/my/invest",
        "/api/product/my/summary",
        "/api/invest/log",
        "/api/invest/log?productId=3",
        "/api/invest/log/00000000-0000-7000-8000-000000000001",
    ] {
        let plain = api.get_as("user4", path).await;
        assert_eq!(plain.header("x-time-zone"), Some("Asia/Seoul"), "{path}");
        assert!(
            plain.body.contains(local) && !plain.body.contains("+09:00"),
            "{path}: {}",
            plain.body
        );
        let asked = format!(
            "{path}{}times=offset",
            if path.contains('?') { '&' } else { '?' }
        );
        let answer = api.get_as("user4", &asked).await;
        assert_eq!(answer.body.replace("+09:00", ""), plain.body, "{path}");
        assert!(
            answer.body.contains(with_offset) && !answer.body.contains(local),
            "{path}: {}",
            answer.body
        );
        let wrong = asked.replace("=offset", "=utc");
        api.get_as("user4", &wrong)
            .await
            .is_invalid("times must be offset, or left out, was utc");
    }
}
