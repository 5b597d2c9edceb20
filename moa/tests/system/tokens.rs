//! Named tokens: a file of hashes that is read again when it changes.

use reqwest::Method;
use rstest::rstest;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use testbed::TempFolder;

use crate::harness::{OPERATOR, Start, TEST_TIMEOUT, TestApp, within};

/// A token that `moa token new` made.
pub struct Named {
    pub token: String,
    pub line: String,
}

pub async fn token(name: &str, role: &str) -> Named {
    let made = Start::bare(&["token", "new", name, "--role", role, "--json"])
        .end()
        .await;
    let made: Value = serde_json::from_str(&made.out).unwrap_or_else(|_| panic!("{}", made.err));
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Named {
        token: text("token"),
        line: text("line"),
    }
}

/// The file is there whole or not at all.
pub fn write(path: &str, lines: &[&str]) {
    let (fresh, text) = (
        format!("{path}.fresh"),
        lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

async fn status(app: &TestApp, token: &str) -> u16 {
    app.api(0)
        .admin_with(Method::GET, "/admin/product", Some(token), |it| it)
        .await
        .status
}

/// Steps: a token is rotated: the new one is let in beside the old one, then alone; a line that is none, and a file that others may write to
/// or that is gone, change nothing and are told; a token that is taken back is refused.
#[tokio::test]
async fn the_file_of_tokens_is_read_again_and_a_broken_one_changes_nothing() {
    let folder = TempFolder::new("tokens");
    let file = folder.file("tokens");
    let [old, new, bob] = [
        token("ann", "operator").await,
        token("ann", "operator").await,
        token("bob", "operator").await,
    ];
    write(&file, &[&old.line, &bob.line]);
    let start = Start::serve()
        .without("MOA_OPERATOR_TOKEN")
        .without("MOA_AUDITOR_TOKEN")
        .env("MOA_TOKENS_FILE", &file);
    let app = TestApp::of(1, start).await;
    assert_eq!(
        (
            status(&app, &old.token).await,
            status(&app, &new.token).await,
            status(&app, OPERATOR).await
        ),
        (200, 401, 401)
    );

    write(&file, &[&old.line, &new.line, &bob.line]);
    becomes(&app, &new.token, 200).await;
    assert_eq!(status(&app, &old.token).await, 200);
    write(&file, &[&new.line, &bob.line]);
    becomes(&app, &old.token, 401).await;
    assert_eq!(status(&app, &new.token).await, 200);

    write(&file, &[&old.line, "eve operator everything"]);
    is_valid(&app, false).await;
    let logged = app.processes[0].logged();
    assert!(
        logged.contains("line 2: the hash must be the SHA-256 of the token in 64 hex digits"),
        "{logged}"
    );
    assert!(!logged.contains("everything"), "{logged}");
    assert_eq!(
        (
            status(&app, &old.token).await,
            status(&app, &new.token).await
        ),
        (401, 200)
    );
    write(&file, &[&new.line]);
    becomes(&app, &bob.token, 401).await;
    is_valid(&app, true).await;

    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    is_valid(&app, false).await;
    fs::remove_file(&file).unwrap();
    assert_eq!(status(&app, &new.token).await, 200);
    write(&file, &["# nobody"]);
    becomes(&app, &new.token, 401).await;
    is_valid(&app, true).await;
}

async fn becomes(app: &TestApp, token: &str, expected: u16) {
    let is_so = async || (status(app, token).await == expected).then_some(());
    within(TEST_TIMEOUT, "the file is read again", is_so).await;
}

async fn is_valid(app: &TestApp, expected: bool) {
    let line = format!("moa_tokens_file_valid {}", u8::from(expected));
    let url = format!("{}/metrics", app.processes[0].ops);
    let is_so = async || {
        let shown = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(&url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        shown.lines().any(|shown| shown == line).then_some(())
    };
    within(TEST_TIMEOUT, &line, is_so).await;
}

#[rstest]
#[case::no_operator(&["eve auditor ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"], 0o600, "MOA_TOKENS_FILE has no operator")]
#[case::nobody(&[], 0o600, "MOA_TOKENS_FILE has no operator")]
#[case::no_entry(&["ann operator"], 0o600, "line 1: must be a name, a role and a hash")]
#[case::written_by_others(&["# nobody"], 0o620, "others than its owner may write to")]
#[tokio::test]
async fn a_start_with_a_file_that_cannot_be_used_is_refused(
    #[case] lines: &[&str],
    #[case] mode: u32,
    #[case] said: &str,
) {
    let folder = TempFolder::new("tokens");
    let file = folder.file("tokens");
    write(&file, lines);
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let start = Start::serve()
        .without("MOA_OPERATOR_TOKEN")
        .on(nowhere)
        .env("MOA_TOKENS_FILE", &file);
    let alone = Start::bare(&["serve", "admin", "--admin-listen", "127.0.0.1:0"])
        .on(nowhere)
        .env("MOA_TOKENS_FILE", &file);
    for start in [start, alone] {
        let ended = start.end().await;
        assert!(
            !ended.status.success() && ended.err.contains(said),
            "{}",
            ended.err
        );
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_its_name_and_role_must_be_good() {
    let made = Start::bare(&["token", "new", "ann", "--role", "operator"])
        .end()
        .await;
    assert!(
        made.out
            .contains("\nIts line for MOA_TOKENS_FILE: ann operator "),
        "{}",
        made.out
    );
    assert_ne!(
        token("ann", "operator").await.token,
        token("ann", "operator").await.token
    );
    for (name, role, said) in [
        (
            "an n",
            "operator",
            "a name must be 1 to 64 of A-Z a-z 0-9 . _ -",
        ),
        (
            "operator",
            "operator",
            "the names operator and auditor are those of",
        ),
        ("ann", "admin", "a role must be operator or auditor"),
    ] {
        let refused = Start::bare(&["token", "new", name, "--role", role])
            .end()
            .await;
        assert!(
            !refused.status.success() && refused.err.contains(said),
            "{}",
            refused.err
        );
    }
}
