//! The console with axe-core, and from the keyboard.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;

use super::{OPERATOR, TestApp, browser};
use crate::harness::{Browser, Start, ask};

const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";

async fn examine(browser: &Browser, axe: &str, page: &str) {
    browser.run(axe).await;
    let found = browser.run("return axe.run().then(found => found.violations.map(it => [it.id, it.nodes[0].html, it.nodes[0].failureSummary]))").await;
    assert_eq!(found, json!([]), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_passes_axe_in_both_schemes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/axe/node_modules/axe-core/axe.min.js");
    let axe = fs::read_to_string(path).expect("axe-core in target/axe: `make test` puts it there");
    let app = TestApp::of(1, Start::serve()).await;
    let product = app.open_product("bridge", 1_000).await;
    let id = app
        .invest(ask("ann", product, 10))
        .await
        .invest_id()
        .unwrap();
    app.settled().await;
    let browser = browser(&app, OPERATOR).await;
    let pages = [
        "/console".to_owned(),
        "/console/login".into(),
        "/console/products".into(),
        format!("/console/products/{product}"),
        format!("/console/products/{product}/cancel"),
        "/console/events".into(),
        "/console/events?userId=ann".into(),
        format!("/console/invests/{id}"),
        "/console/projections".into(),
        "/console/projections/holdings".into(),
        "/console/parked".into(),
        "/console/seals/verification".into(),
        "/console/acts".into(),
        "/console/nowhere".into(),
    ];
    for page in pages {
        browser
            .go_to(&format!("{}{page}", app.processes[0].admin))
            .await;
        if page.ends_with(&format!("/{product}")) {
            browser
                .shows("document.querySelector('#state progress') !== null", true)
                .await;
        }
        for scheme in ["light", "dark"] {
            browser.looks_as(1_280, 900, scheme).await;
            examine(&browser, &axe, &format!("{page} {scheme}")).await;
        }
    }
}

/// From the address bar on: past the sections, to what one came for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_alone_pause_a_read_model() {
    let app = TestApp::of(1, Start::serve()).await;
    let browser = browser(&app, OPERATOR).await;
    browser
        .go_to(&format!(
            "{}/console/projections/holdings",
            app.processes[0].admin
        ))
        .await;
    browser.press(TAB).await;
    browser
        .shows("document.activeElement.textContent", "To the contents")
        .await;
    browser.press(ENTER).await;
    browser.shows("document.activeElement.id", "main").await;
    let focused = async || browser.value("document.activeElement.textContent").await;
    for _ in 0..10 {
        browser.press(TAB).await;
        if focused().await == "Pause" {
            break;
        }
    }
    assert_eq!(focused().await, Value::from("Pause"));
    assert_eq!(
        browser.role_and_name("form[action$='/pause'] button").await,
        (json!("button"), json!("Pause"))
    );
    browser.press(ENTER).await;
    browser
        .shows(
            "document.querySelector('p.done').textContent",
            "holdings is paused.",
        )
        .await;
}
