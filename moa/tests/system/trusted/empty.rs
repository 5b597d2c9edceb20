//! A setting that is empty is not set, whichever it is: from clap's own list.

use clap::{Command, CommandFactory as _};
use futures::future::join_all;
use rstest::rstest;

use super::{SERVICES, is_refused, service};
use crate::harness::{Leftovers, Start};

/// The variables of a command and of those above it, from clap's own list.
fn variables(command: &Command) -> Vec<String> {
    command
        .get_arguments()
        .filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()))
        .collect()
}

/// Every command that has none below it, by its arguments, with its variables.
fn leaves(command: &Command, path: &[String], above: &[String]) -> Vec<(Vec<String>, Vec<String>)> {
    let known = [above, &variables(command)].concat();
    let below: Vec<_> = command.get_subcommands().collect();
    if below.is_empty() {
        return vec![(path.to_vec(), known)];
    }
    let leaf = |sub: &&Command| leaves(sub, &[path, &[sub.get_name().to_owned()]].concat(), &known);
    below.iter().flat_map(leaf).collect()
}

/// Compose's `${VAR:-}`.
#[tokio::test]
async fn an_empty_variable_is_complained_of_by_no_command() {
    let commands = leaves(&moa::settings::Cli::command(), &[], &[]);
    assert!(commands.len() > 30, "{}", commands.len());
    // These would start a PostgreSQL, as they may: the next test has them.
    let ended = commands
        .iter()
        .filter(|(path, _)| path.join(" ") != "migrate")
        .map(async |(path, variables)| {
            let args: Vec<_> = path.iter().map(String::as_str).collect();
            let start = variables
                .iter()
                .fold(Start::bare(&args), |start, name| start.env(name, ""));
            (args.join(" "), start.end().await)
        });
    for (command, ended) in join_all(ended).await {
        for complaint in [
            "invalid value",
            "a value is required",
            "cannot be used with",
            "must be",
            "cannot read",
        ] {
            assert!(!ended.err.contains(complaint), "{command}: {}", ended.err);
        }
    }
}

/// Steps: every setting of a service is set to nothing, but what it cannot do without and its ports; it opens.
#[tokio::test]
async fn a_service_opens_with_every_other_setting_empty() {
    let (database, folder) = (testbed::Database::fresh().await, super::open_folder());
    let _leftovers = Leftovers::of(database.url());
    let cli = moa::settings::Cli::command();
    let serve = cli.find_subcommand("serve").unwrap();
    for name in SERVICES {
        let start = service(name, database.url(), &folder);
        let listed = variables(serve.find_subcommand(name).unwrap_or(serve));
        let needed = [
            "DATABASE_URL",
            "MOA_SEAL_KEY_FILE",
            "MOA_SEALS_FILE",
            "MOA_OPERATOR_TOKEN",
        ];
        let may_go = |variable: &&String| match name {
            "relay" => !["DATABASE_URL", "AMQP_URL"].contains(&variable.as_str()),
            "admin" | "sealer" => !needed.contains(&variable.as_str()),
            _ => *variable != "DATABASE_URL",
        };
        let empty: Vec<_> = listed.iter().filter(may_go).collect();
        assert!(empty.len() > 1, "{name}: {listed:?}");
        empty
            .iter()
            .fold(start.env("MOA_LOG", ""), |start, variable| {
                start.env(variable, "")
            })
            .open()
            .await;
    }
}

/// Without one a private PostgreSQL is meant.
#[tokio::test]
async fn an_empty_database_url_is_none() {
    let start = Start::serve()
        .with(&["--ephemeral"])
        .on("")
        .env("MOA_DATA_DIR", "");
    let moa = start.open().await;
    assert!(
        moa.said().contains("data kept only until Moa stops"),
        "{}",
        moa.said()
    );
    moa.signal("TERM");
    assert!(
        moa.ended(crate::harness::TEST_TIMEOUT)
            .await
            .status
            .success()
    );
}

#[rstest]
#[case("MOA_QUERY_LISTEN", "127.0.0.1:8080", "--query-listen")]
#[case("MOA_COMMAND_LISTEN", "127.0.0.1:8081", "--command-listen")]
#[case("MOA_ADMIN_LISTEN", "127.0.0.1:8082", "--admin-listen")]
#[tokio::test]
async fn an_empty_port_is_the_usual_one(
    #[case] variable: &str,
    #[case] usual: &str,
    #[case] flag: &str,
) {
    // Ours, or somebody else's.
    let _taken = std::net::TcpListener::bind(usual);
    let listens = ["MOA_QUERY_LISTEN", "MOA_COMMAND_LISTEN", "MOA_ADMIN_LISTEN"];
    let start = listens.iter().fold(Start::bare(&["serve"]), |start, name| {
        start.env(name, "127.0.0.1:0")
    });
    let ended = start
        .on("postgres://nobody@127.0.0.1:1/none")
        .env(variable, "")
        .end()
        .await;
    is_refused(&ended, &format!("cannot listen on {usual}"));
    assert!(ended.err.contains(flag), "{}", ended.err);
}
