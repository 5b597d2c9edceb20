//! Who did it: the record of operators' acts, and its seals.

use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use testbed::TempFolder;

use crate::harness::{Answer, Ended, OPERATOR, Start, TEST_TIMEOUT, TestApp, within};
use crate::sealed::KeyFolder;
use crate::tokens::{token, write};

async fn post(app: &TestApp, token: &str, path: &str, body: Value) -> Answer {
    app.api(0)
        .admin_with(Method::POST, path, Some(token), |request| {
            request.json(&body)
        })
        .await
}

fn product(title: &str) -> Value {
    json!({"title": title, "totalInvestingAmount": 100,
           "startedAt": "2020-01-01T00:00:00", "finishedAt": "2100-01-01T00:00:00"})
}

/// A command of the auditor's.
async fn audit(app: &TestApp, token: &str, args: &[&str]) -> Ended {
    let start = Start::bare(&["audit"])
        .with(args)
        .with(&["--admin-url", &app.processes[0].admin]);
    start.env("MOA_AUDITOR_TOKEN", token).end().await
}

/// Actor, act, subject and outcome of each act, the oldest first.
async fn acts(app: &TestApp, token: &str, more: &[&str]) -> Vec<[String; 4]> {
    let listed = audit(
        app,
        token,
        &[&["acts", "--json", "--limit", "1000"], more].concat(),
    )
    .await;
    let listed: Value =
        serde_json::from_str(&listed.out).unwrap_or_else(|_| panic!("{}", listed.err));
    let text = |act: &Value, name: &str| act[name].as_str().unwrap_or_default().to_owned();
    let acts = listed["list"].as_array().unwrap().iter().rev();
    acts.map(|act| ["actor", "act", "subject", "outcome"].map(|name| text(act, name)))
        .collect()
}

/// Everything that an operator may do, each by whom; the status is that of success.
const ACTS: [(&str, &str, u16); 11] = [
    ("ann", "/admin/product/{closed}/close", 200),
    ("bob", "/admin/product/{cancelled}/cancel", 200),
    ("ann", "/admin/projection/holdings/pause", 200),
    ("bob", "/admin/projection/holdings/resume", 200),
    (
        "ann",
        "/admin/projection/holdings/rebuild?switch=false",
        202,
    ),
    ("bob", "/admin/projection/holdings/switch", 200),
    ("ann", "/admin/projection/holdings/rollback", 200),
    ("bob", "/admin/projection/holdings/drop", 200),
    ("ann", "/admin/parked/drop", 200),
    ("bob", "/admin/restore", 200),
    ("ann", "/admin/product/{closed}/close", 200),
];

/// Steps: two operators and an auditor have tokens in a file; the operators do in turn all that there is; the auditor may do none of it,
/// and sees who did what; the events say so too; all is sealed and verified; then somebody changes the record, and every verification names
/// the act.
#[tokio::test]
async fn each_act_has_its_actor_is_sealed_and_found_when_it_is_changed() {
    let (folder, names) = (KeyFolder::with_a_key().await, TempFolder::new("tokens"));
    let [ann, bob, eve] = [("ann", "operator"), ("bob", "operator"), ("eve", "auditor")];
    let [ann, bob, eve] = [
        token(ann.0, ann.1).await,
        token(bob.0, bob.1).await,
        token(eve.0, eve.1).await,
    ];
    let file = names.file("tokens");
    write(
        &file,
        &["# name role hash", &ann.line, &bob.line, &eve.line],
    );
    let app = TestApp::of(
        1,
        folder.sealing(Start::serve()).env("MOA_TOKENS_FILE", &file),
    )
    .await;
    let open = async |title| {
        post(&app, &ann.token, "/admin/product", product(title))
            .await
            .data()["productId"]
            .to_string()
    };
    let (closed, cancelled) = (open("closed").await, open("cancelled").await);

    for (actor, path, expected) in ACTS {
        let path = path
            .replace("{closed}", &closed)
            .replace("{cancelled}", &cancelled);
        let body = if path.ends_with("restore") {
            json!({"accept": "CLOCK"})
        } else {
            json!({"reason": "it froze"})
        };
        assert_eq!(
            post(&app, &eve.token, &path, body.clone()).await.status,
            403,
            "{path}"
        );
        let token = if actor == "ann" {
            &ann.token
        } else {
            &bob.token
        };
        let answer = post(&app, token, &path, body).await;
        assert_eq!(answer.status, expected, "{path}: {}", answer.body);
        if path.contains("rebuild") {
            ready(&app, &answer).await;
        }
    }
    let [closed, cancelled] = [&closed, &cancelled].map(|id| format!("product {id}"));
    let expected = [
        ["ann", "OPEN_PRODUCT", &closed, "DONE"],
        ["ann", "OPEN_PRODUCT", &cancelled, "DONE"],
        ["ann", "CLOSE_PRODUCT", &closed, "DONE"],
        ["bob", "CANCEL_PRODUCT", &cancelled, "DONE"],
        ["ann", "PAUSE", "holdings", "DONE"],
        ["bob", "RESUME", "holdings", "DONE"],
        ["ann", "REBUILD", "holdings", "DONE"],
        ["bob", "SWITCH", "holdings", "DONE"],
        ["ann", "ROLLBACK", "holdings", "DONE"],
        ["bob", "DROP_STANDBYS", "holdings", "DONE"],
        ["ann", "DROP_PARKED", "all deliveries", "DONE"],
        ["bob", "ACCEPT_CLOCK", "the log", "DONE"],
        ["ann", "CLOSE_PRODUCT", &closed, "REFUSED"],
    ];
    assert_eq!(acts(&app, &eve.token, &[]).await, expected);
    assert_eq!(
        acts(&app, &ann.token, &["--actor", "bob", "--act", "SWITCH"]).await,
        [expected[7]]
    );
    let table = audit(&app, &eve.token, &["acts", "--limit", "3"]).await;
    assert!(
        table.out.contains("ACCEPT_CLOCK") && table.out.contains("There are more: --cursor "),
        "{}",
        table.out
    );
    let logged = app.processes[0].logged();
    let acted: Vec<_> = logged
        .lines()
        .filter(|line| line.contains("an operator acted"))
        .collect();
    assert_eq!(acted.len(), expected.len(), "{logged}");
    assert!(
        acted.iter().all(|line| line.contains("correlation_id")),
        "{acted:#?}"
    );
    assert!(
        logged.contains("an act was refused by its role"),
        "{logged}"
    );

    let metadata =
        "select concat_ws(' ', event_type, metadata::jsonb ->> 'actor', metadata::jsonb ->> 'actorRole') from events
                     order by partition, position";
    let mut caused: Vec<String> = sqlx::query_scalar(metadata)
        .fetch_all(&app.pool)
        .await
        .unwrap();
    caused.sort();
    let of_events = [
        "ProductCancelled bob OPERATOR",
        "ProductClosed ann OPERATOR",
        "ProductOpened ann OPERATOR",
        "ProductOpened ann OPERATOR",
    ];
    assert_eq!(caused, of_events);
    let events = audit(&app, &eve.token, &["events", "--type", "ProductCancelled"]).await;
    assert!(
        events.out.contains("reason it froze, by bob"),
        "{}",
        events.out
    );
    let access = audit(&app, &eve.token, &["access", "--json", "--limit", "1"]).await;
    assert!(access.out.contains(r#""actor": "eve""#), "{}", access.out);
    is_sealed_then_changed(&app, &eve.token, &folder).await;
}

/// Every call of the listener's own reference that is no GET, whatever comes of it.
#[tokio::test]
async fn every_call_that_changes_something_is_an_act() {
    let app = TestApp::open().await;
    let reference = app
        .api(0)
        .admin_with(Method::GET, "/openapi.json", None, |it| it)
        .await
        .json();
    let mut body = product("any");
    body["reason"] = "it froze".into();
    body["accept"] = "CLOCK".into();
    let is_change = |of: &Value| {
        of.as_object()
            .unwrap()
            .keys()
            .any(|method| ["post", "put", "patch", "delete"].contains(&&**method))
    };
    let paths = reference["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, of)| is_change(of));
    let paths: Vec<_> = paths
        .map(|(path, _)| {
            path.replace("{name}", "holdings")
                .replace("{id}", "9")
                .replace("{productId}", "9")
        })
        .collect();
    assert!(paths.len() >= 12, "{paths:?}");
    for (number, path) in (1..).zip(&paths) {
        let answer = post(&app, OPERATOR, path, body.clone()).await;
        let acts = acts(&app, OPERATOR, &[]).await;
        assert_eq!(acts.len(), number, "{path}: {} {acts:?}", answer.body);
        assert!(
            acts.iter()
                .all(|act| act[0] == "operator" && !act[3].is_empty()),
            "{acts:?}"
        );
    }
}

async fn ready(app: &TestApp, begun: &Answer) {
    let path = format!("/admin/job/{}", begun.data()["jobId"]);
    let is_done = async || {
        (app.api(0).operate(Method::GET, &path, None).await.data()["state"] == "DONE").then_some(())
    };
    within(TEST_TIMEOUT, "the rebuild", is_done).await;
}

async fn is_sealed_then_changed(app: &TestApp, auditor: &str, folder: &KeyFolder) {
    let sealed = async || {
        let verified = audit(app, auditor, &["verify", "--json"]).await;
        let report: Value =
            serde_json::from_str(&verified.out).unwrap_or_else(|_| panic!("{}", verified.err));
        assert_eq!(report["verdict"], "WHOLE", "{report}");
        (report["acts"]["unsealed"].is_null()).then(|| report["acts"].clone())
    };
    let found = within(TEST_TIMEOUT, "all acts are sealed", sealed).await;
    assert_eq!(
        (&found["acts"], &found["sealedUpto"]),
        (&json!(26), &json!(26))
    );
    let (url, seals, public) = (app.url(), folder.file("seals"), folder.file("key.pub"));
    let past = [
        "audit",
        "verify",
        "--database-url",
        &url,
        "--seals",
        &seals,
        "--public-key",
        &public,
    ];
    let whole = Start::bare(&past).end().await;
    let said = "The record of operators' acts is whole: 26 rows, compared with 26 seals. All of it is sealed.";
    assert!(
        whole.status.success() && whole.out.contains(said),
        "{}{}",
        whole.out,
        whole.err
    );
    let listed = audit(app, auditor, &["seals", "--acts"]).await;
    assert_eq!(listed.out.lines().count(), 26);
    assert_eq!(
        fs::read_to_string(format!("{seals}.acts"))
            .unwrap()
            .lines()
            .count(),
        26
    );

    let tampered = "alter table acts disable trigger all;
                    update acts set actor = 'bob' where number = 5;
                    alter table acts enable trigger all";
    sqlx::raw_sql(tampered).execute(&app.pool).await.unwrap();
    for ended in [
        audit(app, auditor, &["verify"]).await,
        Start::bare(&past).end().await,
    ] {
        assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
        assert!(
            ended.err.contains("the log is BROKEN: act 5 (CHANGED)"),
            "{}",
            ended.err
        );
    }
}
