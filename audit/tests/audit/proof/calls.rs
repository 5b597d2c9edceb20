//! The admin calls.

use super::app::*;
use crate::asked::routes;
use audit::proof::ExternalSeals;
use audit::proof::sealer::Sealing;
use edge::Role;
use proof::seal::Seal;
use proof::{key, report::Report};
use serde_json::Value;
use testbed::http::call;

async fn ask(app: &TestApp, path: &str) -> (u16, Value) {
    let seals = Some(ExternalSeals {
        file: Some(app.file("seals")),
        keys: public(),
    });
    let routes = routes(app, Some(Role::Auditor), seals);
    let answer = call(&routes, "GET", &format!("/admin/audit/{path}"), &[]).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn the_live_log_is_verified() {
    let app = TestApp::sealed().await;
    let (status, answer) = ask(&app, "verify").await;
    let report: Report = serde_json::from_value(answer["data"].clone()).unwrap();
    assert_eq!((status, report), (200, app.verified("seals").await));
    assert_eq!(
        answer["data"]["partitions"][0]["sealedUpto"], 42,
        "{answer}"
    );
    assert_eq!(answer["data"]["verdict"], "WHOLE");
}

#[tokio::test]
async fn a_file_of_seals_that_is_gone_is_told() {
    let app = TestApp::with_history().await;
    let (status, answer) = ask(&app, "verify").await;
    assert_eq!(
        (status, answer["code"].as_str()),
        (409, Some("409")),
        "{answer}"
    );
}

#[tokio::test]
async fn seals_are_listed_in_pages_as_they_stand_in_the_file() {
    let app = TestApp::sealed().await;
    let (_, first) = ask(&app, "seal?limit=1").await;
    let (_, second) = ask(&app, "seal?limit=1&after=1").await;
    let (_, none) = ask(&app, "seal?after=2").await;
    let listed = [&first, &second].map(|page| {
        Seal::read(&page["data"]["list"][0].to_string())
            .unwrap()
            .line()
    });
    assert_eq!(listed.to_vec(), app.lines("seals"));
    assert_eq!(
        [&first, &second].map(|page| page["data"]["nextAfter"].as_i64()),
        [Some(1), Some(2)]
    );
    assert_eq!(
        (
            none["data"]["list"].as_array().unwrap().len(),
            &none["data"]["nextAfter"]
        ),
        (0, &Value::Null)
    );
    for wrong in [
        "seal?after=-1",
        "seal?limit=0",
        "seal?limit=101",
        "seal?limit=x&after=y",
    ] {
        assert_eq!(ask(&app, wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn an_invest_is_proved_or_it_is_told_why_not() {
    let app = TestApp::with_history().await;
    let path = format!("prove/{}", invest(2, 3));
    assert_eq!(ask(&app, &path).await.0, 409, "not sealed yet");
    app.seal("seals").await;
    let (status, answer) = ask(&app, &path).await;
    assert_eq!(status, 200);
    let shown = proof::inclusion::check(&answer["data"].to_string(), &public()).unwrap();
    assert_eq!(shown.events.len(), 1);
    assert_eq!(ask(&app, &format!("prove/{}", invest(2, 999))).await.0, 404);
    assert_eq!(ask(&app, "prove/x").await.0, 400);
}

#[tokio::test]
async fn a_key_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = TestApp::empty().await;
    let path = app.file("key.pem");
    let made = key::create_key(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(key::signing_key(&path).unwrap().to_bytes(), made.to_bytes());
    assert_eq!(
        key::public_key(&key::public_path(&path)).unwrap(),
        made.verifying_key()
    );
    assert!(
        key::create_key(&path).is_err(),
        "a key is never written over"
    );
    assert!(
        key::public_key(&path)
            .unwrap_err()
            .to_string()
            .contains("has no Ed25519 public key")
    );
}

/// A new key goes on where the old one ended.
#[tokio::test]
async fn a_key_can_be_changed() {
    let app = TestApp::sealed().await;
    app.invests(21..=21).await;
    let new = key::generate_key().unwrap();
    let both = vec![key().verifying_key(), new.verifying_key()];
    let sealing = Sealing {
        key: new,
        earlier: public(),
        file: Some(app.file("seals")),
    };
    let mut sealer = audit::proof::sealer::Sealer::begin(&app.log, &app.pool, &sealing)
        .await
        .unwrap();
    assert_eq!(sealer.seal_once_and_release().await.unwrap(), 2);
    let outside = ExternalSeals {
        file: Some(app.file("seals")),
        keys: both,
    };
    let report = audit::proof::verify_live::verify_live(&app.pool, Some(&outside))
        .await
        .unwrap();
    assert_eq!((report.seals, report.bad_seal), (4, None));
    assert_eq!(
        app.verified("seals").await.bad_seal.unwrap().seal,
        3,
        "the old key alone does not know them"
    );
}
