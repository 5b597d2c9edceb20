//! A bad setting stops the start with a sentence, and no secret ever shows.

use rstest::rstest;

use crate::harness::{Ended, OPERATOR, Start, TestApp, ask};

/// In what is secret of a setting; must show nowhere.
const CANARY: &str = "canary9d41";

/// It ended without opening, said nothing on standard output, and on standard error what is expected, in few lines and
/// without a stack or the canary.
fn is_refused(ended: &Ended, expected: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert!(
        !ended.status.success() && ended.status.code().is_some(),
        "{:?}: {said}",
        ended.status
    );
    assert!(
        ended.err.contains(expected),
        "{expected:?} is not in {said}"
    );
    for never in [
        CANARY,
        OPERATOR,
        "panicked",
        "stack backtrace",
        "Moa is open",
    ] {
        assert!(!said.contains(never), "{never:?} is in {said}");
    }
}

/// What clap says of a bad value ends with a hint at `--help`; what we say is one line.
fn in_one_sentence(ended: &Ended) {
    assert_eq!(
        (ended.err.lines().count(), ended.out.as_str()),
        (1, ""),
        "{}",
        ended.err
    );
    assert!(ended.err.starts_with("moa: "), "{}", ended.err);
}

/// No database is there at all: it is not asked for.
fn nowhere() -> Start {
    Start::serve().on("postgres://nobody@127.0.0.1:1/none")
}

#[rstest]
#[case::zone(
    "MOA_TIME_ZONE",
    "Asia/Seoull",
    "must be the name of a time zone, such as Asia/Seoul"
)]
#[case::no_partitions("MOA_PARTITIONS", "0", "0 is not in 1..=64")]
#[case::too_many_partitions("MOA_PARTITIONS", "65", "65 is not in 1..=64")]
#[case::reservation(
    "MOA_RESERVATION_SECONDS",
    "0",
    "must be a whole number from 1 to 604800"
)]
#[case::idling(
    "MOA_IDLE_TIMEOUT_SECONDS",
    "0",
    "must be a whole number from 1 to 3600"
)]
#[case::peers(
    "MOA_MAX_CONNECTIONS_PER_PEER",
    "0",
    "must be a whole number from 1 to 1000000"
)]
#[case::host(
    "MOA_ALLOWED_HOSTS",
    "http://admin-1",
    "must be the name of a host such as admin.example"
)]
#[case::address("MOA_QUERY_LISTEN", "localhost", "invalid socket address")]
#[case::origin("MOA_ALLOWED_ORIGINS", "*", "*")]
#[tokio::test]
async fn a_value_that_cannot_be_is_refused_by_name(
    #[case] name: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let start = Start::bare(&["--no-demo"])
        .env("MOA_OPERATOR_TOKEN", OPERATOR)
        .env(name, value);
    let ended = start.on("postgres://nobody@127.0.0.1:1/none").end().await;
    is_refused(&ended, expected);
}

#[rstest]
#[case::directive("moa=loud")]
#[case::level("[")]
#[tokio::test]
async fn log_directives_that_cannot_be_read_are_refused(#[case] directives: &str) {
    let ended = nowhere().env("MOA_LOG", directives).end().await;
    is_refused(&ended, "the log setting cannot be read");
    in_one_sentence(&ended);
}

#[rstest]
#[case::short(
    "MOA_OPERATOR_TOKEN",
    "canary9d41",
    "MOA_OPERATOR_TOKEN must be 16 to 256 visible ASCII characters"
)]
#[case::blank(
    "MOA_OPERATOR_TOKEN",
    "canary9d41 canary9d41",
    "MOA_OPERATOR_TOKEN must be 16 to 256 visible ASCII"
)]
#[case::auditor(
    "MOA_AUDITOR_TOKEN",
    "canary9d41",
    "MOA_AUDITOR_TOKEN must be 16 to 256 visible ASCII characters"
)]
#[tokio::test]
async fn a_bad_token_is_refused_and_not_shown(
    #[case] name: &str,
    #[case] token: &str,
    #[case] expected: &str,
) {
    let ended = nowhere().env(name, token).end().await;
    is_refused(&ended, expected);
    in_one_sentence(&ended);
}

/// Were they the same, every auditor would be an operator.
#[tokio::test]
async fn the_two_roles_may_not_share_a_token() {
    let ended = nowhere().env("MOA_AUDITOR_TOKEN", OPERATOR).end().await;
    is_refused(&ended, "MOA_AUDITOR_TOKEN");
    in_one_sentence(&ended);
}

#[rstest]
#[case::unreachable(
    "postgres://me:canary9d41@127.0.0.1:1/moa",
    "cannot reach PostgreSQL at 127.0.0.1:1"
)]
#[case::no_url("canary9d41", "DATABASE_URL cannot be read")]
#[case::no_port(
    "postgres://me:canary9d41@host:port/moa",
    "DATABASE_URL cannot be read"
)]
#[case::other_scheme("mysql://me:canary9d41@127.0.0.1:1/moa", "DATABASE_URL cannot be read")]
#[case::bad_option(
    "postgres://me:canary9d41@127.0.0.1:1/moa?sslmode=canary9d41",
    "DATABASE_URL cannot be read"
)]
#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_without_its_password(
    #[case] url: &str,
    #[case] expected: &str,
) {
    let ended = Start::serve().on(url).env("MOA_LOG", "trace").end().await;
    is_refused(&ended, expected);
    let last = ended.err.lines().last().unwrap();
    assert!(
        last.starts_with("moa: ") && last.contains(expected),
        "{last}"
    );
}

#[tokio::test]
async fn a_busy_port_is_refused_by_the_flag_that_chooses_another() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    for flag in ["query", "command", "admin"] {
        let start = Start::bare(&["--no-demo"]).env("MOA_OPERATOR_TOKEN", OPERATOR);
        let listen = |who: &str| {
            if who == flag {
                address.clone()
            } else {
                "127.0.0.1:0".to_owned()
            }
        };
        let start = ["query", "command", "admin"]
            .iter()
            .fold(start, |start, who| {
                start.with(&[&format!("--{who}-listen"), &listen(who)])
            });
        let ended = start.on("postgres://nobody@127.0.0.1:1/none").end().await;
        is_refused(&ended, &format!("cannot listen on {address}"));
        assert!(
            ended.err.contains(&format!("--{flag}-listen")),
            "{}",
            ended.err
        );
        in_one_sentence(&ended);
    }
}

#[tokio::test]
async fn a_log_keeps_its_number_of_partitions() {
    let database = testbed::Database::fresh().await;
    let start = Start::serve().on(database.url());
    let moa = start.clone().with(&["--partitions", "3"]).open().await;
    let ended = start.clone().with(&["--partitions", "5"]).end().await;
    is_refused(
        &ended,
        "this log was created with 3 partitions, which cannot change",
    );
    drop(moa);
    // Told before anything is migrated: this release's last migration seems not to have run.
    let pool = database.pool().await;
    let unmigrate = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations) returning version";
    let last: i64 = sqlx::query_scalar(unmigrate)
        .fetch_one(&pool)
        .await
        .unwrap();
    let ended = start.clone().with(&["--partitions", "5"]).end().await;
    is_refused(
        &ended,
        "this log was created with 3 partitions, which cannot change",
    );
    assert!(
        last > 0 && !ended.err.contains("could not be brought up to date"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_log_that_is_there_needs_no_number_of_partitions() {
    let database = testbed::Database::fresh().await;
    let start = Start::serve().on(database.url());
    drop(start.clone().with(&["--partitions", "3"]).open().await);
    // Not told, it takes the log's own.
    start.open().await;
}

/// A process that works, at the most talkative log level, shows no secret either.
#[tokio::test]
async fn secrets_show_neither_in_the_banner_nor_in_the_logs_nor_in_help() {
    let database = testbed::Database::fresh().await;
    let with_password = with_password(database.url());
    let start = Start::serve()
        .on(&with_password)
        .env("MOA_LOG", "trace")
        .env("MOA_OPERATOR_TOKEN", OPERATOR);
    let moa = start.open().await;
    let api = crate::harness::ApiClient::of(
        0,
        &moa,
        crate::harness::client(),
        crate::harness::Journal::default(),
    );
    api.operate(reqwest::Method::GET, "/admin/projection", None)
        .await;
    api.invest(ask("ann", 1, 1)).await;
    let ended = moa.stopped(crate::harness::TEST_TIMEOUT).await;
    let help = Start::bare(&["serve", "--help"])
        .on(&with_password)
        .env("MOA_OPERATOR_TOKEN", OPERATOR)
        .end()
        .await;
    assert!(help.status.success() && help.out.contains("--database-url"));
    for said in [ended.out, ended.err, help.out, help.err] {
        for secret in [
            CANARY,
            OPERATOR,
            crate::harness::AUDITOR,
            with_password.as_str(),
        ] {
            assert!(!said.contains(secret), "{secret} is in {said}");
        }
    }
}

/// The same database with a password, which a server that trusts us does not ask for.
fn with_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    match rest.split_once('@') {
        Some((user, _)) if user.contains(':') => url.to_owned(),
        Some((user, place)) => format!("{scheme}://{user}:{CANARY}@{place}"),
        None => url.to_owned(),
    }
}

#[tokio::test]
async fn a_file_may_hold_a_token_but_not_beside_another() {
    let app = TestApp::open().await;
    let file = std::env::temp_dir().join(format!("moa-token-{}", uuid::Uuid::now_v7().simple()));
    std::fs::write(&file, format!("{OPERATOR}\n")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let path = file.to_str().unwrap();
    let admin = ["--admin-url", app.processes[0].admin.as_str()];
    let status = Start::bare(&["status"])
        .with(&admin)
        .with(&["--operator-token-file", path])
        .end()
        .await;
    assert!(status.status.success(), "{}", status.err);
    let both = nowhere().with(&["--operator-token-file", path]).end().await;
    is_refused(&both, "cannot be used with");
    std::fs::remove_file(&file).unwrap();
    let gone = Start::bare(&["status"])
        .with(&admin)
        .with(&["--operator-token-file", path])
        .end()
        .await;
    is_refused(&gone, "cannot read the secret in");
}
