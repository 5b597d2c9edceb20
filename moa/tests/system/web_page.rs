//! `examples/web/index.html` in a headless Chromium, against a real Moa: what its user sees, also while others invest and after a restart.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{AUDITOR, Browser, OPERATOR, Start, TestApp, ask};

const PAGE: &str = include_str!("../../../examples/web/index.html");
/// Each wave is shown before the next one comes, so the bar must move as often.
const WAVES: i64 = 4;
const USERS_PER_WAVE: i64 = 100;
const MAX_TITLE_CHARS: usize = 500;
const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";

/// A Moa that comes back at the same addresses.
fn start() -> Start {
    let address = || format!("127.0.0.1:{}", testbed::free_port());
    let [query, command, admin] = [address(), address(), address()];
    let args = [
        "--query-listen",
        &query,
        "--command-listen",
        &command,
        "--admin-listen",
        &admin,
        "--no-demo",
    ];
    Start::bare(&args)
        .env("MOA_OPERATOR_TOKEN", OPERATOR)
        .env("MOA_AUDITOR_TOKEN", AUDITOR)
}

/// The page as it is, but for where Moa is; and where it is served.
async fn served(app: &TestApp) -> String {
    let moa = &app.processes[0];
    let page = [
        ("http://localhost:8080", &moa.read),
        ("http://localhost:8081", &moa.write),
    ];
    let page = page
        .iter()
        .fold(PAGE.to_owned(), |page, (documented, here)| {
            assert_eq!(
                page.matches(documented).count(),
                1,
                "the page says once where Moa is"
            );
            page.replace(documented, here)
        });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let routes = Router::new().route("/", get(async || Html(page)));
    tokio::spawn(async { axum::serve(listener, routes).await });
    url
}

/// A page that shows a Moa's products to ann.
struct Screen {
    app: TestApp,
    browser: Browser,
}

/// The JavaScript for a part of the article that has this title.
fn of(title: &str, part: &str) -> String {
    format!(
        "[...document.querySelectorAll('article')].find(it => it.querySelector('h2').textContent === '{title}'){part}"
    )
}

impl Screen {
    async fn open(products: &[(&str, i64, Value)]) -> Self {
        let app = TestApp::of(1, start()).await;
        for (title, total, terms) in products {
            app.open_product_with(title, *total, terms.clone()).await;
        }
        app.settled().await;
        let browser = Browser::open().await;
        browser.looks_as(1_280, 900, "light").await;
        browser.go_to(&served(&app).await).await;
        let newest_first: Vec<_> = products.iter().rev().map(|(title, ..)| *title).collect();
        browser
            .shows(
                "[...document.querySelectorAll('h2')].map(it => it.textContent)",
                {
                    newest_first
                        .into_iter()
                        .chain(["My invests"])
                        .map(Value::from)
                        .collect::<Vec<_>>()
                },
            )
            .await;
        browser.fill("#user", &format!("ann{TAB}")).await;
        Self { app, browser }
    }

    /// Fills in the amount for a product, and presses its button.
    async fn invests(&self, title: &str, amount: i64) {
        let form = of(title, ".querySelector('form')");
        self.browser
            .value(&format!(
                "({form}.id = 'form', {form}.querySelector('input').value = {amount})"
            ))
            .await;
        self.browser.click("#form button").await;
        self.browser
            .value(&format!("{form}.removeAttribute('id')"))
            .await;
    }

    /// What stands beside the button.
    async fn is_told(&self, title: &str, words: &str) {
        self.browser
            .shows(&of(title, ".querySelector('output').textContent"), words)
            .await;
    }

    /// The rows of ann's invests.
    async fn shows_invests(&self, rows: Value) {
        let shown = "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(it => it.textContent))";
        self.browser.shows(shown, rows).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_takes_an_invest_from_the_keyboard_and_shows_it_settled() {
    let screen = Screen::open(&[("plain", 100, json!({})), ("first", 1_000, json!({}))]).await;
    let browser = &screen.browser;
    assert_eq!(
        browser.role_and_name("article button").await,
        ("button".into(), "Invest in first".into())
    );
    assert_eq!(
        browser.role_and_name("article input").await,
        ("spinbutton".into(), "Won to invest in first".into())
    );
    assert_eq!(
        browser.role_and_name("article progress").await,
        ("progressbar".into(), "Taken of first".into())
    );

    // From the name on: the first amount, its button.
    browser
        .value("document.getElementById('user').focus()")
        .await;
    browser.press(TAB).await;
    browser
        .shows("document.activeElement.ariaLabel", "Won to invest in first")
        .await;
    browser.press(TAB).await;
    browser
        .shows("document.activeElement.ariaLabel", "Invest in first")
        .await;
    browser.press(ENTER).await;
    screen.is_told("first", "10 won are reserved.").await;
    screen
        .shows_invests(json!([["first", "10", "settled"]]))
        .await;
    browser
        .shows(&of("first", ".querySelector('progress').value"), 10)
        .await;
    let invests = screen
        .app
        .api(0)
        .get_as("ann", "/api/invest/log")
        .await
        .data();
    assert_eq!(
        (&invests["totalCount"], &invests["list"][0]["state"]),
        (&json!(1), &json!("SETTLED"))
    );

    // A product that takes no more is gone.
    let plain = screen.app.api(0).get("/api/product").await.data()["list"][1]["productId"].clone();
    screen
        .app
        .api(0)
        .operate(Method::POST, &format!("/admin/product/{plain}/close"), None)
        .await;
    browser
        .shows("document.querySelectorAll('article').length", 1)
        .await;

    // Another user's invests are theirs.
    browser.fill("#user", &format!("bob{TAB}")).await;
    screen.shows_invests(json!([])).await;
    browser.fill("#user", &format!("a user{TAB}")).await;
    browser
        .shows("document.getElementById('user').validity.valid", false)
        .await;
    screen.shows_invests(json!([])).await;
    browser.screenshot("invested.png").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_in_words_why_not() {
    let long =
        "A title without any blank ".repeat(20).replace(' ', "-")[..MAX_TITLE_CHARS].to_owned();
    let terms = json!({"minInvestAmount": 100, "investAmountUnit": 50, "maxAmountPerUser": 300});
    let products = [
        ("scarce", 30, json!({})),
        ("with terms", 1_000_000, terms),
        (&long, 1_000_000_000_000, json!({})),
    ];
    let screen = Screen::open(&products).await;
    for (title, amount, words) in [
        ("scarce", 31, "Not that much is left: take 30 won or less."),
        ("with terms", 99, "Amount is below the minimum: 100."),
        (
            "with terms",
            120,
            "Amount is not a multiple of the unit: 50.",
        ),
        ("with terms", 350, "You may have 300 won more of it."),
        ("with terms", 300, "300 won are reserved."),
        ("with terms", 100, "You have as much of it as one may."),
        ("scarce", 30, "30 won are reserved."),
    ] {
        screen.invests(title, amount).await;
        screen.is_told(title, words).await;
    }
    // What is taken cannot be asked for.
    let browser = &screen.browser;
    browser
        .shows(&of("scarce", ".querySelector('button').disabled"), true)
        .await;
    browser
        .shows(
            &of("scarce", ".querySelector('p').textContent"),
            "30 of 30 won by 1 person, all is taken",
        )
        .await;
    screen
        .shows_invests(json!([
            ["scarce", "30", "settled"],
            ["with terms", "300", "settled"]
        ]))
        .await;
    for (name, width, height, scheme) in [
        ("desktop-light.png", 1_280, 900, "light"),
        ("desktop-dark.png", 1_280, 900, "dark"),
        ("phone-light.png", 360, 740, "light"),
        ("phone-dark.png", 360, 740, "dark"),
    ] {
        browser.looks_as(width, height, scheme).await;
        browser.shows("window.innerWidth", width).await;
        browser
            .shows(
                "document.documentElement.scrollWidth <= window.innerWidth",
                true,
            )
            .await;
        browser.screenshot(name).await;
    }
}

/// 1. A hundred users at once, then the next hundred: the bar shows each hundred. 2. Moa is killed: the page says so. 3. Somebody
///    invests, once it is back: the page has come back by itself, and shows all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bar_moves_in_a_rush_and_is_right_after_a_restart() {
    let mut screen = Screen::open(&[("rush", 1_000, json!({}))]).await;
    screen.invests("rush", 7).await;
    screen
        .shows_invests(json!([["rush", "7", "settled"]]))
        .await;
    let product = screen.app.api(0).get("/api/product").await.data()["list"][0]["productId"]
        .as_i64()
        .unwrap();
    let bar = of("rush", ".querySelector('progress').value");
    for wave in 0..WAVES {
        let users = (0..USERS_PER_WAVE).map(|number| format!("user{wave}-{number}"));
        join_all(users.map(|user| screen.app.accepts_one(user, product))).await;
        screen
            .browser
            .shows(&bar, 7 + (wave + 1) * USERS_PER_WAVE)
            .await;
    }
    screen.browser.screenshot("rush.png").await;
    screen.app.settled().await;

    screen.app.processes.remove(0).killed().await;
    screen
        .browser
        .shows(
            "document.getElementById('trouble').textContent",
            "Moa does not answer. Trying again…",
        )
        .await;
    screen.browser.screenshot("away.png").await;
    screen.app.add_process().await;
    assert!(
        screen
            .app
            .invest(ask("ann", product, 5))
            .await
            .is_accepted()
    );
    screen
        .browser
        .shows(&bar, 12 + WAVES * USERS_PER_WAVE)
        .await;
    screen
        .shows_invests(json!([["rush", "5", "settled"], ["rush", "7", "settled"]]))
        .await;
    screen
        .browser
        .shows("document.getElementById('trouble').textContent", "")
        .await;
    screen.invests("rush", 3).await;
    screen.is_told("rush", "3 won are reserved.").await;
    screen.browser.screenshot("back.png").await;
}
