//! What caches and slow lines need: entity tags, what may be kept, and compression.

use crate::read_side::ReadSide;
use flate2::read::GzDecoder;
use rstest::rstest;
use std::io::Read as _;

const OPEN: (&str, &str) = ("-1 day", "1 day");

#[tokio::test]
async fn a_caller_who_has_the_answer_is_not_sent_it_again() {
    let api = ReadSide::new().await;
    api.product(1, 100, 30, OPEN).await;
    for path in [
        "/api/product",
        "/api/product/1",
        "/api/product?status=ONGOING",
    ] {
        let first = api.get(path).await;
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").unwrap().to_owned();
        let strong = tag.trim_start_matches("W/").to_owned();
        for known in [
            tag.clone(),
            strong,
            "*".into(),
            format!("\"other\", {tag}"),
            format!("W/\"x\",{tag}"),
        ] {
            let answer = api.call("GET", path, &[("If-None-Match", &known)]).await;
            assert_eq!(
                (answer.status, answer.body.as_str(), answer.header("etag")),
                (304, "", Some(tag.as_str())),
                "{known}"
            );
            assert!(
                answer.header("x-consistency-token").is_some(),
                "a token is for the next read"
            );
        }
        for unknown in ["\"other\"", "other", ""] {
            let answer = api.call("GET", path, &[("If-None-Match", unknown)]).await;
            assert_eq!(
                (answer.status, answer.body),
                (200, first.body.clone()),
                "{unknown}"
            );
        }
        api.sql("update product_list set current_amount = current_amount + 1")
            .await;
        let changed = api.call("GET", path, &[("If-None-Match", &tag)]).await;
        assert_eq!(changed.status, 200);
        assert_ne!(changed.header("etag"), Some(tag.as_str()));
    }
}

/// Without an event: the tag is of what is shown.
#[tokio::test]
async fn an_answer_that_the_clock_has_changed_has_another_tag() {
    let api = ReadSide::new().await;
    api.product(1, 100, 30, OPEN).await;
    let open = api.get("/api/product/1").await;
    api.sql("update product_list set finished_at = now()").await;
    let finished = api
        .call(
            "GET",
            "/api/product/1",
            &[("If-None-Match", open.header("etag").unwrap())],
        )
        .await;
    assert_eq!(finished.status, 200);
    assert!(finished.body.contains("FINISHED"), "{}", finished.body);
}

#[tokio::test]
async fn what_is_one_users_is_kept_by_nobody() {
    let api = ReadSide::new().await;
    for path in [
        "/api/product/my/invest",
        "/api/product/my/summary",
        "/api/invest/log",
    ] {
        let answer = api.get_as("user4", path).await;
        assert_eq!(
            (answer.header("cache-control"), answer.header("etag")),
            (Some("private, no-store"), None),
            "{path}"
        );
    }
    let unknown = api.get("/api/product/7").await;
    assert_eq!(
        (unknown.header("cache-control"), unknown.header("etag")),
        (Some("private, no-store"), None)
    );
}

fn ungzip(body: &[u8]) -> String {
    let mut read = String::new();
    GzDecoder::new(body).read_to_string(&mut read).unwrap();
    read
}

fn unbrotli(body: &[u8]) -> String {
    let mut read = String::new();
    brotli::Decompressor::new(body, 4096)
        .read_to_string(&mut read)
        .unwrap();
    read
}

#[rstest]
#[case("gzip", "gzip", ungzip)]
#[case("gzip, deflate, br, zstd", "br", unbrotli)]
#[case("br;q=0.5, gzip", "gzip", ungzip)]
#[tokio::test]
async fn a_long_answer_goes_out_compressed_to_who_accepts_that(
    #[case] accepted: &str,
    #[case] encoding: &str,
    #[case] read: fn(&[u8]) -> String,
) {
    let api = ReadSide::new().await;
    for product_id in 1..=20 {
        api.product(product_id, 100, 30, OPEN).await;
    }
    let plain = api.get("/api/product").await;
    assert_eq!(plain.header("content-encoding"), None);
    let (headers, body) = api
        .bytes("/api/product", &[("Accept-Encoding", accepted)])
        .await;
    assert_eq!(
        (&headers["content-encoding"], &headers["vary"]),
        (
            &encoding.parse().unwrap(),
            &"accept-encoding".parse().unwrap()
        )
    );
    assert!(
        body.len() * 4 < plain.body.len(),
        "{} of {}",
        body.len(),
        plain.body.len()
    );
    assert_eq!(read(&body), plain.body);
    let (headers, _) = api
        .bytes("/api/product/1", &[("Accept-Encoding", accepted)])
        .await;
    assert!(!headers.contains_key("content-encoding"), "it is short");
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let api = ReadSide::new().await;
    api.product(1, 100, 30, OPEN).await;
    let (get, head) = (
        api.get("/api/product/1").await,
        api.call("HEAD", "/api/product/1", &[]).await,
    );
    assert_eq!(
        (head.status, head.body.as_str(), head.header("etag")),
        (200, "", get.header("etag"))
    );
    assert_eq!(
        head.header("content-length"),
        Some(get.body.len().to_string().as_str())
    );
}
