//! What is wrong with a request is told field by field, before anything is asked of a processor.

use crate::write_side::WriteSide;
use rstest::rstest;
use testbed::http::Answer;

/// The answer to this body of `user1`'s; nothing came of it.
async fn answer_to(body: impl AsRef<[u8]>) -> Answer {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    assert_eq!(product.get(), 1, "the bodies below are about it");
    let answer = app.invests(body).by("user1").sent().await;
    assert_eq!(test.events().await.len(), 1);
    answer
}

const PLAIN: &str = "must be a whole number without quotes, fraction or exponent";

#[rstest]
#[case::fraction("1.0")]
#[case::exponent("1e3")]
#[case::quoted(r#""100""#)]
#[case::empty_string(r#""""#)]
#[case::negative_zero("-0")]
#[case::boolean("true")]
#[case::null("null")]
#[case::array("[1]")]
#[case::object(r#"{"a":1}"#)]
#[tokio::test]
async fn a_number_is_written_plainly(
    #[values("productId", "investAmount")] field: &str,
    #[case] given: &str,
) {
    let body = r#"{"productId":1,"investAmount":1}"#
        .replace(&format!(r#""{field}":1"#), &format!(r#""{field}":{given}"#));
    answer_to(body)
        .await
        .is_invalid(&format!("{field} {PLAIN}, was {given}"));
}

const AMOUNT: &str = "investAmount must be a whole number from 1 to 1000000000000";

#[rstest]
#[case(
    r#"{"productId":0,"investAmount":1}"#,
    "productId must be a whole number from 1, was 0"
)]
#[case(
    r#"{"productId":-1,"investAmount":1}"#,
    "productId must be a whole number from 1, was -1"
)]
#[case(
    r#"{"productId":9223372036854775808,"investAmount":1}"#,
    "productId must be a whole number nearer to zero, was 9223372036854775808"
)]
#[case(r#"{"productId":1,"investAmount":0}"#, &format!("{AMOUNT}, was 0"))]
#[case(r#"{"productId":1,"investAmount":-1}"#, &format!("{AMOUNT}, was -1"))]
#[case(r#"{"productId":1,"investAmount":1000000000001}"#, &format!("{AMOUNT}, was 1000000000001"))]
#[case(
    r#"{"productId":1,"investAmount":12345678901234567890123456789012345678901234567890}"#,
    "investAmount must be a whole number nearer to zero, was 1234567890123456789012345678901234567890…"
)]
#[case(r#"{"investAmount":1}"#, "productId is missing")]
#[case(r#"{"productId":1}"#, "investAmount is missing")]
#[case(r#"{}"#, "productId is missing; investAmount is missing")]
#[case(
    r#"{"productid":1,"InvestAmount":1}"#,
    "productId is missing; investAmount is missing"
)]
#[case(
    r#"{"productId":1,"productId":1,"investAmount":1}"#,
    "productId is repeated"
)]
#[case(
    r#"{"productId":1,"investAmount":1,"investAmount":2}"#,
    "investAmount is repeated"
)]
#[case(r#"{"productId":"a","investAmount":0}"#, &format!(r#"productId {PLAIN}, was "a"; {AMOUNT}, was 0"#))]
#[tokio::test]
async fn every_field_that_is_wrong_is_named(#[case] body: &str, #[case] what: &str) {
    answer_to(body)
        .await
        .is_invalid(what)
        .is_silent_about("x-invest-id")
        .is_silent_about("x-consistency-token");
}

const OBJECT: &str = "body must be one JSON object";

#[rstest]
#[case::empty(b"".as_slice(), OBJECT)]
#[case::no_json(b"productId=1", OBJECT)]
#[case::cut_off(br#"{"productId":1,"investAmount":1"#, OBJECT)]
#[case::array(br#"[{"productId":1,"investAmount":1}]"#, OBJECT)]
#[case::null(b"null", OBJECT)]
#[case::two_objects(br#"{"productId":1,"investAmount":1}{}"#, OBJECT)]
#[case::leading_zero(br#"{"productId":01,"investAmount":1}"#, OBJECT)]
#[case::plus(br#"{"productId":+1,"investAmount":1}"#, OBJECT)]
#[case::trailing_comma(br#"{"productId":1,"investAmount":1,}"#, OBJECT)]
#[case::nul(b"{\"productId\":1,\"investAmount\":1\0}", OBJECT)]
#[case::byte_order_mark(b"\xef\xbb\xbf{\"productId\":1,\"investAmount\":1}", OBJECT)]
#[case::not_utf8(
    b"{\"productId\":1,\"investAmount\":1,\"\xff\":1}",
    "body must be UTF-8"
)]
#[tokio::test]
async fn a_body_is_one_json_object(#[case] body: &[u8], #[case] what: &str) {
    answer_to(body).await.is_invalid(what);
}

#[tokio::test]
async fn a_body_is_not_nested_deep() {
    let body = format!(
        r#"{{"productId":1,"investAmount":1,"deep":{}{}}}"#,
        "[".repeat(32),
        "]".repeat(32)
    );
    answer_to(body)
        .await
        .is_invalid("body must not be nested deeper than 32");
}

#[rstest]
#[case(r#"{"productId":1,"investAmount":1,"note":"\u0000","more":{"investAmount":null}}"#)]
#[case("\n{ \"investAmount\" : 1 ,\t\"productId\" : 1 }\n")]
#[case(r#"{"\u0070roductId":1,"investAmount":1}"#)]
#[tokio::test]
async fn what_does_not_matter_is_ignored(#[case] body: &str) {
    let (_test, app) = WriteSide::with_app(4).await;
    app.opens(1_000_000_000_000).await;
    app.invests(body).by("user1").sent().await.is_ok();
}

#[tokio::test]
async fn the_largest_amount_is_an_amount() {
    let (_test, app, product) = WriteSide::with_product(4, 1_000_000_000_000).await;
    app.invest(product, 1_000_000_000_000).sent().await.is_ok();
    app.invest(product, 1_000_000_000_000)
        .sent()
        .await
        .is_sold_out(0);
}

#[rstest]
#[case::empty(&[""], "must be 1 to 255 visible ASCII characters")]
#[case::with_a_space(&["a b"], "must be 1 to 255 visible ASCII characters")]
#[case::with_a_tab(&["a\tb"], "must be 1 to 255 visible ASCII characters")]
#[case::not_ascii(&["열쇠"], "must be 1 to 255 visible ASCII characters")]
#[case::too_long(&[&*"k".repeat(256)], "must be 1 to 255 visible ASCII characters")]
#[case::repeated(&["k", "k"], "is repeated")]
#[tokio::test]
async fn a_key_is_one_and_visible(#[case] keys: &[&str], #[case] what: &str) {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let invest = keys.iter().fold(app.invest(product, 1), |invest, key| {
        invest.header("Idempotency-Key", key)
    });
    invest
        .sent()
        .await
        .is_invalid(&format!("Idempotency-Key {what}"));
    assert_eq!(test.reservations().await, []);
}
