//! `moa audit events`, on a running Moa.

use crate::harness::{TestApp, ask};
use serde_json::Value;

fn lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Steps: two users invest, and all of it is settled; each way to ask shows the same events.
#[tokio::test]
async fn an_auditor_asks_for_events_in_every_form() {
    let app = TestApp::open().await;
    let product = app.open_product("asked for", 1_000).await;
    for user in ["ann", "bob", "ann"] {
        assert!(app.invest(ask(user, product, 1)).await.is_accepted());
    }
    app.settled().await;

    let of_ann = ["audit", "events", "--user", "ann"];
    let json = app.operator(&[&of_ann[..], &["--json"]].concat()).await;
    assert_eq!(json.status.code(), Some(0), "{}", json.err);
    let page: Value = serde_json::from_str(&json.out).unwrap();
    let events = page["list"].as_array().unwrap().clone();
    assert_eq!(
        (events.len(), &page["nextCursor"]),
        (4, &Value::Null),
        "two reservations and their fates"
    );
    assert!(
        events
            .iter()
            .all(|event| event["payload"].to_string().contains(r#""userId":"ann""#))
    );

    let ndjson = app
        .operator(&[&of_ann[..], &["--format", "ndjson"]].concat())
        .await;
    assert_eq!(lines(&ndjson.out), events, "{}", ndjson.err);
    let csv = app
        .operator(&[&of_ann[..], &["--format", "csv"]].concat())
        .await;
    assert_eq!(csv.out.lines().count(), 5, "{}", csv.out);
    assert!(
        csv.out.starts_with("eventId,partition,position,productId,"),
        "{}",
        csv.out
    );
    let table = app.operator(&of_ann).await;
    assert_eq!(table.out.matches("userId ann").count(), 4, "{}", table.out);

    let newest = app
        .operator(&[&of_ann[..], &["--order", "desc", "--limit", "1", "--json"]].concat())
        .await;
    let newest: Value = serde_json::from_str(&newest.out).unwrap();
    assert_eq!(newest["list"][0], events[3]);
    let cursor = newest["nextCursor"].as_str().unwrap();
    let rest = [
        &of_ann[..],
        &["--order", "desc", "--cursor", cursor, "--format", "ndjson"],
    ]
    .concat();
    let mut rest = lines(&app.operator(&rest).await.out);
    rest.reverse();
    assert_eq!(rest, events[..3]);

    let wrong = app
        .operator(&["audit", "events", "--user", "a b", "--partition", "9"])
        .await;
    assert_eq!(wrong.status.code(), Some(1));
    let sentence = "moa: --user must be 1 to 100 of A-Z a-z 0-9 . _ -, was a b; \
                    --partition must be a whole number from 0 to 3, was 9\n";
    assert_eq!(wrong.err, sentence);
}
