//! Strict JSON bodies, through the extractor.

use axum::body::{Body, to_bytes};
use axum::extract::FromRequest;
use axum::http::Request;
use axum::response::IntoResponse;
use domain::{Amount, ProductId, Title};
use edge::{JsonObject, MAX_BODY_BYTES, Problem};
use rstest::rstest;
use serde_json::Value;
use std::convert::Infallible;

async fn extract(content_type: Option<&str>, body: impl Into<Body>) -> Result<JsonObject, Problem> {
    let request = Request::post("/");
    let request = content_type.into_iter().fold(request, |request, value| {
        request.header("content-type", value)
    });
    JsonObject::from_request(request.body(body.into()).unwrap(), &()).await
}

fn parse(body: &JsonObject) -> Result<(ProductId, Amount), Problem> {
    let mut fields = body.fields();
    let product_id = fields.int("productId", ProductId::try_from);
    let amount = fields.int("investAmount", Amount::try_from);
    let (Some(product_id), Some(amount)) = (product_id, amount) else {
        return Err(fields.refuse());
    };
    Ok((product_id, amount))
}

async fn invest(body: &str) -> Result<(i64, i64), Problem> {
    let body = extract(Some("application/json"), body.to_owned()).await?;
    parse(&body).map(|(product_id, amount)| (product_id.get(), amount.won()))
}

async fn message(problem: Problem) -> String {
    let body = to_bytes(problem.into_response().into_body(), usize::MAX)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["message"].as_str().unwrap().to_owned()
}

#[rstest]
#[case::as_the_seed_types_it(r#"{ "investAmount": 10, "productId": 3}"#, 10)]
#[case::least(r#"{"productId":3,"investAmount":1}"#, 1)]
#[case::most(r#"{"productId":3,"investAmount":1000000000000}"#, 1_000_000_000_000)]
#[case::unknown_fields(
    r#"{"x":{"productId":1},"x":null,"productId":3,"investAmount":10,"":[[1.5]]}"#,
    10
)]
#[case::escaped_name("{\"product\\u0049d\":3,\"investAmount\":10}", 10)]
#[tokio::test]
async fn good_bodies(#[case] body: &str, #[case] amount: i64) {
    assert_eq!(invest(body).await.unwrap(), (3, amount));
}

#[rstest]
#[case(
    "1.0",
    "must be a whole number without quotes, fraction or exponent, was 1.0"
)]
#[case(
    "1e3",
    "must be a whole number without quotes, fraction or exponent, was 1e3"
)]
#[case(
    "1E3",
    "must be a whole number without quotes, fraction or exponent, was 1E3"
)]
#[case(
    "\"100\"",
    "must be a whole number without quotes, fraction or exponent, was \"100\""
)]
#[case(
    "-0",
    "must be a whole number without quotes, fraction or exponent, was -0"
)]
#[case(
    "true",
    "must be a whole number without quotes, fraction or exponent, was true"
)]
#[case(
    "null",
    "must be a whole number without quotes, fraction or exponent, was null"
)]
#[case(
    "[1]",
    "must be a whole number without quotes, fraction or exponent, was [1]"
)]
#[case(
    "{}",
    "must be a whole number without quotes, fraction or exponent, was {}"
)]
#[case("0", "must be a whole number from 1 to 1000000000000, was 0")]
#[case("-1", "must be a whole number from 1 to 1000000000000, was -1")]
#[case(
    "1000000000001",
    "must be a whole number from 1 to 1000000000000, was 1000000000001"
)]
#[case(
    "9223372036854775808",
    "must be a whole number nearer to zero, was 9223372036854775808"
)]
#[case("1, \"investAmount\": 1", "is repeated")]
#[case("1, \"invest\\u0041mount\": 1", "is repeated")]
#[tokio::test]
async fn bad_amounts(#[case] amount: &str, #[case] wrong: &str) {
    let body = format!(r#"{{"productId": 3, "investAmount": {amount}}}"#);
    assert_eq!(
        message(invest(&body).await.unwrap_err()).await,
        format!("Invalid value : investAmount {wrong}")
    );
}

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let problem = invest(r#"{"productId": 0}"#).await.unwrap_err();
    let told =
        "Invalid value : productId must be a whole number from 1, was 0; investAmount is missing";
    assert_eq!(message(problem).await, told);
}

#[rstest]
#[case::empty("")]
#[case::null("null")]
#[case::array("[]")]
#[case::string("\"productId\"")]
#[case::half("{\"productId\": 3")]
#[case::two("{} {}")]
#[case::trailing_comma("{\"productId\": 3,}")]
#[case::leading_zero("{\"productId\": 03}")]
#[case::plus("{\"productId\": +3}")]
#[case::byte_order_mark("\u{feff}{}")]
#[case::nul("{}\0")]
#[case::comment("{} // x")]
#[tokio::test]
async fn whatever_is_not_one_object_is_refused(#[case] body: &str) {
    let problem = invest(body).await.unwrap_err();
    assert_eq!(
        message(problem).await,
        "Invalid value : body must be one JSON object"
    );
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_refused() {
    let problem = extract(Some("application/json"), b"{\"a\": \"\xff\"}".to_vec())
        .await
        .unwrap_err();
    assert_eq!(message(problem).await, "Invalid value : body must be UTF-8");
}

#[rstest]
#[case(31, true)]
#[case(32, false)]
#[case(5000, false)]
#[tokio::test]
async fn nesting_is_bounded(#[case] depth: usize, #[case] good: bool) {
    let body = format!(
        r#"{{"x": {}{}, "y": "[[[{{\"[["}}"#,
        "[".repeat(depth),
        "]".repeat(depth)
    );
    assert_eq!(extract(Some("application/json"), body).await.is_ok(), good);
}

#[rstest]
#[case(Some("application/json"), true)]
#[case(Some("Application/JSON; charset=utf-8"), true)]
#[case(Some("text/plain"), false)]
#[case(Some("application/json2"), false)]
#[case(Some("application/x-www-form-urlencoded"), false)]
#[case(None, false)]
#[tokio::test]
async fn only_json_is_taken(#[case] content_type: Option<&str>, #[case] good: bool) {
    let taken = extract(content_type, "{}").await;
    assert_eq!(taken.is_ok(), good);
    assert!(good || matches!(taken, Err(Problem::UnsupportedMediaType)));
}

#[rstest]
#[case(MAX_BODY_BYTES, true)]
#[case(MAX_BODY_BYTES + 1, false)]
#[tokio::test]
async fn a_body_is_bounded_with_or_without_a_length(#[case] length: usize, #[case] good: bool) {
    let text = format!("{:length$}", "{}");
    let chunks = Body::new(http_body_util::BodyExt::map_frame(
        Body::from(text.clone()),
        |frame| frame,
    ));
    for body in [Body::from(text), chunks] {
        let taken = extract(Some("application/json"), body).await;
        assert_eq!(taken.is_ok(), good);
        assert!(good || matches!(taken, Err(Problem::TooLarge)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_given_up() {
    struct Never;
    impl hyper::body::Body for Never {
        type Data = axum::body::Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Infallible>>> {
            std::task::Poll::Pending
        }
    }
    assert!(matches!(
        extract(Some("application/json"), Body::new(Never)).await,
        Err(Problem::TooSlow)
    ));
}

#[rstest]
#[case(r#""a title""#, Ok("a title"))]
#[case(
    "\"\\u00e9\\n\"",
    Err("title must be 1 to 500 characters without control characters, was \"\\u00e9\\n\"")
)]
#[case("\"a\\u0000\"", Err("title must not contain NUL, was \"a\\u0000\""))]
#[case("\"\\ud800\"", Err("title must be a string, was \"\\ud800\""))]
#[case("7", Err("title must be a string, was 7"))]
#[case("null", Err("title must be a string, was null"))]
#[tokio::test]
async fn texts(#[case] raw: &str, #[case] read: Result<&str, &str>) {
    let body = extract(Some("application/json"), format!(r#"{{"title": {raw}}}"#))
        .await
        .unwrap();
    let mut fields = body.fields();
    match fields.text("title", Title::try_from) {
        Some(title) => assert_eq!(Ok(title.as_str()), read),
        None => {
            let told = format!("Invalid value : {}", read.unwrap_err());
            assert_eq!(message(fields.refuse()).await, told);
        }
    }
}
