//! Each setting has two names, a flag and a variable of the environment. A complaint uses the one that it was given by.

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Error};
use std::ffi::OsString;
use std::sync::OnceLock;

static NAMES: OnceLock<Vec<Renamed>> = OnceLock::new();

/// What a setting is called otherwise, and the name that it was given by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Renamed {
    other: String,
    given: String,
}

/// Keeps the names that the settings were given by.
pub(super) fn keep(command: &Command, matches: &ArgMatches) {
    NAMES.get_or_init(|| renamed(command, matches));
}

/// The text, with every setting called by the name that it was given by; one that was not given keeps the name it has there.
pub(crate) fn as_given(text: &str) -> String {
    rename(text, NAMES.get().map(Vec::as_slice).unwrap_or_default())
}

/// Whether the environment may name it.
pub(super) fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some()
}

/// Whether it was given, by either name.
pub(super) fn is_given(arg: &Arg, matches: &ArgMatches) -> bool {
    matches!(
        matches.value_source(arg.get_id().as_str()),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

fn renamed(command: &Command, matches: &ArgMatches) -> Vec<Renamed> {
    let given = command
        .get_arguments()
        .filter(|arg| is_setting(arg) && is_given(arg, matches));
    let mut renamed: Vec<_> = given.filter_map(|arg| names(arg, matches)).collect();
    if let Some((name, below)) = matches.subcommand() {
        renamed.extend(
            command
                .find_subcommand(name)
                .map(|command| self::renamed(command, below))
                .unwrap_or_default(),
        );
    }
    renamed
}

fn names(arg: &Arg, matches: &ArgMatches) -> Option<Renamed> {
    let (flag, variable) = (
        format!("--{}", arg.get_long()?),
        arg.get_env()?.to_str()?.to_owned(),
    );
    Some(match matches.value_source(arg.get_id().as_str())? {
        ValueSource::CommandLine => Renamed {
            other: variable,
            given: flag,
        },
        _ => Renamed {
            other: flag,
            given: variable,
        },
    })
}

/// Replaces whole names: `MOA_SEALS_FILE` is no part of a longer one.
fn rename(text: &str, names: &[Renamed]) -> String {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || ['_', '-'].contains(&c);
    let mut renamed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_of_a_name) {
        let end = rest[at..]
            .find(|c| !is_of_a_name(c))
            .map_or(rest.len(), |length| at + length);
        let word = &rest[at..end];
        let given = names
            .iter()
            .find(|name| name.other == word)
            .map_or(word, |name| name.given.as_str());
        renamed.push_str(&rest[..at]);
        renamed.push_str(given);
        rest = &rest[end..];
    }
    renamed + rest
}

/// The error with variables of the environment in place of flags that are not among the arguments.
pub(super) fn of_environment(mut error: Error, command: &Command, arguments: &[OsString]) -> Error {
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        let named = match error.get(kind) {
            Some(ContextValue::String(arg)) => {
                ContextValue::String(by_variable(arg, command, arguments))
            }
            Some(ContextValue::Strings(args))
                if error.kind() == clap::error::ErrorKind::ArgumentConflict =>
            {
                ContextValue::Strings(
                    args.iter()
                        .map(|arg| by_variable(arg, command, arguments))
                        .collect(),
                )
            }
            _ => continue,
        };
        error.insert(kind, named);
    }
    error
}

/// `--partitions <N>` is MOA_PARTITIONS, where that is set and the flag was not given.
fn by_variable(arg: &str, command: &Command, arguments: &[OsString]) -> String {
    let flag = arg.split([' ', '=']).next().unwrap_or_default();
    let is_given = |given: &OsString| {
        given
            .to_str()
            .is_some_and(|given| given.split('=').next() == Some(flag))
    };
    if arguments.iter().any(is_given) {
        return arg.to_owned();
    }
    let variable = variable(command, flag.trim_start_matches('-'));
    variable
        .filter(|name| std::env::var_os(name).is_some())
        .unwrap_or_else(|| arg.to_owned())
}

fn variable(command: &Command, flag: &str) -> Option<String> {
    let own = command
        .get_arguments()
        .find(|arg| is_setting(arg) && arg.get_long() == Some(flag));
    let own = own.and_then(|arg| Some(arg.get_env()?.to_str()?.to_owned()));
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|below| variable(below, flag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_is_replaced() {
        let name = |other: &str, given: &str| Renamed {
            other: other.into(),
            given: given.into(),
        };
        let names = [
            name("DATABASE_URL", "--database-url"),
            name("--admin-listen", "MOA_ADMIN_LISTEN"),
        ];
        for (text, expected) in [
            (
                "DATABASE_URL cannot be read: it must",
                "--database-url cannot be read: it must",
            ),
            (
                "choose another with --admin-listen",
                "choose another with MOA_ADMIN_LISTEN",
            ),
            (
                "set TEST_DATABASE_URL, DATABASE_URLS",
                "set TEST_DATABASE_URL, DATABASE_URLS",
            ),
            (
                "--admin-listen-too (DATABASE_URL)",
                "--admin-listen-too (--database-url)",
            ),
            ("한강: DATABASE_URL", "한강: --database-url"),
        ] {
            assert_eq!(rename(text, &names), expected);
        }
    }
}
