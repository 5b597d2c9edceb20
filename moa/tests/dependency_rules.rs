//! The dependency rules of ARCHITECTURE.md, checked against the manifests and the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const OUR_CRATES: [&str; 16] = [
    "admin-console",
    "domain",
    "connection-pool",
    "log-format",
    "event-log",
    "edge",
    "command-api",
    "projector",
    "query-api",
    "broker",
    "proof",
    "audit",
    "moa",
    "testbed",
    "tls",
    "traces",
];
/// The crates of ours that each crate may depend on, tests aside.
const ALLOWED_DEPENDENCIES: [(&str, &[&str]); 14] = [
    ("admin-console", &["edge"]),
    ("domain", &[]),
    ("tls", &[]),
    ("traces", &[]),
    ("connection-pool", &[]),
    ("log-format", &[]),
    (
        "event-log",
        &["domain", "connection-pool", "log-format", "traces"],
    ),
    ("edge", &["domain", "tls", "traces"]),
    (
        "command-api",
        &[
            "domain",
            "connection-pool",
            "event-log",
            "edge",
            "tls",
            "traces",
        ],
    ),
    (
        "projector",
        &["domain", "connection-pool", "event-log", "tls"],
    ),
    ("query-api", &["connection-pool", "edge", "tls"]),
    ("broker", &["connection-pool", "event-log", "tls", "traces"]),
    ("proof", &["log-format"]),
    (
        "audit",
        &[
            "domain",
            "connection-pool",
            "event-log",
            "edge",
            "projector",
            "proof",
            "query-api",
        ],
    ),
];

/// Libraries that speak to a server or are one; so are those named after them, as `sqlx-core` is.
const SERVERS: [&str; 7] = [
    "sqlx", "axum", "hyper", "lapin", "redis", "reqwest", "tokio",
];

#[test]
fn a_crate_depends_only_on_the_crates_it_may() {
    for (name, allowed) in ALLOWED_DEPENDENCIES {
        let known = dependencies(name);
        let strangers: Vec<_> = known
            .iter()
            .filter(|name| OUR_CRATES.contains(&name.as_str()) && !allowed.contains(&name.as_str()))
            .collect();
        assert!(strangers.is_empty(), "{name} must not know {strangers:?}");
    }
}

#[test]
fn domain_and_proof_depend_on_no_server() {
    for pure in ["domain", "log-format", "proof"] {
        let known = dependencies(pure);
        assert!(
            !known.iter().any(|name| SERVERS.contains(&name.as_str())),
            "{pure} depends on {known:?}"
        );
    }
}

/// Not through another crate either; cqrs-es alone brings tokio to `domain`.
#[test]
fn domain_and_proof_bring_no_server_with_them() {
    for (pure, exempt) in [("domain", "tokio"), ("log-format", ""), ("proof", "")] {
        let brought = locked_dependencies(pure);
        let is_server = |name: &&String| {
            SERVERS
                .iter()
                .any(|server| *server != exempt && name.split('-').next() == Some(*server))
        };
        let servers: Vec<_> = brought.iter().filter(is_server).collect();
        assert!(servers.is_empty(), "{pure} brings {servers:?}");
        assert!(brought.contains("uuid"), "{pure} brings only {brought:?}");
    }
}

/// Who knows a server's client library; the program has them all.
#[test]
fn a_servers_client_library_has_its_own_crates_only() {
    let crates = ALLOWED_DEPENDENCIES.map(|(name, _)| name);
    for (library, its_crates) in [
        ("lapin", &["broker"][..]),
        ("redis", &["projector", "query-api"]),
        ("opentelemetry-proto", &[]),
    ] {
        let knows = |name: &&str| dependencies(name).iter().any(|name| name == library);
        let knowing: Vec<_> = crates.iter().filter(|name| knows(name)).copied().collect();
        assert_eq!(knowing, its_crates, "{library}");
    }
}

#[test]
fn only_the_log_names_the_events_table() {
    let statements = [
        "from events",
        "join events",
        "into events",
        "update events",
        "table events",
    ];
    // The tests' payment provider holds its ledger against the log, as an outsider does.
    for name in OUR_CRATES
        .iter()
        .filter(|name| !["event-log", "testbed"].contains(name))
    {
        for file in sources(&root().join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a source").to_lowercase();
            let found = statements.iter().find(|statement| names(&text, statement));
            assert!(found.is_none(), "{} says {found:?}", file.display());
        }
    }
}

#[test]
fn the_write_side_reads_no_read_model() {
    for file in sources(&root().join("command-api/src")) {
        let text = fs::read_to_string(&file).expect("a source");
        for table in projector::PROJECTIONS
            .iter()
            .map(|projection| projection.name)
        {
            assert!(!text.contains(table), "{} names {table}", file.display());
        }
    }
}

/// What a proxy of the environment's is sent includes the bearer token: no client asks for one.
#[test]
fn no_http_client_uses_a_proxy_of_the_environment() {
    for name in OUR_CRATES.iter().chain(&["bench"]) {
        for file in sources(&root().join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a source");
            let built = text.matches("Client::builder()").count();
            let without_proxy = text.matches(".no_proxy()").count();
            assert_eq!(
                built,
                without_proxy,
                "{}: a client is built without .no_proxy()",
                file.display()
            );
            for shortcut in [
                "reqwest::Client::new(",
                "reqwest::get(",
                "Client::default()",
                "ClientBuilder::new(",
            ] {
                assert!(
                    !text.contains(shortcut),
                    "{}: {shortcut} takes a proxy from the environment",
                    file.display()
                );
            }
        }
    }
}

/// What is started by name and in an environment that is not of our making is in one place, which makes it.
#[test]
fn programs_are_started_in_a_clean_environment() {
    for name in OUR_CRATES.iter().filter(|name| **name != "testbed") {
        for file in sources(&root().join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a source");
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            let starts = shipped.contains("Command::new(");
            // The other replaces Moa by itself.
            let may = ["postgres/account.rs", "src/environment.rs"]
                .iter()
                .any(|place| file.ends_with(place));
            assert!(!starts || may, "{} starts a program", file.display());
        }
    }
}

#[test]
fn release_builds_check_for_overflow() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let release = manifest
        .split("[profile.release]")
        .nth(1)
        .expect("a release profile");
    let release = release.split("\n[").next().unwrap_or_default();
    assert!(
        release.lines().any(|line| line == "overflow-checks = true"),
        "{release}"
    );
}

/// Calls on sqlx's own pool and connections have no bound: docs/decisions/0023. The writer bounds its own.
#[test]
fn only_connection_pool_calls_sqlx_without_a_time_out() {
    let unbounded = [
        "PgPool",
        "PgConnection",
        "PoolConnection",
        "PgListener",
        ".inner()",
    ];
    let bounded_by_themselves = [
        "event-log/src/server.rs",
        "event-log/src/writer.rs",
        "event-log/src/writer/probe.rs",
        "event-log/src/writer/append.rs",
        "moa/src/database/schema.rs",
        "moa/src/ops/probe.rs",
        "moa/src/postgres/cluster.rs",
    ];
    let crates = OUR_CRATES
        .iter()
        .filter(|name| !["connection-pool", "testbed"].contains(name));
    for file in crates.flat_map(|name| sources(&root().join(name).join("src"))) {
        let name = file
            .strip_prefix(root())
            .expect("a name's file")
            .display()
            .to_string();
        let text = fs::read_to_string(&file).expect("a source");
        let found = unbounded.iter().find(|word| names(&text, word));
        assert!(
            found.is_none() || is_exempt(&name, &bounded_by_themselves),
            "{name} says {found:?}"
        );
    }
}

fn is_exempt(name: &str, exempt: &[&str]) -> bool {
    exempt.contains(&name) || name.contains("/tests")
}

/// Whether `text` has `word`, and not merely as the beginning of a longer name.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let after = text[at + word.len()..].chars().next();
        !after.is_some_and(|next| next.is_alphanumeric() || next == '_')
    })
}

/// The names under `[dependencies]` of a name's manifest.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
    let section = manifest
        .split("[dependencies]")
        .nth(1)
        .expect("dependencies");
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &str| {
        line.split(['.', ' ', '='])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    section
        .lines()
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// All that a crate depends on, through others too, by Cargo.lock: of ours also what their tests need.
fn locked_dependencies(name: &str) -> BTreeSet<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let quoted = |line: &str| {
        line.split(['"', ' '])
            .map(str::to_owned)
            .find(|word| !word.is_empty())
    };
    let packages: Vec<(&str, Vec<String>)> = lock
        .split("[[package]]\nname = \"")
        .skip(1)
        .map(|package| {
            let listed = package
                .split("dependencies = [\n")
                .nth(1)
                .unwrap_or_default();
            let listed = listed.lines().take_while(|line| *line != "]");
            (
                package.split('"').next().unwrap_or_default(),
                listed.filter_map(quoted).collect(),
            )
        })
        .collect();
    let (mut found, mut left) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(next) = left.pop() {
        let direct = packages
            .iter()
            .filter(|(name, _)| *name == next)
            .flat_map(|(_, direct)| direct);
        left.extend(direct.filter(|name| found.insert((*name).clone())).cloned());
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}
