//! The export as it is asked for.

use audit::export;
use audit::{Audit, routes};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::{Extension, Router};
use chrono::Utc;
use edge::Role;
use event_log::Log;
use futures::TryStreamExt as _;
use proof::export::{Format, Header};
use serde_json::{Value, json};
use sqlx::Executor as _;
use tower::ServiceExt as _;

use crate::app::{PARTITIONS, SealedApp};
use crate::found::{Findings, Found, by_moa, by_python, findings};

fn admin(app: &SealedApp) -> Router {
    let (log, pool) = (app.log.clone(), || app.pool.clone());
    let time = "Asia/Seoul".parse().unwrap();
    let audit = Audit {
        log,
        read: pool(),
        bulk: pool(),
        write: pool(),
        time,
        seals: None,
    };
    edge::with_middleware(
        routes(audit).layer(Extension(
            edge::Actor::new("auditor", Role::Auditor).unwrap(),
        )),
        edge::CallerPolicy::default(),
    )
}

async fn asked(admin: &Router, query: &str, accept: &str) -> axum::response::Response {
    let request =
        Request::get(format!("/admin/audit/export{query}")).header(header::ACCEPT, accept);
    admin
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

async fn text(admin: &Router, query: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = asked(admin, query, accept).await.into_parts();
    (
        parts.status,
        parts.headers,
        String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().into()).unwrap(),
    )
}

/// Also those that have the log written in the other form, or not at all as it is written.
#[tokio::test]
async fn a_whole_export_has_every_row_and_a_filtered_one_what_a_plain_scan_has() {
    let app = SealedApp::sealed().await;
    let admin = admin(&app);
    let (_, headers, whole) = text(&admin, "", "*/*").await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-ndjson");
    let lines: Vec<Value> = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines[0]["heads"],
        json!([
            app.partition(0).len(),
            app.partition(1).len(),
            app.partition(2).len()
        ])
    );
    assert_eq!(
        (&lines[0]["log"], &lines[0]["filter"]),
        (&json!(app.log.identity().log_id), &Value::Null)
    );
    assert_eq!(
        lines.last().unwrap(),
        &json!({"end": true, "events": app.rows.len()})
    );
    for (line, row) in lines[1..lines.len() - 1].iter().zip(&app.rows) {
        let hash: String = row.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (&line["payload"], &line["hash"]),
            (&json!(row.payload), &json!(hash))
        );
        assert_eq!(
            (&line["partition"], &line["position"]),
            (&json!(row.partition), &json!(row.position))
        );
    }
    let (_, headers, by_accept) = text(&admin, "", "text/csv").await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/csv");
    assert_eq!(text(&admin, "?format=csv", "*/*").await.2, by_accept);
    for (accept, media_type) in [
        ("text/csv;q=0", "application/x-ndjson"),
        (
            "text/csv;q=0.1, application/x-ndjson;q=0.2",
            "application/x-ndjson",
        ),
        ("application/x-ndjson;q=0, */*", "text/csv"),
        ("text/csv;q=high", "application/x-ndjson"),
    ] {
        assert_eq!(
            asked(&admin, "", accept).await.headers()[header::CONTENT_TYPE],
            media_type,
            "{accept}"
        );
    }
    assert_eq!(by_accept.lines().count(), app.rows.len() + 1);

    let (_, _, filtered) = text(&admin, "?productId=4&type=InvestFailed&from=20", "*/*").await;
    let scanned: Vec<_> = whole.lines().filter(|line| is_asked_for(line)).collect();
    let lines: Vec<_> = filtered.lines().collect();
    assert_eq!(
        lines[1..lines.len() - 1],
        scanned,
        "of one product, so in the same order"
    );
    assert!(scanned.len() > 5);
    let header: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(
        header["filter"],
        json!({"productId": 4, "type": "InvestFailed", "from": 20})
    );
    // As files: the whole ones are verified, the filtered ones are not taken for whole.
    let files = ["a.ndjson", "b.csv", "c.ndjson"].map(|name| app.file(name));
    for (file, text) in files.iter().zip([&whole, &by_accept, &filtered]) {
        std::fs::write(file, text).unwrap();
    }
    for (number, python) in by_python(&app, &files, &app.seals()).iter().enumerate() {
        let expected: Findings = if number == 2 {
            [Found::VerifyError].into()
        } else {
            Findings::new()
        };
        assert_eq!(
            (findings(&by_moa(&app, &files[number])), findings(python)),
            (expected.clone(), expected)
        );
    }
}

fn is_asked_for(line: &str) -> bool {
    let row: Value = serde_json::from_str(line).unwrap();
    row["aggregate_id"] == "4"
        && row["event_type"] == "InvestFailed"
        && row["position"].as_i64() >= Some(20)
}

#[tokio::test]
async fn what_cannot_be_exported_is_told() {
    let app = SealedApp::sealed().await;
    let admin = admin(&app);
    let (status, _, body) = text(&admin, "?format=xml&productId=0&type=Nothing", "*/*").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &told["code"]),
        (StatusCode::BAD_REQUEST, &json!("00"))
    );
    for field in [
        "format must be ndjson or csv, was xml",
        "productId ",
        "type ",
    ] {
        assert!(told["message"].as_str().unwrap().contains(field), "{told}");
    }
    // Two that are not taken yet are being made; then there is room again.
    let (first, second) = (
        asked(&admin, "", "*/*").await,
        asked(&admin, "", "*/*").await,
    );
    assert_eq!(
        asked(&admin, "", "*/*").await.status(),
        StatusCode::CONFLICT
    );
    drop((first, second));
    assert_eq!(text(&admin, "", "*/*").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_export_that_breaks_off_has_no_end() {
    let app = SealedApp::sealed().await;
    let heads = Log::heads_of(&app.pool, PARTITIONS).await.unwrap();
    let header = Header::of(*app.log.identity(), heads, None, Utc::now());
    (&app.pool)
        .execute("alter table events rename to elsewhere")
        .await
        .unwrap();
    let blocks: Result<Vec<_>, _> = export::export(app.pool.clone(), header, Format::Ndjson)
        .try_collect()
        .await;
    blocks.expect_err("it says so");
}
