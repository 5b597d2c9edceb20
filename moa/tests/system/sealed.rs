//! The log is sealed, verified and proved, by the program itself.

use reqwest::Method;
use rstest::rstest;
use serde_json::Value;
use testbed::TempFolder;

use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, within};

/// A folder with a key in it.
pub struct KeyFolder(TempFolder);

impl KeyFolder {
    pub async fn with_a_key() -> Self {
        let folder = TempFolder::new("sealed");
        let made = Start::bare(&["audit", "key"])
            .with(&[&folder.file("key")])
            .end()
            .await;
        assert!(made.status.success(), "{}", made.err);
        Self(folder)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.file(name)
    }

    pub fn sealing(&self, start: Start) -> Start {
        start
            .env("MOA_SEAL_KEY_FILE", &self.file("key"))
            .env("MOA_SEALS_FILE", &self.file("seals"))
    }
}

async fn verified(app: &TestApp) -> Value {
    let ended = app.operator(&["audit", "verify", "--json"]).await;
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err))
}

/// Steps: an invest is made; once it is sealed the log is verified by the running Moa and past it; the invest is proved, and
/// the proof checked with nothing but the public key; the database is tampered with, and both find it.
#[tokio::test]
async fn an_auditor_needs_only_the_file_of_seals_and_the_public_key() {
    let folder = KeyFolder::with_a_key().await;
    let app = TestApp::of(1, folder.sealing(Start::serve())).await;
    let product = app.open_product("sealed", 100).await;
    let invest = app
        .invest(ask("ann", product, 10))
        .await
        .invest_id()
        .unwrap()
        .to_string();
    app.settled().await;
    let sealed = async || {
        let report = verified(&app).await;
        let all = report["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|found| found["unsealed"].is_null());
        (all && report["events"] == 3).then_some(report)
    };
    let report = within(TEST_TIMEOUT, "all is sealed", sealed).await;
    assert_eq!(report["verdict"], "WHOLE");

    let seals = async |query: &str| {
        app.api(0)
            .operate(Method::GET, &format!("/admin/audit/seal{query}"), None)
            .await
    };
    let all = seals("").await.data()["list"].as_array().unwrap().clone();
    assert_eq!(
        seals("?newest=true&limit=1").await.data()["list"],
        Value::from(&all[all.len() - 1..])
    );
    assert_eq!(
        seals("?newest=true").await.data()["list"],
        Value::from(all.clone())
    );
    assert_eq!(
        seals("?newest=true&after=1").await.data()["list"],
        Value::from(&all[1..])
    );
    assert_eq!(seals("?newest=perhaps").await.status, 400);

    let (proof, public) = (folder.file("proof"), folder.file("key.pub"));
    let proved = app
        .operator(&["audit", "prove", &invest, "--out", &proof])
        .await;
    assert!(proved.status.success(), "{}", proved.err);
    let checked = Start::bare(&["audit", "check", &proof, "--public-key", &public])
        .end()
        .await;
    assert!(
        checked.status.success() && checked.out.contains("InvestSettled"),
        "{}{}",
        checked.out,
        checked.err
    );

    let (url, seals) = (app.url(), folder.file("seals"));
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
    assert!(
        whole.status.success() && whole.out.contains("The log is whole: 3 events"),
        "{}{}",
        whole.out,
        whole.err
    );

    let tampered = "alter table events disable trigger all;
                    update events set payload = replace(payload::text, '10', '90')::json where sequence = 2;
                    alter table events enable trigger all";
    sqlx::raw_sql(tampered).execute(&app.pool).await.unwrap();
    let live = app.operator(&["audit", "verify"]).await;
    let past = Start::bare(&past).end().await;
    for ended in [live, past] {
        assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
        assert!(
            ended
                .err
                .contains("the log is BROKEN: partition 1 position 2 (CHANGED)"),
            "{}",
            ended.err
        );
    }
    let listed = app.operator(&["audit", "seals"]).await;
    assert_eq!(
        listed.out.lines().count(),
        std::fs::read_to_string(&seals).unwrap().lines().count()
    );
}

/// Steps: one process without a key serves, a sealer alone seals; without a key only the chain is checked, and so it is said.
#[tokio::test]
async fn a_sealer_runs_alone() {
    let folder = KeyFolder::with_a_key().await;
    let app = TestApp::open().await;
    app.open_product("sealed", 100).await;
    assert!(app.processes[0].logged().contains("the log is not sealed"));
    let alone =
        folder.sealing(Start::bare(&["serve", "sealer"]).env("MOA_OPS_LISTEN", "127.0.0.1:0"));
    let sealer = alone.on(&app.url()).open().await;
    let sealed = async || {
        std::fs::read_to_string(folder.file("seals"))
            .ok()
            .filter(|seals| seals.ends_with('\n'))
    };
    within(TEST_TIMEOUT, "the first seal", sealed).await;
    let chain = app.operator(&["audit", "verify"]).await;
    assert!(
        chain.out.contains("Only the chain of hashes was checked"),
        "{}{}",
        chain.out,
        chain.err
    );
    let metrics = reqwest::get(format!("{}/metrics", sealer.ops))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("moa_sealer_state 1")
            && metrics.contains("moa_sealed_position{partition="),
        "{metrics}"
    );
    assert!(sealer.stopped(TEST_TIMEOUT).await.status.success());
}

#[rstest]
#[case::no_key(&["serve", "sealer"], &["MOA_SEALS_FILE"], "--seal-key-file")]
#[case::no_file(&["serve", "sealer"], &["MOA_SEAL_KEY_FILE"], "--seals-file")]
#[case::missing(&["serve", "sealer"], &["MOA_SEALS_FILE", "MOA_SEAL_KEY_FILE"], "cannot read /nowhere")]
#[tokio::test]
async fn a_sealer_without_what_it_needs_is_refused(
    #[case] args: &[&str],
    #[case] set: &[&str],
    #[case] expected: &str,
) {
    let start = Start::bare(args)
        .on("postgres://nobody@127.0.0.1:1/none")
        .env("MOA_OPS_LISTEN", "127.0.0.1:0");
    let ended = set
        .iter()
        .fold(start, |start, name| start.env(name, "/nowhere"))
        .end()
        .await;
    assert!(
        !ended.status.success() && ended.err.contains(expected),
        "{}",
        ended.err
    );
}

/// Others must not be able to read the key.
#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = KeyFolder::with_a_key().await;
    std::fs::set_permissions(folder.file("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let alone =
        folder.sealing(Start::bare(&["serve", "sealer"]).env("MOA_OPS_LISTEN", "127.0.0.1:0"));
    let ended = alone.on("postgres://nobody@127.0.0.1:1/none").end().await;
    assert!(
        !ended.status.success() && ended.err.contains("chmod 600"),
        "{}",
        ended.err
    );
}
