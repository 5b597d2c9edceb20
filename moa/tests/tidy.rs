//! Easy rules of naming, checked in the sources and documents: a duration's name says what it bounds, a match on our own events
//! names every event, and the words of before `docs/glossary.md` do not come back. Each failure names the place and the better
//! word.

use std::fs;
use std::path::{Path, PathBuf};

/// A `Duration` constant ends in one of these.
const DURATION_NOUNS: [&str; 14] = [
    "TIMEOUT",
    "INTERVAL",
    "DELAY",
    "DURATION",
    "RETENTION",
    "MARGIN",
    "WINDOW",
    "GRACE",
    "LAG",
    "AGE",
    "GAP",
    "ERROR",
    "STEP",
    "AFTER",
];
/// Words of before the glossary, and what to say instead. Those of stored data are in no source but where they are stored.
const FORBIDDEN: [(&str, &str); 24] = [
    ("PATIENCE", "TIMEOUT, with what it bounds"),
    ("IN_VAIN", "MAX_ATTEMPTS, or what is counted"),
    ("GLANCE", "TAKEOVER_GRACE"),
    ("FIND_OUT", "OUTCOME_RESOLUTION_TIMEOUT"),
    ("TAKEN_FOR", "VISIBILITY_TIMEOUT"),
    ("LEFT_ALONE", "OPEN_DURATION"),
    ("TURN_LOCK", "APPEND_LOCK_CLASS"),
    ("take_turn", "acquire_append_lock"),
    ("give_turn_back", "release_append_lock"),
    ("the turn", "the append lock"),
    ("Desk", "PartitionProcessor"),
    ("Desks", "PartitionProcessors"),
    ("Shelf", "AggregateCache, or ProductCatalogCache"),
    ("put_aside", "wait_for_load"),
    ("Door", "CommandApi"),
    ("the way in", "the write side"),
    ("the way out", "the read side, or the consumers"),
    ("NoVerdict", "CommandError"),
    ("HandOver", "FastPathSender"),
    ("look_and_let_go", "seal_once_and_release"),
    ("keep_trail", "record_checkpoint_history"),
    ("made anew", "rebuilt"),
    ("in earnest", "in production"),
    ("held against", "compared with"),
];
/// Files that say the words on purpose: this one, the glossary of old words, what was published.
const EXEMPT: [&str; 3] = ["moa/tests/tidy.rs", "docs/glossary.md", "CHANGELOG.md"];
const EVENTS: &str = "ProductEvent::";
/// Lines between a match's arm on an event and its end, at most.
const MAX_MATCH_LINES: usize = 40;

#[test]
fn a_durations_name_says_what_it_bounds() {
    let mut wrong = Vec::new();
    for (place, line) in lines("rs") {
        let Some((_, rest)) = line.split_once("const ") else {
            continue;
        };
        let Some((name, _)) = rest.split_once(": Duration") else {
            continue;
        };
        let is_said = DURATION_NOUNS.iter().any(|noun| name.ends_with(noun));
        if !is_said {
            wrong.push(format!(
                "{place}: {name} must end in one of {}",
                DURATION_NOUNS.join(", ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A new event must not be passed over: the compiler says where it is missing only when no arm takes everything.
#[test]
fn a_match_on_our_events_names_each() {
    let mut wrong = Vec::new();
    for file in files("rs")
        .into_iter()
        .filter(|file| name(file).contains("/src/"))
    {
        let text = read(&file);
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.trim_start().starts_with("_ => {}"))
        {
            let depth = indent(line);
            let arms = lines[at.saturating_sub(MAX_MATCH_LINES)..at]
                .iter()
                .rev()
                .take_while(|arm| indent(arm) >= depth);
            if arms
                .into_iter()
                .any(|arm| indent(arm) == depth && arm.contains(EVENTS))
            {
                wrong.push(format!(
                    "{}:{}: name every event instead of `_ => {{}}`",
                    name(&file),
                    at + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn old_words_do_not_come_back() {
    let mut wrong = Vec::new();
    for (place, line) in ["rs", "md", "py", "toml"].into_iter().flat_map(lines) {
        for (old, better) in FORBIDDEN.iter().filter(|(old, _)| has_word(&line, old)) {
            wrong.push(format!("{place}: {old}: say {better}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether `line` has `word`, and not as a part of a longer word; a name may go on after an underscore.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !is_letter(line[..at].chars().next_back())
            && !is_letter(line[at + word.len()..].chars().next())
    })
}

fn indent(line: &str) -> usize {
    if line.trim().is_empty() {
        usize::MAX
    } else {
        line.len() - line.trim_start().len()
    }
}

/// Every line of the sources and documents with this extension, after its file and number.
fn lines(extension: &str) -> Vec<(String, String)> {
    let numbered = |file: PathBuf| {
        let (text, name) = (read(&file), name(&file));
        text.lines()
            .enumerate()
            .map(|(at, line)| (format!("{name}:{}", at + 1), line.to_owned()))
            .collect::<Vec<_>>()
    };
    files(extension).into_iter().flat_map(numbered).collect()
}

fn files(extension: &str) -> Vec<PathBuf> {
    let mut files = below(&root(), extension);
    files.retain(|file| !EXEMPT.contains(&name(file).as_str()));
    files
}

fn below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let skipped = ["target", "migrations", "node_modules"];
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && !skipped.contains(&name.as_ref())
    };
    let entries = entries.filter(is_ours);
    let found = entries.flat_map(|path| {
        if path.is_dir() {
            below(&path, extension)
        } else {
            vec![path]
        }
    });
    found
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// The file's path from the root.
fn name(file: &Path) -> String {
    file.strip_prefix(root())
        .expect("a file of the workspace")
        .display()
        .to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}
