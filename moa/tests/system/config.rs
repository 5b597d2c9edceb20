//! `moa config check`: what a start would say of its settings, without a start.

use rstest::rstest;
use testbed::TempFolder;

use crate::harness::{Ended, OPERATOR, Start};

const CANARY: &str = "canary9d41";
/// Nothing listens there: a check that connected would say so.
const NOWHERE: &str = "postgres://me:canary9d41@127.0.0.1:1/moa";

async fn checked(args: &[&str], variables: &[(&str, &str)]) -> Ended {
    let start = Start::bare(&[&["config", "check"], args].concat());
    variables
        .iter()
        .fold(start, |start, (name, value)| start.env(name, value))
        .end()
        .await
}

#[tokio::test]
async fn good_settings_are_listed_with_their_sources_and_without_secrets() {
    let folder = TempFolder::new("config");
    let data = folder.file("data");
    let variables = [
        ("DATABASE_URL", NOWHERE),
        ("MOA_OPERATOR_TOKEN", OPERATOR),
        ("AMQP_URL", "amqp://me:canary9d41@mq"),
    ];
    let ended = checked(
        &["--time-zone", "UTC", "--data-dir", &data, "--no-demo"],
        &variables,
    )
    .await;
    assert!(ended.status.success(), "{}", ended.err);
    let lines: Vec<_> = ended.out.lines().collect();
    for expected in [
        "--time-zone=UTC  (argument)",
        "DATABASE_URL=postgres://127.0.0.1:1  (environment)",
        "AMQP_URL=amqp://mq  (environment)",
        "MOA_OPERATOR_TOKEN=(set)  (environment)",
    ] {
        assert!(lines.contains(&expected), "{expected}: {lines:#?}");
    }
    assert_eq!(lines.last(), Some(&"The settings are good."));
    for secret in [CANARY, OPERATOR] {
        assert!(
            !format!("{}{}", ended.out, ended.err).contains(secret),
            "{secret} shows"
        );
    }
    assert!(!std::path::Path::new(&data).exists(), "nothing is made");
}

/// The first error is the one of a start, in the same words, for everything in one process and for each service alone.
#[rstest]
#[case::all(&[], &[("MOA_OPERATOR_TOKEN", "short")], "MOA_OPERATOR_TOKEN must be 16 to 256 visible ASCII characters")]
#[case::public(&["--query-listen", "0.0.0.0:0"], &[], "0.0.0.0:0 is beyond loopback, and X-USER-ID would be believed from anybody: set MOA_USER_AUTH")]
#[case::database(&["--database-url", "moa"], &[], "--database-url cannot be read: it must be postgres://user@host:port/name")]
#[case::seal(&[], &[("MOA_SEAL_KEY_FILE", "/nowhere"), ("DATABASE_URL", NOWHERE)], "MOA_SEAL_KEY_FILE: cannot read /nowhere")]
#[case::tls(&["--tls-ca-file", "/nowhere"], &[], "--tls-ca-file: cannot read /nowhere")]
#[case::command_api(&["command-api"], &[("MOA_PAYMENT_PROVIDER", "http"), ("MOA_PAYMENT_URL", "x"), ("DATABASE_URL", NOWHERE)], "MOA_PAYMENT_URL: ")]
#[case::query_api(&["query-api"], &[("REDIS_URL", "http://x"), ("DATABASE_URL", NOWHERE)], "REDIS_URL cannot be read")]
#[case::projector(&["projector"], &[("AMQP_URL", "x"), ("DATABASE_URL", NOWHERE)], "AMQP_URL: the broker's address cannot be used")]
#[case::relay(&["relay"], &[("AMQP_URL", "x"), ("DATABASE_URL", NOWHERE)], "AMQP_URL: the broker's address cannot be used")]
#[case::admin(&["admin"], &[("DATABASE_URL", NOWHERE)], "set MOA_OPERATOR_TOKEN or MOA_OPERATOR_TOKEN_FILE")]
#[case::sealer(&["sealer"], &[("DATABASE_URL", "x"), ("MOA_SEAL_KEY_FILE", "/nowhere"), ("MOA_SEALS_FILE", "/nowhere")], "MOA_SEAL_KEY_FILE: cannot read")]
#[tokio::test]
async fn the_first_error_is_the_one_of_a_start(
    #[case] args: &[&str],
    #[case] variables: &[(&str, &str)],
    #[case] expected: &str,
) {
    let ended = checked(args, variables).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.out);
    let said = ended.err.lines().last().unwrap_or_default();
    assert!(
        said.starts_with(&format!("moa: {expected}")),
        "{expected}: {}",
        ended.err
    );
    assert!(
        !ended.out.contains("are good") && !said.contains(CANARY),
        "{}{said}",
        ended.out
    );
    let start = Start::bare(&[&["serve"], args].concat());
    let started = variables
        .iter()
        .fold(start, |start, (name, value)| start.env(name, value));
    let started = if args.contains(&"--query-listen") {
        started.env("MOA_QUERY_LISTEN", "0.0.0.0:0")
    } else {
        started
    };
    let listeners = [
        "MOA_COMMAND_LISTEN",
        "MOA_QUERY_LISTEN",
        "MOA_ADMIN_LISTEN",
        "MOA_OPS_LISTEN",
    ];
    let started = listeners
        .iter()
        .fold(started, |start, name| match start.variable(name) {
            Some(_) => start,
            None => start.env(name, "127.0.0.1:0"),
        });
    let started = started.end().await.err;
    let started = started.lines().last().unwrap_or_default();
    // A start knows the port that the system has given it.
    let without_port = |line: &str| {
        line.chars()
            .filter(|c| !c.is_ascii_digit())
            .collect::<String>()
    };
    assert_eq!(without_port(started), without_port(said));
}

#[tokio::test]
async fn a_value_that_cannot_be_ends_with_two() {
    let ended = checked(&[], &[("MOA_PARTITIONS", "65")]).await;
    assert_eq!(
        (ended.status.code(), ended.out.as_str()),
        (Some(2), ""),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("'MOA_PARTITIONS': 65 is not in 1..=64"),
        "{}",
        ended.err
    );
}
