//! Personal data is refused at the door: what comes in is kept for ever.

use crate::app::product;
use crate::fates::reserves;
use crate::write_side::WriteSide;
use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

#[rstest]
#[case("문의 kim@example.com", "an e-mail address")]
#[case("홍길동 900101-1234567", "a resident registration number")]
#[case("010-1234-5678", "a phone number")]
#[case("4111-1111-1111-1111", "a card number")]
#[tokio::test]
async fn a_title_with_personal_data_is_refused_and_not_repeated(
    #[case] title: &str,
    #[case] seen: &str,
) {
    let (test, app) = WriteSide::with_app(4).await;
    let asked = json!({
        "title": title, "totalInvestingAmount": 0,
        "startedAt": "2021-10-17T00:00:00", "finishedAt": "2999-10-17T00:00:00",
    });
    let answer = app
        .admin("/admin/product")
        .body(asked.to_string())
        .sent()
        .await;
    // With all else that is wrong.
    answer.is_invalid(&format!(
        "title must hold no personal data: it seems to hold {seen}; \
         totalInvestingAmount must be a whole number from 1 to 1000000000000, was 0"
    ));
    assert_eq!(test.events().await, []);
}

#[tokio::test]
async fn a_user_is_not_named_by_a_resident_number() {
    let (test, app) = WriteSide::with_app(4).await;
    let opened = app.opens(100).await;
    for user in ["900101-1234567", "kim.900101-1234567"] {
        let answer = app.invest(opened, 1).by(user).sent().await;
        answer.is_invalid(
            "X-USER-ID must be a pseudonym: it seems to hold a resident registration number",
        );
        answer.is_silent_about("x-invest-id");
    }
    assert_eq!(test.reservations().await, []);
    app.invest(opened, 1)
        .by("901301-1234567")
        .sent()
        .await
        .is_ok();
}

/// As any other that cannot be kept.
#[tokio::test]
async fn a_correlation_id_that_holds_a_resident_number_is_replaced() {
    let (test, app) = WriteSide::with_app(4).await;
    let opened = app.opens(100).await;
    let answer = app
        .invest(opened, 1)
        .correlation_id("900101-1234567")
        .sent()
        .await;
    let fresh = answer.is_ok().header("x-correlation-id").unwrap();
    assert!(fresh.parse::<Uuid>().is_ok(), "{fresh}");
    assert_eq!(test.reservations().await[0].metadata.correlation_id, fresh);
}

/// What is in the log already is read and followed, whatever is refused today.
#[tokio::test]
async fn what_was_kept_before_still_works() {
    let test = WriteSide::with_one_partition().await;
    {
        let before = test.app().await;
        let opened = before.opens(100).await;
        reserves(&before, opened, 1).await;
    }
    test.tamper(
        "update events set payload = replace(payload::text, 'user1', '900101-1234567')::json",
    )
    .await;
    test.tamper(
        "update events set payload = replace(payload::text, 'product1', 'kim@example.com')::json",
    )
    .await;
    assert_eq!(
        test.count("events where payload::text ~ 'kim@example.com|900101-1234567'")
            .await,
        2
    );

    let app = test.app().await;
    app.invest(product(1), 100).sent().await.is_sold_out(99);
    app.invest(product(1), 99).sent().await.is_ok();
}
