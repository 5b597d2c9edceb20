//! The pages of `--help`: the commands in groups, examples of each, and nothing wider than a terminal of 80 columns.

use super::examples::{self, EXAMPLES};
use super::{Cli, ServeSettings};
use clap::{Args as _, Command, CommandFactory as _};
use std::collections::HashSet;
use std::fmt::Write as _;

/// Columns of a page at most.
const MAX_PAGE_COLUMNS: usize = 80;
/// Columns of a command's name in the list of commands.
const NAME_COLUMNS: usize = 13;

/// The commands by what they are for.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Run a service",
        &["serve", "migrate", "config", "doctor", "healthcheck"],
    ),
    (
        "Operate a running Moa",
        &[
            "product",
            "status",
            "projection",
            "parked",
            "restore",
            "replay",
        ],
    ),
    ("Prove and keep", &["audit", "backup"]),
    ("Set up", &["token", "completions", "man"]),
];

const REST: &str = "\
Options:
  -h, --help     Print help; `moa serve --help` has all settings
  -V, --version  Print version{after-help}

Every setting is a flag and an environment variable: docs/settings.md. Without
a command, `moa` is `moa serve`, and takes the same flags.";

/// The whole command line. What runs without a command takes the flags of `serve`, whose own page describes them.
pub fn command() -> Command {
    let of_serve = ServeSettings::augment_args(Command::default());
    let of_serve: HashSet<_> = of_serve
        .get_arguments()
        .map(|arg| arg.get_id().clone())
        .collect();
    let command = Cli::command().mut_args(|arg| {
        if of_serve.contains(arg.get_id()) {
            arg.hide(true)
        } else {
            arg
        }
    });
    let page = page(&command);
    with_examples(command, "", &[])
        .help_template(page)
        .max_term_width(MAX_PAGE_COLUMNS)
}

/// The page of `moa --help`.
fn page(command: &Command) -> String {
    let mut page = String::from("{about}\n\nUsage: moa [COMMAND] [OPTIONS]\n");
    for (title, names) in GROUPS {
        // A String takes every write.
        write!(page, "\n{title}:\n").ok();
        for about in names
            .iter()
            .filter_map(|name| command.find_subcommand(name))
        {
            let (name, about) = (
                about.get_name(),
                about
                    .get_about()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            );
            writeln!(page, "  {name:<NAME_COLUMNS$}{about}").ok();
        }
    }
    format!("{page}\n{REST}")
}

/// Each command with its examples; one that has only commands below it, with the first of each of theirs; one that takes what the command
/// above it does, with those of that.
fn with_examples(command: Command, path: &str, above: &[&'static str]) -> Command {
    let mut lines = examples::of(path).to_vec();
    if lines.is_empty() {
        lines.extend(children(path));
    }
    if lines.is_empty() {
        lines.extend(above);
    }
    let list: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    let command = command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        with_examples(below, path.trim_start(), &lines)
    });
    command.after_help(format!("Examples:{list}"))
}

fn children(path: &str) -> impl Iterator<Item = &'static str> {
    let below = format!("{path} ");
    EXAMPLES
        .iter()
        .filter(move |(name, _)| name.starts_with(&below))
        .filter_map(|(_, lines)| lines.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::builder::Resettable;

    const MAX_LINES: usize = 49;

    /// Every command, by its path.
    fn all(command: &Command, path: &str) -> Vec<(String, Command)> {
        let below = command
            .get_subcommands()
            .filter(|below| below.get_name() != "help");
        let below =
            below.flat_map(|below| all(below, format!("{path} {}", below.get_name()).trim_start()));
        std::iter::once((path.to_owned(), command.clone()))
            .chain(below)
            .collect()
    }

    fn built() -> Command {
        // What the environment of the tests has shows nowhere.
        fn without_environment(command: Command) -> Command {
            command
                .mut_args(|arg| arg.env(Resettable::Reset))
                .mut_subcommands(without_environment)
        }
        let mut command = without_environment(command());
        command.build();
        command
    }

    #[test]
    fn the_first_page_is_short_and_has_every_command_once() {
        let page = command()
            .try_get_matches_from(["moa", "--help"])
            .expect_err("a page")
            .to_string();
        assert!(
            page.lines().count() <= MAX_LINES,
            "{} lines\n{page}",
            page.lines().count()
        );
        for command in built()
            .get_subcommands()
            .map(Command::get_name)
            .filter(|name| *name != "help")
        {
            let listed = GROUPS
                .iter()
                .flat_map(|(_, names)| *names)
                .filter(|name| **name == command)
                .count();
            assert_eq!(listed, 1, "{command} is in {listed} groups");
            assert!(
                page.contains(&format!("\n  {command} ")),
                "{command} is not in\n{page}"
            );
        }
        assert!(
            !page.contains("--database-url") && page.contains("docs/settings.md"),
            "{page}"
        );
    }

    #[test]
    fn no_page_is_wider_than_a_terminal() {
        let mut wide = Vec::new();
        for (path, _) in all(&command(), "") {
            for flag in ["-h", "--help"] {
                let words = ["moa"]
                    .into_iter()
                    .chain(path.split_whitespace())
                    .chain([flag]);
                let page = command()
                    .try_get_matches_from(words)
                    .expect_err("a page")
                    .to_string();
                let lines = page
                    .lines()
                    .filter(|line| line.chars().count() > MAX_PAGE_COLUMNS);
                wide.extend(lines.map(|line| format!("moa {path}: {line}")));
            }
        }
        assert!(wide.is_empty(), "{wide:#?}");
    }

    #[test]
    fn every_command_has_an_example() {
        for (path, command) in all(&command(), "") {
            let page = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                page.starts_with("Examples:\n  "),
                "moa {path} has no example"
            );
        }
        for (path, _) in EXAMPLES {
            assert!(
                all(&command(), "").iter().any(|(known, _)| known == path),
                "there is no command moa {path}"
            );
        }
    }

    #[test]
    fn every_example_is_a_command_of_its_own_page() {
        for (path, line) in EXAMPLES
            .iter()
            .flat_map(|(path, lines)| lines.iter().map(move |line| (path, line)))
        {
            let words = examples::words(line);
            let parsed = built().try_get_matches_from(&words);
            let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            let mut named = Vec::new();
            let mut below = parsed.subcommand();
            while let Some((name, matches)) = below {
                named.push(name);
                below = matches.subcommand();
            }
            let is_own = path.is_empty() || named.join(" ").starts_with(path);
            assert!(is_own, "moa {path} has the example {line}");
        }
    }
}
