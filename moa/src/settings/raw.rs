//! The environment and arguments as they were given: an empty value counts as none, and a secret among the arguments is
//! reported.

mod names;

pub(crate) use names::as_given;

use super::Cli;
use crate::secret::Secret;
use clap::builder::{Resettable, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches as _, value_parser};
use names::{is_given, is_setting};
use reqwest::Url;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::sync::OnceLock;

/// The settings, and a sentence for each secret that the list of processes shows. What cannot be read ends the process with
/// a sentence, as does `--help`.
pub fn read() -> (Cli, BTreeSet<String>) {
    let mut command = without_empty_variables(super::command());
    let arguments = without_empty_flags(std::env::args_os(), &flags(&command));
    let matches = command.try_get_matches_from_mut(&arguments);
    let matches =
        matches.unwrap_or_else(|error| names::of_environment(error, &command, &arguments).exit());
    let cli =
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    let command = super::command();
    names::keep(&command, &matches);
    GIVEN.get_or_init(|| given_to(&command, &matches).join(" "));
    SOURCES.get_or_init(|| sources_of(&command, &matches));
    (cli, exposed(&command, &matches))
}

/// The command and what was set by arguments and environment when [`read`] was called, each as `flag=value`, secrets left out: for the log.
pub(crate) fn given() -> &'static str {
    GIVEN.get().map_or("", String::as_str)
}

/// Each setting that was given, by the name that it was given by, with its value and where that came from; of a secret only that it is
/// set. Empty before [`read`] was called.
pub(crate) fn sources() -> &'static [String] {
    SOURCES.get().map_or(&[], Vec::as_slice)
}

static GIVEN: OnceLock<String> = OnceLock::new();
static SOURCES: OnceLock<Vec<String>> = OnceLock::new();

fn sources_of(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let settings = command
        .get_arguments()
        .filter(|arg| is_setting(arg) && is_given(arg, matches));
    let mut sources: Vec<_> = settings.map(|arg| source(arg, matches)).collect();
    if let Some((name, below)) = matches.subcommand() {
        let below = command
            .find_subcommand(name)
            .map(|command| sources_of(command, below))
            .unwrap_or_default();
        // A global one is known above and below.
        sources.extend(
            below
                .into_iter()
                .filter(|source| !sources.contains(source))
                .collect::<Vec<_>>(),
        );
    }
    sources
}

fn source(arg: &Arg, matches: &ArgMatches) -> String {
    let (flag, shown) = (arg.get_long().unwrap_or_default(), shown(arg, matches));
    let value = shown.strip_prefix(flag).unwrap_or(&shown);
    match matches.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => format!("--{flag}{value}  (argument)"),
        _ => format!(
            "{}{value}  (environment)",
            arg.get_env().unwrap_or_default().display()
        ),
    }
}

fn given_to(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let settings = command
        .get_arguments()
        .filter(|arg| is_setting(arg) && is_given(arg, matches));
    let mut given: Vec<_> = settings.map(|arg| shown(arg, matches)).collect();
    if let Some((name, below)) = matches.subcommand() {
        given.insert(0, name.to_owned());
        given.extend(
            command
                .find_subcommand(name)
                .map(|command| given_to(command, below))
                .unwrap_or_default(),
        );
    }
    given
}

/// Of a secret only that it is set; of one that is a URL, where it leads.
fn shown(arg: &Arg, matches: &ArgMatches) -> String {
    let (id, flag) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
    let raw = matches
        .get_raw(id)
        .into_iter()
        .flatten()
        .map(|value| value.to_string_lossy());
    let hides = |value: &str| is_secret(arg) || value.contains("://") && has_secret(value);
    let value = raw.map(|value| {
        if hides(&value) {
            place(id, &value)
        } else {
            value.into_owned()
        }
    });
    format!("{flag}={}", value.collect::<Vec<_>>().join(","))
}

fn place(id: &str, secret: &str) -> String {
    let url = Url::parse(secret)
        .ok()
        .filter(|_| id.ends_with("_url") || secret.contains("://"));
    let place = url.and_then(|url| {
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        Some(format!("{}://{}{port}", url.scheme(), url.host_str()?))
    });
    place.unwrap_or_else(|| "(set)".into())
}

/// Compose files and charts set what they have no value for to the empty string.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| {
        arg.get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty())
    };
    let without = |arg: Arg| {
        if is_empty(&arg) {
            arg.env(Resettable::Reset)
        } else {
            arg
        }
    };
    command
        .mut_args(without)
        .mut_subcommands(without_empty_variables)
}

/// The same for the flags of settings: `--redis-url=` and `--redis-url ""`.
fn without_empty_flags(
    arguments: impl Iterator<Item = OsString>,
    flags: &HashSet<String>,
) -> Vec<OsString> {
    let (mut kept, mut arguments) = (Vec::new(), arguments.peekable());
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().unwrap_or_default();
        let is_empty = text
            .strip_suffix('=')
            .is_some_and(|flag| flags.contains(flag));
        if flags.contains(text) && arguments.next_if(|next| next.is_empty()).is_some() || is_empty {
            continue;
        }
        kept.push(argument);
    }
    kept
}

/// Those of all settings that the environment may name, with their dashes.
fn flags(command: &Command) -> HashSet<String> {
    let settings = command.get_arguments().filter(|arg| is_setting(arg));
    let own = settings.filter_map(|arg| Some(format!("--{}", arg.get_long()?)));
    own.chain(command.get_subcommands().flat_map(flags))
        .collect()
}

/// A sentence for each secret among the arguments, which everybody on the machine sees.
fn exposed(command: &Command, matches: &ArgMatches) -> BTreeSet<String> {
    let here = command
        .get_arguments()
        .filter(|arg| is_secret(arg) && shows(arg, matches));
    let here: BTreeSet<_> = here.map(|arg| sentence(command, arg)).collect();
    let below = matches
        .subcommand()
        .and_then(|(name, below)| Some(exposed(command.find_subcommand(name)?, below)));
    here.into_iter().chain(below.unwrap_or_default()).collect()
}

fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == ValueParser::from(value_parser!(Secret)).type_id()
}

fn shows(arg: &Arg, matches: &ArgMatches) -> bool {
    let id = arg.get_id().as_str();
    let raw = matches.try_get_one::<Secret>(id).ok().flatten();
    let in_arguments = |_: &&Secret| matches.value_source(id) == Some(ValueSource::CommandLine);
    raw.filter(in_arguments)
        .is_some_and(|secret| !id.ends_with("_url") || has_secret(secret.reveal()))
}

/// Whether the URL has more in it than a place and a user.
fn has_secret(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return true;
    };
    let of_http = ["http", "https"].contains(&url.scheme())
        && (url.query().is_some() || !url.username().is_empty());
    url.password().is_some() || of_http || url.query_pairs().any(|(name, _)| name == "password")
}

fn sentence(command: &Command, arg: &Arg) -> String {
    let flag = arg.get_long().unwrap_or_default();
    let named = format!("{flag}-file");
    let file = command
        .get_arguments()
        .find(|other| other.get_long() == Some(&named))
        .and_then(Arg::get_env);
    let instead = match (
        arg.get_env().map(|name| name.display()),
        file.map(|name| name.display()),
    ) {
        (Some(variable), Some(file)) => format!("set {variable} or {file} instead"),
        (Some(variable), None) => format!("set {variable} instead"),
        _ => "leave the password out, and put it into ~/.pgpass".to_owned(),
    };
    format!(
        "everybody on this machine sees the secret in --{flag} in the list of processes: {instead}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: &Command) -> Vec<Arg> {
        let own = command.get_arguments().cloned();
        own.chain(command.get_subcommands().flat_map(all)).collect()
    }

    #[test]
    fn help_shows_no_secret_of_the_environment() {
        let secrets: Vec<_> = all(&super::super::command())
            .into_iter()
            .filter(|arg| is_secret(arg) && is_setting(arg))
            .collect();
        assert!(secrets.len() > 10, "{}", secrets.len());
        for arg in secrets {
            assert!(
                arg.is_hide_env_values_set(),
                "{} is shown by --help",
                arg.get_id()
            );
        }
    }

    #[test]
    fn what_was_set_is_shown_without_secrets() {
        let secrets = [
            "--database-url",
            "postgres://me:canary@host:5433/moa?password=canary",
            "--operator-token",
            "a-canary-of-sixteen",
        ];
        let arguments = [
            &[
                "moa",
                "serve",
                "--time-zone",
                "Asia/Seoul",
                "--amqp-url",
                "amqp://me:canary@[::1]/x",
            ],
            &secrets[..],
        ]
        .concat();
        let mut command = super::super::command().mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command
            .try_get_matches_from_mut(arguments)
            .expect("good arguments");
        let given = given_to(&super::super::command(), &matches).join(" ");
        for expected in [
            "time-zone=Asia/Seoul",
            "database-url=postgres://host:5433",
            "amqp-url=amqp://[::1]",
            "operator-token=(set)",
        ] {
            assert!(given.contains(expected), "{expected}: {given}");
        }
        assert!(!given.contains("canary"), "{given}");
    }

    fn reported(arguments: &[&str]) -> Vec<String> {
        let arguments = [&["moa"], arguments].concat();
        let mut command = super::super::command().mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command
            .try_get_matches_from_mut(arguments)
            .expect("good arguments");
        exposed(&super::super::command(), &matches)
            .into_iter()
            .collect()
    }

    fn of(flag: &str, instead: &str) -> Vec<String> {
        vec![format!(
            "everybody on this machine sees the secret in --{flag} in the list of processes: {instead}"
        )]
    }

    #[test]
    fn a_secret_among_the_arguments_is_told_with_the_way_out() {
        let token = "a-token-of-sixteen-characters";
        let operator = of(
            "operator-token",
            "set MOA_OPERATOR_TOKEN or MOA_OPERATOR_TOKEN_FILE instead",
        );
        assert_eq!(reported(&["serve", "--operator-token", token]), operator);
        assert_eq!(reported(&["--operator-token", token]), operator);
        assert_eq!(
            reported(&["product", "list", "--operator-token", token]),
            operator
        );
        assert_eq!(reported(&["status", "--operator-token", token]), operator);
        let auditor = of(
            "auditor-token",
            "set MOA_AUDITOR_TOKEN or MOA_AUDITOR_TOKEN_FILE instead",
        );
        assert_eq!(
            reported(&["audit", "seals", "--auditor-token", token]),
            auditor
        );
        let database = of("database-url", "set DATABASE_URL instead");
        assert_eq!(
            reported(&["migrate", "--database-url", "postgres://me:secret@host/moa"]),
            database
        );
        assert_eq!(
            reported(&[
                "migrate",
                "--database-url",
                "postgres://me@host/moa?password=secret"
            ]),
            database
        );
        let amqp = [
            "serve",
            "relay",
            "--database-url",
            "postgres://me@host/moa",
            "--amqp-url",
            "amqp://me:secret@host",
        ];
        assert_eq!(reported(&amqp), of("amqp-url", "set AMQP_URL instead"));
        let redis = ["serve", "--redis-url", "redis://:secret@host"];
        assert_eq!(reported(&redis), of("redis-url", "set REDIS_URL instead"));
        let payment = ["serve", "--payment-url", "http://host/?key=secret"];
        assert_eq!(
            reported(&payment),
            of("payment-url", "set MOA_PAYMENT_URL instead")
        );
        let verify = [
            "audit",
            "verify",
            "--database-url",
            "postgres://me:secret@host/moa",
        ];
        assert_eq!(
            reported(&verify),
            of(
                "database-url",
                "leave the password out, and put it into ~/.pgpass"
            )
        );
    }

    #[test]
    fn what_has_no_secret_is_not_told() {
        let urls = [
            "--database-url",
            "postgres://me@host/moa?sslmode=disable",
            "--redis-url",
            "redis://host",
        ];
        assert_eq!(
            reported(&[&["serve", "--payment-url", "http://host:9000/a"], &urls[..]].concat()),
            [""; 0]
        );
        assert_eq!(
            reported(&["serve", "--operator-token-file", "/run/secrets/operator"]),
            [""; 0]
        );
    }

    #[test]
    fn an_empty_flag_of_a_setting_is_left_out() {
        let flags = flags(&super::super::command());
        let raw = [
            "moa",
            "serve",
            "--redis-url",
            "",
            "--amqp-url=",
            "--no-demo",
            "--database-url",
            "x",
            "--title",
            "",
        ];
        let kept = without_empty_flags(raw.iter().map(OsString::from), &flags);
        assert_eq!(
            kept,
            [
                "moa",
                "serve",
                "--no-demo",
                "--database-url",
                "x",
                "--title",
                ""
            ]
        );
    }
}
