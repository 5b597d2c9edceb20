//! Each listener's document has its routes, and no others. The routes are read from the sources: a router does not tell them.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{Start, TestApp};

/// The sources with the routes of each listener, as files or folders.
const READS: [&str; 2] = ["query-api/src", "edge/src/health.rs"];
const WRITES: [&str; 2] = ["command-api/src/lib.rs", "edge/src/health.rs"];
const ADMIN: [&str; 6] = [
    "moa/src/admin.rs",
    "moa/src/admin",
    "moa/src/ops.rs",
    "audit/src",
    "command-api/src/product.rs",
    "edge/src/health.rs",
];
/// How a route is written, up to its path.
const ROUTE: &str = ".route(";

#[tokio::test]
async fn a_document_has_the_routes_of_its_listener_and_no_others() {
    let app = TestApp::of(1, Start::serve()).await;
    let moa = &app.processes[0];
    for (url, sources) in [
        (&moa.read, &READS[..]),
        (&moa.write, &WRITES),
        (&moa.admin, &ADMIN),
    ] {
        let answer = reqwest::get(format!("{url}/openapi.json")).await.unwrap();
        let document: Value = answer.json().await.unwrap();
        assert_eq!(documented(&document), routed(sources), "{sources:?}");
    }
}

/// Every call, such as `GET /admin/product`.
fn documented(document: &Value) -> BTreeSet<String> {
    let of_path = |(path, calls): (&String, &Value)| {
        let methods = calls.as_object().unwrap().keys();
        methods
            .map(|method| format!("{} {path}", method.to_uppercase()))
            .collect::<Vec<_>>()
    };
    document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(of_path)
        .collect()
}

fn routed(sources: &[&str]) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = sources.iter().flat_map(|source| files(&root.join(source)));
    files
        .flat_map(|file| routes(&std::fs::read_to_string(file).unwrap()))
        .collect()
}

/// Every `.route("/path", get(...))` of a source, tests apart.
fn routes(source: &str) -> Vec<String> {
    let shipped = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    shipped.split(ROUTE).skip(1).map(route).collect()
}

fn route(text: &str) -> String {
    let mut parts = text.split('"');
    let (path, after) = (parts.nth(1).unwrap(), parts.next().unwrap());
    let method = after
        .split('(')
        .next()
        .unwrap()
        .rsplit([' ', ':'])
        .next()
        .unwrap();
    assert!(
        ["get", "post"].contains(&method),
        "{path}: {method} is no method that this test knows"
    );
    format!("{} {path}", method.to_uppercase())
}

fn files(place: &PathBuf) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.clone()];
    }
    let entries = std::fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| files(&path));
    found
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
