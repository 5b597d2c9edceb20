//! What is said when something is wrong: one line, each cause once, the setting by the name that it was given by, and what to do.

use std::collections::HashSet;

use rstest::rstest;

use crate::harness::{Ended, Start, TestApp, ask};

/// What libraries say of themselves on their way.
const NOISE: [&str; 6] = [
    "error sending request",
    "client error",
    "tcp connect error",
    "error returned from database",
    "pool timed out",
    "builder error",
];
const TOKEN: &str = "a-token-of-sixteen-characters";
const NOWHERE: &str = "postgres://me@127.0.0.1:1/moa";

/// It ended with 1 and this line, which repeats nothing.
fn complains(ended: &Ended, expected: &str) {
    let line = ended.err.lines().last().unwrap_or_default();
    assert_eq!(
        (ended.status.code(), ended.out.as_str()),
        (Some(1), ""),
        "{}",
        ended.err
    );
    assert!(
        line.starts_with(&format!("moa: {expected}")),
        "{expected:?} does not begin {line:?}"
    );
    let mut parts = HashSet::new();
    assert!(
        line.split(": ").all(|part| parts.insert(part)),
        "{line:?} repeats itself"
    );
    for noise in NOISE {
        assert!(!line.contains(noise), "{line:?} says {noise:?}");
    }
}

#[rstest]
#[case::nobody(&["status", "--admin-url", "http://127.0.0.1:1"],
    "cannot reach Moa at http://127.0.0.1:1 (Connection refused (os error 111)): is it running, and --admin-url right?")]
#[case::no_host(&["audit", "acts", "--admin-url", "http://nosuch.invalid"], "cannot reach Moa at http://nosuch.invalid (failed to lookup")]
#[case::no_url(&["status", "--admin-url", "moa"], "--admin-url must be a URL such as http://127.0.0.1:8082, not moa")]
#[case::no_file(&["audit", "verify", "--export", "/nowhere"], "cannot read /nowhere: No such file or directory")]
#[case::no_invest(&["audit", "invest", "x"], "an invest id is a UUID")]
#[case::no_dump(&["backup", "verify", "--dump", "/nowhere", "--seals", "/nowhere", "--public-key", "/nowhere"], "there is no dump /nowhere")]
#[case::no_database(&["audit", "verify", "--database-url", "moa"], "--database-url cannot be read: it must be postgres://")]
#[case::no_amqp(&["replay", "--to", "q", "--database-url", NOWHERE, "--amqp-url", "moa"], "--amqp-url: the broker's address cannot be used")]
#[case::no_redis(&["serve", "--redis-url", "http://moa"], "--redis-url cannot be read")]
#[case::no_provider(&["serve", "--payment-provider", "http", "--payment-url", "moa"], "--payment-url: the payment provider's URL")]
#[case::no_key(&["serve", "--database-url", NOWHERE, "--seal-key-file", "/nowhere"], "--seal-key-file: cannot read /nowhere")]
#[case::no_tokens(&["serve", "--tokens-file", "/nowhere"], "--tokens-file: cannot read /nowhere")]
#[case::no_secret(&["serve", "--user-auth", "header+secret", "--gateway-secrets-file", "/nowhere"],
    "--gateway-secrets-file: cannot read the secret in /nowhere")]
#[case::no_ca(&["status", "--tls-ca-file", "/nowhere"], "--tls-ca-file: cannot read /nowhere")]
#[case::database_of_an_auditor(&["audit", "verify", "--database-url", NOWHERE],
    "cannot reach the database that --database-url names: nothing answered in time")]
#[case::database(&["migrate", "--database-url", NOWHERE],
    "cannot reach PostgreSQL at 127.0.0.1:1, database moa (nothing answered in time): is it running, and --database-url right?")]
#[tokio::test]
async fn what_is_wrong_is_said_once_by_the_flag_that_was_typed(
    #[case] args: &[&str],
    #[case] expected: &str,
) {
    let listen = ["--query-listen", "--command-listen", "--admin-listen"]
        .iter()
        .flat_map(|flag| [*flag, "127.0.0.1:0"]);
    let listen: Vec<_> = listen.collect();
    let start = Start::bare(args).env("MOA_OPERATOR_TOKEN", TOKEN);
    let start = if args[0] == "serve" {
        start.with(&listen)
    } else {
        start
    };
    complains(&start.end().await, expected);
}

#[rstest]
#[case::admin("MOA_ADMIN_URL", "moa", &["status", "--operator-token", TOKEN], "MOA_ADMIN_URL must be a URL")]
#[case::database("DATABASE_URL", "moa", &["migrate"], "DATABASE_URL cannot be read")]
#[case::token("MOA_OPERATOR_TOKEN", "short", &["status"], "MOA_OPERATOR_TOKEN must be 16 to 256")]
#[case::token_file("MOA_OPERATOR_TOKEN_FILE", "/nowhere", &["status"], "MOA_OPERATOR_TOKEN_FILE: cannot read the secret in /nowhere")]
#[case::ca("MOA_TLS_CA_FILE", "/nowhere", &["status"], "MOA_TLS_CA_FILE: cannot read /nowhere")]
#[case::listener("MOA_QUERY_LISTEN", "192.0.2.1:1", &["serve", "--no-demo"],
    "cannot listen on 192.0.2.1:1 (Cannot assign requested address (os error 99)): stop what is there, or choose another with MOA_QUERY_LISTEN")]
#[tokio::test]
async fn what_the_environment_says_is_called_by_its_variable(
    #[case] name: &str,
    #[case] value: &str,
    #[case] args: &[&str],
    #[case] expected: &str,
) {
    complains(&Start::bare(args).env(name, value).end().await, expected);
}

/// What clap refuses ends with 2, and is named likewise.
#[tokio::test]
async fn a_value_that_cannot_be_is_named_as_it_was_given() {
    let by_flag = Start::bare(&["serve", "--partitions", "65"]).end().await;
    let by_variable = Start::bare(&["serve"])
        .env("MOA_PARTITIONS", "65")
        .end()
        .await;
    for (ended, name) in [
        (by_flag, "--partitions <PARTITIONS>"),
        (by_variable, "MOA_PARTITIONS"),
    ] {
        assert_eq!(ended.status.code(), Some(2));
        assert!(
            ended.err.starts_with(&format!(
                "error: invalid value '65' for '{name}': 65 is not in 1..=64"
            )),
            "{}",
            ended.err
        );
    }
    let both = Start::bare(&["status", "--operator-token-file", "/nowhere"])
        .env("MOA_OPERATOR_TOKEN", TOKEN)
        .end()
        .await;
    assert!(
        both.err.contains(
            "'--operator-token-file <OPERATOR_TOKEN_FILE>' cannot be used with 'MOA_OPERATOR_TOKEN'"
        ),
        "{}",
        both.err
    );
}

/// What a running Moa refuses: in the words of the command line, not of HTTP.
#[tokio::test]
async fn what_a_running_moa_refuses_is_said_in_the_words_of_the_command_line() {
    let app = TestApp::open().await;
    let product = app.open_product("refused", 100).await.to_string();
    assert!(app.invest(ask("ann", 1, 1)).await.is_accepted());
    let unknown = "01a20688-aca6-71c1-9950-dac7abfabb63";
    let times = ["--starts", "soon", "--finishes", "2026-12-01T09:00:00"];
    let open = [
        &["product", "open", "--title", "", "--total", "5"],
        &times[..],
    ]
    .concat();
    for (args, expected) in [
        (
            &["product", "close", "99"][..],
            "there is no such product: `moa product list` shows all",
        ),
        (
            &["product", "cancel", &product, "--reason", ""],
            "--reason must be 1 to 500 characters",
        ),
        (
            &open,
            "--title must be 1 to 500 characters without control characters, was \"\"; --starts must be a date-time",
        ),
        (
            &["product", "list", "--size", "5000"],
            "--size must be a whole number from 1 to 1000, was 5000",
        ),
        (
            &["projection", "rebuild", "nosuch"],
            "there is no read model nosuch: see `moa projection list`",
        ),
        (&["parked", "show", "99"], "there is none with this id"),
        (&["audit", "invest", unknown], "there is none with this id"),
        (&["audit", "product", "99"], "there is none with this id"),
        (
            &["audit", "holdings", "--user", "u", "--at", "yesterday"],
            "--at must be a date-time",
        ),
        (
            &["audit", "events", "--type", "Nope"],
            "--type must be one of ProductOpened",
        ),
        (
            &["audit", "refusals", "--code", "NOPE"],
            "--code must be one of SOLD_OUT",
        ),
        (
            &["audit", "acts", "--limit", "0"],
            "--limit must be a whole number from 1 to 1000, was 0",
        ),
    ] {
        complains(&app.operator(args).await, expected);
    }
    let stranger = app
        .command(&["status"])
        .env("MOA_OPERATOR_TOKEN", TOKEN)
        .end()
        .await;
    complains(
        &stranger,
        "the token is none of that Moa's: set MOA_OPERATOR_TOKEN",
    );
    let read_side = Start::bare(&["status", "--admin-url", &app.processes[0].read])
        .env("MOA_OPERATOR_TOKEN", TOKEN);
    complains(
        &read_side.end().await,
        "what answers there is not Moa's admin listener: set --admin-url",
    );
}
