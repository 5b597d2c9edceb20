//! What an operator sees in headless Chromium: log in, watch a rush, pause, rebuild, switch, find an event. Pictures are kept in target/pages.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{OPERATOR, TestApp, browser};
use crate::harness::{Browser, Start, ask};
use crate::sealed::KeyFolder;

const WAVES: i64 = 3;
const USERS_PER_WAVE: i64 = 60;

/// The widths that people have, from a phone to a screen on the wall.
const SCREENS: [(&str, u32, u32); 4] = [
    ("phone", 360, 740),
    ("laptop", 1_280, 800),
    ("desktop", 1_920, 1_080),
    ("wall", 3_840, 2_160),
];

fn state() -> &'static str {
    "document.querySelector('[sse-swap=generations] .state').textContent"
}

async fn follows(browser: &Browser, link: &str, title: &str) {
    browser.click(&format!("header nav a[href='{link}']")).await;
    browser
        .shows("document.querySelector('h1').textContent", title)
        .await;
}

/// 1. A rush moves the bar of an open page, and its rate. 2. A read model is paused and resumed. 3. It is rebuilt beside, and switched to.
/// 4. An event is found, leads to its invest's story and to the product as it stood. 5. The log is verified. 6. A product is cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_shift() {
    let folder = KeyFolder::with_a_key().await;
    let app = TestApp::of(1, folder.sealing(Start::serve())).await;
    let product = app.open_product("Han river bridge", 1_000).await;
    app.settled().await;
    let browser = browser(&app, OPERATOR).await;

    follows(&browser, "/console/products", "Products").await;
    let bar = format!("document.querySelector(\"[sse-swap='taken-{product}'] progress\").value");
    for wave in 0..WAVES {
        let users = (0..USERS_PER_WAVE).map(|number| format!("user{wave}-{number}"));
        join_all(users.map(|user| app.accepts_one(user, product))).await;
        browser.shows(&bar, (wave + 1) * USERS_PER_WAVE).await;
    }
    browser.screenshot("console-products.png").await;
    follows(&browser, "/console", "Overview").await;
    browser
        .shows(
            "document.querySelector('[sse-swap=needs]').innerText.trim()",
            "Nothing needs an operator.",
        )
        .await;
    let rates = "JSON.parse(document.getElementById('chart').dataset.samples)[1]";
    browser
        .shows(&format!("{rates}.some(rate => rate > 0)"), true)
        .await;
    browser
        .shows("document.querySelectorAll('#chart canvas').length", 1)
        .await;

    follows(&browser, "/console/projections", "Projections").await;
    browser
        .click("a[href='/console/projections/holdings']")
        .await;
    browser.shows(state(), "RUNNING").await;
    browser.click("form[action$='/pause'] button").await;
    browser
        .shows(
            "document.querySelector('p.done').textContent",
            "holdings is paused.",
        )
        .await;
    browser.shows(state(), "PAUSED").await;
    browser.click("form[action$='/resume'] button").await;
    browser.shows(state(), "RUNNING").await;

    browser.click("form[action$='/build'] button").await;
    let job = "document.querySelector('[sse-swap=job] .state')?.textContent";
    browser.shows(job, "DONE").await;
    let generations =
        "[...document.querySelectorAll('[sse-swap=generations] .state')].map(it => it.textContent)";
    browser
        .shows(generations, json!(["RUNNING", "READY"]))
        .await;
    let equal = "document.querySelector('[sse-swap=job] p.done').textContent.startsWith('Equal at positions')";
    browser.shows(equal, true).await;
    browser.screenshot("console-rebuilt.png").await;
    browser.click("form[action$='/switch'] button").await;
    browser
        .shows(
            "document.querySelector('p.done').textContent",
            "holdings has switched.",
        )
        .await;

    follows(&browser, "/console/events", "Events").await;
    browser.fill("#userId", "user1-7\u{E007}").await;
    browser
        .shows("document.querySelectorAll('tbody tr').length", 2)
        .await;
    browser.screenshot("console-events.png").await;
    browser.click("tbody tr a[href*='/invests/']").await;
    browser
        .shows(
            "document.querySelector('.story .what').textContent",
            "REQUESTED",
        )
        .await;
    browser
        .shows(
            "document.querySelector('main .state').textContent",
            "SETTLED",
        )
        .await;
    browser.screenshot("console-invest.png").await;

    browser
        .go_to(&format!(
            "{}/console/products/{product}",
            app.processes[0].admin
        ))
        .await;
    let events = 1 + 2 * WAVES * USERS_PER_WAVE;
    browser
        .shows("Number(document.getElementById('sequence')?.max)", events)
        .await;
    browser.value("(document.getElementById('sequence').focus(), document.getElementById('sequence').value = 1)").await;
    browser.press("\u{E014}").await;
    browser
        .shows("document.querySelector('#state progress').value", 1)
        .await;
    browser
        .shows(
            "document.querySelector('output[for=sequence]').textContent",
            "2",
        )
        .await;
    browser.screenshot("console-product.png").await;

    follows(&browser, "/console/seals", "Seals").await;
    browser.click("form[action$='/verification'] button").await;
    let verdict = "document.querySelector('#report h2')?.innerText";
    browser.shows(verdict, "The log is WHOLE").await;
    browser
        .shows(
            "document.querySelectorAll('[aria-label=Seals] tbody tr').length > 0",
            true,
        )
        .await;
    browser.screenshot("console-seals.png").await;

    browser
        .go_to(&format!(
            "{}/console/products/{product}/cancel",
            app.processes[0].admin
        ))
        .await;
    browser.fill("#reason", "the bridge is not built").await;
    browser.click("button.danger").await;
    browser
        .shows(
            "document.querySelector('p.done').textContent",
            format!("Product {product} is cancelled."),
        )
        .await;
    browser
        .shows(
            "document.querySelector('[sse-swap=now] .state').textContent",
            "CANCELLED",
        )
        .await;
}

/// No page is wider than the screen, in either scheme.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_phone_to_a_wall() {
    let app = TestApp::of(1, Start::serve()).await;
    let long = "A title without any blank".replace(' ', "-").repeat(8);
    let product = app.open_product(&long, 1_000_000_000_000).await;
    let id = app
        .invest(ask("ann", product, 1_000_000))
        .await
        .invest_id()
        .unwrap();
    app.settled().await;
    let browser = browser(&app, OPERATOR).await;
    let url = &app.processes[0].admin;
    let pages = [
        ("overview", "/console".to_owned()),
        ("products", "/console/products".into()),
        ("product", format!("/console/products/{product}")),
        ("cancel", format!("/console/products/{product}/cancel")),
        ("events", "/console/events?order=desc".into()),
        ("invest", format!("/console/invests/{id}")),
        ("projections", "/console/projections".into()),
        ("projection", "/console/projections/invest_log".into()),
        ("seals", "/console/seals".into()),
        ("acts", "/console/acts".into()),
    ];
    for (name, path) in &pages {
        browser.go_to(&format!("{url}{path}")).await;
        for (screen, width, height) in SCREENS {
            for scheme in ["light", "dark"] {
                browser.looks_as(width, height, scheme).await;
                browser.shows("window.innerWidth", width).await;
                let fits = browser
                    .value("document.documentElement.scrollWidth <= window.innerWidth")
                    .await;
                assert_eq!(fits, Value::Bool(true), "{name} on a {screen}");
                if scheme == "light" || *name == "overview" {
                    browser
                        .screenshot(&format!("console-{name}-{screen}-{scheme}.png"))
                        .await;
                }
            }
        }
    }
}

/// Steps: the database falls silent; the open page says so, and no longer that nobody is needed; the database is back, and so is the page, by
/// itself. Moa is killed: the page says that, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_says_when_it_is_not_up_to_date() {
    let (mut app, proxy) = TestApp::behind_a_proxy().await;
    let browser = browser(&app, OPERATOR).await;
    let needs = "document.querySelector('[sse-swap=needs]').innerText.trim()";
    let trouble = "document.querySelector('[sse-swap=trouble]').innerText.startsWith('This page is not up to date')";
    browser.shows(needs, "Nothing needs an operator.").await;
    proxy.freeze();
    browser.shows(trouble, true).await;
    browser
        .shows(
            &format!("{needs}.includes('this process is not ready: database')"),
            true,
        )
        .await;
    proxy.mend();
    browser.shows(trouble, false).await;
    browser.shows(needs, "Nothing needs an operator.").await;
    browser
        .shows("document.getElementById('stale').hidden", true)
        .await;
    app.processes.remove(0).killed().await;
    browser
        .shows("document.getElementById('stale').hidden", false)
        .await;
}
