//! The console: who gets in, what a form must show, and what a browser shows.

mod accessible;
mod looked_at;

use axum::http::header;
use reqwest::{Client, Response, redirect};
use serde_json::json;
use std::fs;
use testbed::TempFolder;

use crate::harness::{AUDITOR, Browser, OPERATOR, Start, TEST_TIMEOUT, TestApp, within};
use crate::tokens;

/// Somebody with a browser that runs no script.
struct Caller {
    client: Client,
    url: String,
    cookie: String,
}

impl Caller {
    fn new(app: &TestApp) -> Self {
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TEST_TIMEOUT)
            .build();
        Self {
            client: client.unwrap(),
            url: app.processes[0].admin.clone(),
            cookie: String::new(),
        }
    }

    async fn logged_in(app: &TestApp, token: &str) -> Self {
        let mut caller = Self::new(app);
        let answer = caller
            .post("/console/login", &[("token", token)], &[])
            .await;
        assert_eq!(
            (answer.status().as_u16(), location(&answer)),
            (303, "/console")
        );
        caller.cookie = set_cookie(&answer).split(';').next().unwrap().to_owned();
        caller
    }

    async fn get(&self, path: &str) -> Response {
        let request = self
            .client
            .get(format!("{}{path}", self.url))
            .header(header::COOKIE, &self.cookie);
        request.send().await.unwrap()
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        let (status, page) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    async fn post(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Response {
        let body = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("&");
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header(header::COOKIE, &self.cookie);
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        headers
            .iter()
            .fold(request, |request, (name, value)| {
                request.header(*name, *value)
            })
            .send()
            .await
            .unwrap()
    }

    /// The secret in the forms of this session.
    async fn csrf(&self) -> String {
        let page = self.page("/console/acts").await;
        let (_, after) = page.split_once("name=\"csrf\" value=\"").expect("a form");
        after.split('"').next().unwrap().to_owned()
    }
}

fn location(answer: &Response) -> &str {
    answer.headers()[header::LOCATION].to_str().unwrap()
}

fn set_cookie(answer: &Response) -> &str {
    answer.headers()[header::SET_COOKIE].to_str().unwrap()
}

#[tokio::test]
async fn nobody_sees_anything_before_the_right_token() {
    let app = TestApp::of(1, Start::serve()).await;
    let mut caller = Caller::new(&app);
    for path in [
        "/console",
        "/console/products/1",
        "/console/events?userId=a",
        "/console/live/overview",
        "/console/none",
    ] {
        let answer = caller.get(path).await;
        assert_eq!(answer.status().as_u16(), 303, "{path}");
        assert!(
            location(&answer).starts_with("/console/login?next="),
            "{path}"
        );
    }
    let live = caller
        .client
        .get(format!("{}/console/live/overview", caller.url));
    let live = live
        .header(header::ACCEPT, "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (live.status().as_u16(), &live.headers()["hx-redirect"]),
        (401, &"/console/login".parse().unwrap())
    );
    let page = caller.get("/console/login").await;
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
    assert!(!page.text().await.unwrap().contains("://"));

    let wrong = caller
        .post(
            "/console/login",
            &[("token", "wrong-wrong-wrong-wrong")],
            &[],
        )
        .await;
    assert_eq!(wrong.status().as_u16(), 401);
    assert!(wrong.headers().get(header::SET_COOKIE).is_none());
    let port = caller.url.rsplit(':').next().unwrap();
    caller.cookie = format!("moa-console-{port}=0123");
    assert_eq!(caller.get("/console").await.status().as_u16(), 303);

    let answer = caller
        .post(
            "/console/login",
            &[("token", OPERATOR), ("next", "//evil.example")],
            &[],
        )
        .await;
    assert_eq!(
        (answer.status().as_u16(), location(&answer)),
        (303, "/console")
    );
    let cookie = set_cookie(&answer).to_owned();
    assert!(
        cookie.ends_with("; Path=/console; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    assert!(!cookie.contains(OPERATOR));
    // A page of another site whose name was let point here (DNS rebinding) reaches nothing.
    let rebound = caller
        .client
        .get(format!("{}/console/login", caller.url))
        .header(header::HOST, "evil.example");
    assert_eq!(rebound.send().await.unwrap().status().as_u16(), 421);
}

#[tokio::test]
async fn a_form_counts_only_from_a_page_of_the_session() {
    let app = TestApp::of(1, Start::serve()).await;
    let caller = Caller::logged_in(&app, OPERATOR).await;
    let csrf = caller.csrf().await;
    let pause = "/console/projections/holdings/pause";
    for (fields, headers) in [
        (vec![], vec![]),
        (vec![("csrf", "0123")], vec![]),
        (
            vec![("csrf", csrf.as_str())],
            vec![("Sec-Fetch-Site", "cross-site")],
        ),
        (
            vec![("csrf", csrf.as_str())],
            vec![("Origin", "https://evil.example")],
        ),
    ] {
        let refused = caller.post(pause, &fields, &headers).await;
        assert_eq!(refused.status().as_u16(), 403, "{fields:?} {headers:?}");
    }
    let of_another = Caller::logged_in(&app, OPERATOR).await.csrf().await;
    assert_eq!(
        caller
            .post(pause, &[("csrf", &of_another)], &[])
            .await
            .status()
            .as_u16(),
        403
    );
    assert!(
        caller
            .page("/console/projections/holdings")
            .await
            .contains(">RUNNING<")
    );

    let done = caller
        .post(
            pause,
            &[("csrf", &csrf)],
            &[("Sec-Fetch-Site", "same-origin")],
        )
        .await;
    assert_eq!(
        (done.status().as_u16(), location(&done)),
        (303, "/console/projections/holdings")
    );
    let page = caller.page("/console/projections/holdings").await;
    assert!(
        page.contains("holdings is paused.") && page.contains(">PAUSED<"),
        "{page}"
    );
    // Once.
    assert!(
        !caller
            .page("/console/projections/holdings")
            .await
            .contains("holdings is paused.")
    );
    assert!(caller.page("/console/acts").await.contains("PAUSE"));

    let large = "a".repeat(20_000);
    let refused = caller
        .post(pause, &[("csrf", &csrf), ("more", &large)], &[])
        .await;
    assert_eq!(refused.status().as_u16(), 400);
    assert_eq!(
        caller
            .post(
                "/console/projections/holdings/explode",
                &[("csrf", &csrf)],
                &[]
            )
            .await
            .status()
            .as_u16(),
        404
    );
    assert_eq!(
        caller
            .get("/console/projections/none")
            .await
            .status()
            .as_u16(),
        404
    );

    let out = caller
        .post("/console/logout", &[("csrf", &csrf)], &[])
        .await;
    assert_eq!(
        (out.status().as_u16(), location(&out)),
        (303, "/console/login")
    );
    assert!(set_cookie(&out).contains("Max-Age=0"));
    // The cookie that somebody kept is worth nothing.
    assert_eq!(caller.get("/console").await.status().as_u16(), 303);
}

#[tokio::test]
async fn an_auditor_reads_and_has_nothing_to_press() {
    let app = TestApp::of(1, Start::serve()).await;
    let product = app.open_product("<script>alert(1)</script>", 1_000).await;
    app.settled().await;
    let auditor = Caller::logged_in(&app, AUDITOR).await;
    let csrf = auditor.csrf().await;
    for path in [
        "/console".to_owned(),
        "/console/products".into(),
        format!("/console/products/{product}"),
        "/console/projections/holdings".into(),
    ] {
        let page = auditor.page(&path).await;
        // To log out.
        assert_eq!(page.matches("method=\"post\"").count(), 1, "{path}: {page}");
        assert!(!page.contains("<script>alert"), "{path}");
    }
    let refused = auditor
        .post(
            "/console/projections/holdings/pause",
            &[("csrf", &csrf)],
            &[],
        )
        .await;
    assert_eq!(refused.status().as_u16(), 303);
    let page = auditor.page("/console/projections/holdings").await;
    assert!(
        page.contains("role=\"alert\"") && page.contains(">RUNNING<"),
        "{page}"
    );
    let access = app
        .api(0)
        .operate(reqwest::Method::GET, "/admin/audit/access?limit=100", None)
        .await
        .data();
    auditor.page("/console/events?userId=ann").await;
    let after = app
        .api(0)
        .operate(reqwest::Method::GET, "/admin/audit/access?limit=100", None)
        .await
        .data();
    let reads = |data: &serde_json::Value| {
        data["list"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|read| read["reader"] == "AUDITOR")
            .count()
    };
    assert!(reads(&after) > reads(&access), "{after}");
    let read = &after["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|read| read["path"].as_str().unwrap().contains("event"))
        .unwrap()
        .clone();
    assert_eq!(
        (&read["method"], &read["peer"]),
        (&json!("GET"), &json!("127.0.0.1")),
        "{read}"
    );
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let folder = TempFolder::new("console");
    let file = folder.file("tokens");
    let [ann, bob] = [
        tokens::token("ann", "operator").await,
        tokens::token("bob", "auditor").await,
    ];
    tokens::write(&file, &[&ann.line, &bob.line]);
    let start = Start::serve()
        .without("MOA_OPERATOR_TOKEN")
        .without("MOA_AUDITOR_TOKEN")
        .env("MOA_TOKENS_FILE", &file);
    let app = TestApp::of(1, start).await;
    let caller = Caller::logged_in(&app, &ann.token).await;
    assert!(caller.page("/console").await.contains("ann (operator)"));
    let mut live = caller.get("/console/live/overview").await;
    assert!(live.chunk().await.unwrap().is_some());

    tokens::write(&file, &[&bob.line]);
    let is_out = async || (caller.get("/console").await.status().as_u16() == 303).then_some(());
    within(TEST_TIMEOUT, "the session to end", is_out).await;
    // The page that was open learns of it, and asks no more.
    let mut said = String::new();
    let mut end = async || {
        while let Some(piece) = live.chunk().await.unwrap() {
            said.push_str(&String::from_utf8_lossy(&piece));
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, end()).await.unwrap();
    assert!(
        said.contains("event: gone") && said.contains("logged out"),
        "{said}"
    );
    fs::remove_file(file).unwrap();
}

/// A browser in which `token` is logged in.
async fn browser(app: &TestApp, token: &str) -> Browser {
    let browser = Browser::open().await;
    browser.looks_as(1_280, 900, "light").await;
    browser
        .go_to(&format!("{}/console", app.processes[0].admin))
        .await;
    browser.fill("#token", &format!("{token}\u{E007}")).await;
    browser
        .shows("document.querySelector('h1').textContent", "Overview")
        .await;
    browser
}
