//! What is refused before the database is asked, whole bodies; what shows when the database is away; and that the router is served.

use crate::read_side::{ReadSide, settings};
use connection_pool::Pool;
use query_api::Settings;
use rstest::rstest;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use testbed::http::refusal;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const INVEST: &str = "/api/invest/log/00000000-0000-7000-8000-000000000001";

#[rstest]
#[case("/api/product/my/invest")]
#[case("/api/product/my/summary")]
#[case("/api/invest/log")]
#[case("/api/invest/log/stream")]
#[case(INVEST)]
#[tokio::test]
async fn a_user_must_be_named(#[case] path: &str) {
    let api = ReadSide::without_database();
    let missing = refusal(
        400,
        "MISSING_X_USER_ID",
        "Missing X-USER-ID header value : ",
    );
    for headers in [
        &[][..],
        &[("X-USER-ID", "")],
        &[("X-USER-ID", "a b")],
        &[("X-USER-ID", "a"), ("X-USER-ID", "a")],
    ] {
        let answer = api.call("GET", path, headers).await;
        assert_eq!(
            (answer.status, &answer.body),
            (400, &missing),
            "{headers:?}"
        );
    }
}

const PLAIN: &str = "must be a whole number without quotes, fraction or exponent";
const PAGE_RANGE: &str = "page must be a whole number from 0 to 1000000000";
const SIZE: &str = "size must be a whole number from 1 to 1000";
const CURSOR: &str = "cursor must be the nextCursor of an answer to the same call, user and filter; leave it empty to begin";
const PRODUCT_ID: &str = "productId must be a whole number from 1";

#[rstest]
#[case("/api/product?page=-1", format!("{PAGE_RANGE}, was -1"))]
#[case("/api/product?page=x", format!("page {PLAIN}, was x"))]
#[case("/api/product?page=9223372036854775807", format!("{PAGE_RANGE}, was 9223372036854775807"))]
#[case("/api/product?size=0", format!("{SIZE}, was 0"))]
#[case("/api/product?size=1001&page=1.5", format!("page {PLAIN}, was 1.5; {SIZE}, was 1001"))]
#[case("/api/product?page=0&page=0", "page is repeated".into())]
#[case("/api/product/streams", format!("{PRODUCT_ID}, was streams"))]
#[case("/api/product/0", format!("{PRODUCT_ID}, was 0"))]
#[case("/api/product/1e3", format!("{PRODUCT_ID}, was 1e3"))]
#[case("/api/product/my/invest?size=x", format!("size {PLAIN}, was x"))]
#[case("/api/invest/log?productId=0", format!("{PRODUCT_ID}, was 0"))]
#[case("/api/invest/log?productId=&size=-1", format!("{SIZE}, was -1; productId {PLAIN}, was "))]
#[case("/api/invest/log?productId=1&productId=2", "productId is repeated".into())]
#[case("/api/invest/log?cursor=x", format!("{CURSOR}, was x"))]
#[case("/api/invest/log?cursor=%20", format!("{CURSOR}, was  "))]
#[case("/api/product/my/invest?cursor=AAAA", format!("{CURSOR}, was AAAA"))]
#[case("/api/invest/log?cursor=&cursor=", "cursor is repeated".into())]
#[case("/api/invest/log?cursor=&page=0", "cursor and page exclude each other: leave one of them out".into())]
#[case("/api/product/my/invest?cursor=x&page=1", "cursor and page exclude each other: leave one of them out".into())]
#[case("/api/product/my/invest?cursor=&size=0", format!("{SIZE}, was 0"))]
#[case("/api/invest/log/1", "investId must be a uuid, was 1".into())]
#[tokio::test]
async fn what_is_malformed_is_named(#[case] path: &str, #[case] told: String) {
    let api = ReadSide::without_database();
    let answer = api.get_as("user4", path).await;
    let told = refusal(400, "00", &format!("Invalid value : {told}"));
    assert_eq!((answer.status, answer.body), (400, told));
}

#[rstest]
#[case("/x")]
#[case("/api")]
#[case("/api/products")]
#[case("/api/product/")]
#[case("/api/product/1/x")]
#[case("/api/invest")]
#[case("/admin/product")]
#[tokio::test]
async fn an_unknown_path_is_not_found(#[case] path: &str) {
    let api = ReadSide::without_database();
    let answer = api.get(path).await;
    assert_eq!(
        (answer.status, answer.body),
        (
            404,
            refusal(404, "404", "Not found : /docs lists the calls")
        )
    );
}

#[rstest]
#[case("/api/product")]
#[case("/api/product/1")]
#[case("/api/product/stream")]
#[case("/api/invest/log/stream")]
#[case("/api/product/my/invest")]
#[case("/api/product/my/summary")]
#[case("/api/invest/log")]
#[case(INVEST)]
#[tokio::test]
async fn only_get_is_allowed(#[case] path: &str) {
    let api = ReadSide::without_database();
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = api.call(method, path, &[]).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET,HEAD"))
        );
        assert_eq!(
            answer.body,
            refusal(405, "405", "Method not allowed, see the Allow header : ")
        );
    }
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_overload() {
    let api = ReadSide::new().await;
    let short = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(1));
    let pool = short
        .connect_with((*api.pool.inner().connect_options()).clone())
        .await
        .map(Pool::from)
        .unwrap();
    let _only = pool.acquire().await.unwrap();
    let busy = api.with_pool(pool.clone());
    let answer = busy.get("/api/product").await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(
        answer.body,
        refusal(
            503,
            "OVERLOADED",
            "Overloaded and not accepted, try again later : "
        )
    );
    assert_eq!(busy.get("/livez").await.body, "ok");
}

#[tokio::test]
async fn our_fault_shows_no_sql() {
    let api = ReadSide::new().await;
    api.sql("drop table holdings_count").await;
    let headers = [("X-USER-ID", "user4"), ("X-Correlation-Id", "c-1")];
    let answer = api.call("GET", "/api/product/my/invest", &headers).await;
    assert_eq!(
        (answer.status, answer.body),
        (500, refusal(500, "500", "Internal error : c-1"))
    );
}

#[tokio::test]
async fn run_serves_until_shutdown() {
    let api = ReadSide::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let policy = edge::ConnectionPolicy::default();
    let settings = Settings {
        shutdown: shutdown.clone(),
        ..settings(api.pool.clone())
    };
    let running = tokio::spawn(query_api::run(settings, listener, policy));
    let answer = reqwest::get(format!("http://{address}/readyz"))
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
