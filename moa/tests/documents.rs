//! The documents are true where a program can tell: links and anchors resolve, the files, tests and metrics that they name
//! exist, every setting is described, and every decision record has a status and is listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level folders: a code span that begins with one of them is a path.
const FOLDERS: [&str; 19] = [
    "audit",
    "bench",
    "broker",
    "command-api",
    "connection-pool",
    "docs",
    "domain",
    "edge",
    "event-log",
    "examples",
    "log-format",
    "migrations",
    "moa",
    "projector",
    "proof",
    "query-api",
    "scripts",
    "testbed",
    "traces",
];
/// Where code spans of four words and more, joined by underscores, are names of tests.
const NAMES_TESTS: [&str; 2] = ["ARCHITECTURE.md", "docs/guarantees.md"];
const MIN_UNDERSCORES: usize = 3;

#[test]
fn every_link_resolves() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if !link.contains("://") && !resolves(&document, link) {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_that_is_named_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        for span in code_spans(&prose(&document)) {
            let is_path = FOLDERS.iter().any(|folder| {
                span.strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            if is_path && span.chars().all(is_of_a_path) && !root().join(&span).exists() {
                missing.push(format!("{}: {span}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_test_that_is_named_exists() {
    let functions = functions();
    for name in NAMES_TESTS {
        let spans = code_spans(&prose(&root().join(name)));
        let is_test = |span: &String| {
            span.chars().all(is_of_a_name)
                && span.matches('_').count() >= MIN_UNDERSCORES
                && !span.starts_with("moa_")
        };
        let missing: Vec<_> = spans
            .into_iter()
            .filter(is_test)
            .filter(|span| !functions.contains(span))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} names tests that do not exist: {missing:#?}"
        );
    }
}

#[test]
fn every_metric_that_is_named_exists() {
    let sources: String = FOLDERS
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .map(|file| read(&file))
        .collect();
    let spans = code_spans(&prose(&root().join("docs/operating.md")));
    let metrics = spans
        .iter()
        .filter_map(|span| span.split('{').next())
        .filter(|name| name.starts_with("moa_"));
    let is_published = |name: &str| sources.contains(&format!("\"{name}\""));
    let missing: Vec<_> = metrics.filter(|name| !is_published(name)).collect();
    assert!(
        missing.is_empty(),
        "docs/operating.md names metrics that do not exist: {missing:#?}"
    );
}

#[test]
fn every_setting_is_described() {
    let described = read(&root().join("docs/settings.md"));
    for file in files(&root().join("moa/src/settings"), "rs")
        .iter()
        .chain([&root().join("moa/src/settings.rs")])
    {
        for variable in read(file)
            .split("env = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(
                described.contains(&format!("`{variable}`")),
                "docs/settings.md does not describe {variable}"
            );
        }
    }
}

/// And each service is there.
#[test]
fn every_setting_in_the_manifests_and_units_exists() {
    let known = read(&root().join("docs/settings.md"));
    let ops = root().join("ops");
    let units = files(&ops.join("systemd"), "service");
    let manifests: String = files(&ops.join("kubernetes"), "yaml")
        .iter()
        .map(|file| read(file))
        .collect();
    let all = units.iter().map(|file| read(file)).collect::<String>() + &manifests;
    let words = all.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let settings: BTreeSet<_> = words.filter(|word| word.starts_with("MOA_")).collect();
    let unknown: Vec<_> = settings
        .iter()
        .filter(|name| !known.contains(&format!("`{name}`")))
        .collect();
    assert!(
        unknown.is_empty() && settings.len() > 8,
        "no settings of Moa: {unknown:?}"
    );
    for service in [
        "command-api",
        "query-api",
        "projector",
        "relay",
        "admin",
        "sealer",
    ] {
        assert!(
            manifests.contains(&format!("args: [serve, {service}]")),
            "{service}"
        );
    }
}

#[test]
fn every_decision_record_has_a_status_and_is_listed() {
    let folder = root().join("docs/decisions");
    let list = read(&folder.join("README.md"));
    for record in files(&folder, "md")
        .iter()
        .filter(|file| !file.ends_with("README.md"))
    {
        let name = record.file_name().expect("a file's name").to_string_lossy();
        assert!(
            list.contains(&format!("({name})")),
            "docs/decisions/README.md does not list {name}"
        );
        assert!(
            read(record).contains("\n**Status.** "),
            "{name} has no status"
        );
    }
}

/// Whether the link's file exists and, where it is a document, has the heading that is linked to.
fn resolves(document: &Path, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() {
        document.to_owned()
    } else {
        document.with_file_name("").join(file)
    };
    let is_document = target
        .extension()
        .is_some_and(|extension| extension == "md");
    let has_heading = || {
        prose(&target)
            .lines()
            .filter(|line| line.starts_with('#'))
            .any(|line| slug(line) == anchor)
    };
    target.exists() && (anchor.is_empty() || !is_document || has_heading())
}

/// A heading's anchor, as code hosts make it.
fn slug(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || ['-', '_', ' '].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A document without its fenced blocks.
fn prose(document: &Path) -> String {
    read(document).split("\n```").step_by(2).collect()
}

fn code_spans(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn is_of_a_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./-".contains(c)
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// The names of all functions of the workspace.
fn functions() -> BTreeSet<String> {
    let sources = FOLDERS
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"));
    let name = |rest: &str| rest.chars().take_while(|c| is_of_a_name(*c)).collect();
    sources
        .flat_map(|file| {
            read(&file)
                .split("fn ")
                .skip(1)
                .map(name)
                .collect::<Vec<String>>()
        })
        .collect()
}

fn documents() -> Vec<PathBuf> {
    let top = fs::read_dir(root())
        .expect("the workspace")
        .map(|entry| entry.expect("an entry").path());
    let top = top.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let below = ["docs", "bench", ".github"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "md"));
    top.chain(below).collect()
}

/// All files below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path, extension)
        } else {
            vec![path]
        }
    };
    entries
        .flat_map(below)
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
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
