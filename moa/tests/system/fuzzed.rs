//! Each listener against its own OpenAPI document: schemathesis makes good and bad requests of it, and compares the answers with it.
//! `fuzzed.toml` has the bounds, and the checks that are left out with the reason of each.

use reqwest::Method;
use rstest::rstest;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testbed::TempFolder;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{OPERATOR, Start, TEST_TIMEOUT, TestApp, ask, within};

const CONFIG: &str = include_str!("fuzzed.toml");
/// How long one run may take: the longest, of the admin listener, took 55 s beside the whole suite.
const RUN_TIMEOUT: Duration = Duration::from_secs(400);

/// Where `scripts/run-tests` puts the program.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/schemathesis")
}

/// A demo whose events are sealed.
async fn app(folder: &TempFolder) -> TestApp {
    let [key, seals] = ["key", "seals"].map(|name| folder.file(name));
    assert!(
        Start::bare(&["audit", "key", &key])
            .end()
            .await
            .status
            .success()
    );
    let start = Start::serve_with_demo()
        .env("MOA_SEAL_KEY_FILE", &key)
        .env("MOA_SEALS_FILE", &seals);
    let app = TestApp::of(1, start).await;
    app.settled().await;
    let sealed = async || {
        let report = app
            .api(0)
            .operate(Method::GET, "/admin/audit/verify", None)
            .await
            .data();
        report["partitions"]
            .as_array()?
            .iter()
            .all(|partition| partition["unsealed"].is_null())
            .then_some(())
    };
    within(TEST_TIMEOUT, "everything is sealed", sealed).await;
    app
}

/// What the program cannot make up.
struct Known {
    invests: Vec<String>,
    /// Of the state that everything shows, and of one since which much has changed.
    late_token: String,
    early_token: String,
}

impl Known {
    async fn of(app: &TestApp) -> Self {
        // Its token says nothing of other partitions.
        let early_token = app.invest(ask("user4", 3, 1)).await.token.unwrap();
        let answer = app.api(0).get_as("user4", "/api/invest/log").await;
        let id = |invest: &Value| invest["investId"].as_str().unwrap().to_owned();
        let invests = answer.data()["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(id)
            .collect();
        Self {
            invests,
            late_token: answer.header("x-consistency-token").unwrap().to_owned(),
            early_token,
        }
    }

    /// In the form of a dictionary: a word on each line, in quotes.
    fn dictionary(&self) -> String {
        self.invests
            .iter()
            .map(|invest| format!("\"{invest}\"\n"))
            .collect()
    }
}

#[rstest]
#[case::reads("reads")]
#[case::writes("writes")]
#[case::admin("admin")]
#[tokio::test]
async fn a_listener_answers_whatever_comes_as_its_document_says(#[case] listener: &str) {
    let folder = TempFolder::new("fuzzed");
    let app = app(&folder).await;
    let known = Known::of(&app).await;
    std::fs::write(folder.join("invests"), known.dictionary()).unwrap();
    std::fs::write(folder.join("fuzzed.toml"), CONFIG).unwrap();
    let process = &app.processes[0];
    let url = match listener {
        "reads" => &process.read,
        "writes" => &process.write,
        _ => &process.admin,
    };
    let mut run = Command::new("python3");
    run.args([
        "-m",
        "schemathesis.cli",
        "--config-file",
        "fuzzed.toml",
        "run",
    ])
    .arg(format!("{url}/openapi.json"));
    run.env("PYTHONPATH", packages())
        .env("MOA_OPERATOR_TOKEN", OPERATOR)
        .env("NO_PROXY", "127.0.0.1");
    run.env("MOA_EARLY_TOKEN", known.early_token)
        .env("MOA_LATE_TOKEN", known.late_token);
    // What it computes of Unicode, once for all runs.
    run.env(
        "HYPOTHESIS_STORAGE_DIRECTORY",
        packages().join("hypothesis-data"),
    );
    run.current_dir(&folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let said = timeout(RUN_TIMEOUT, run.output())
        .await
        .expect("the run ends")
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(
        said.status.success() && text.contains("No issues found"),
        "{text}"
    );
    assert!(
        !process.logged().contains("request failed"),
        "an internal error: {}",
        process.logged()
    );
}
