//! A headless Chromium, driven over WebDriver (W3C), which is JSON over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use testbed::TempFolder;
use tokio::process::{Child, Command};

use super::{POLL_INTERVAL, TEST_TIMEOUT, within};

/// How long the driver may take for a command: starting a browser on a busy machine takes longest.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// It asks nobody outside this machine for anything, and runs as root too.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
/// Where WebDriver puts an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page; closed with the value.
pub struct Browser {
    client: Client,
    driver: String,
    session: String,
    _process: Child,
    _profile: TempFolder,
}

impl Browser {
    pub async fn open() -> Self {
        let profile = TempFolder::new("chromium");
        let client = Client::builder()
            .no_proxy()
            .timeout(COMMAND_TIMEOUT)
            .build()
            .unwrap();
        let (process, driver) = start_driver(&client).await;
        let args: Vec<_> = FLAGS
            .iter()
            .map(ToString::to_string)
            .chain([format!("--user-data-dir={}", profile.display())])
            .collect();
        let wanted =
            json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}});
        let mut browser = Self {
            client,
            driver,
            session: String::new(),
            _process: process,
            _profile: profile,
        };
        let opened = browser.command(Method::POST, "/session", wanted).await;
        browser.session = format!(
            "/session/{}",
            opened["sessionId"].as_str().expect("a session")
        );
        browser
    }

    /// A command of the driver's, and the value that it gives.
    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        let value = self.answer(method.clone(), path, &body).await;
        assert!(value["error"].is_null(), "{method} {path} {body}: {value}");
        value
    }

    /// What the driver answers, be it an error.
    async fn answer(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self
            .client
            .request(method.clone(), format!("{}{path}", self.driver));
        let request = if method == Method::POST {
            request.json(body)
        } else {
            request
        };
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["value"].clone()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.command(Method::POST, &format!("{}{path}", self.session), body)
            .await
    }

    async fn get(&self, path: &str) -> Value {
        self.command(Method::GET, &format!("{}{path}", self.session), Value::Null)
            .await
    }

    pub async fn go_to(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// What this expression in JavaScript is on the page.
    pub async fn value(&self, expression: &str) -> Value {
        self.post(
            "/execute/sync",
            json!({"script": format!("return {expression}"), "args": []}),
        )
        .await
    }

    /// Runs a script, and waits for what it promises.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
            .await
    }

    /// Waits until the expression is `wanted`. While a page loads, an element may not be there yet, and the expression then throws.
    pub async fn shows(&self, expression: &str, wanted: impl Into<Value>) {
        let (wanted, start) = (wanted.into(), Instant::now());
        let path = format!("{}/execute/sync", self.session);
        let body = json!({"script": format!("return {expression}"), "args": []});
        loop {
            let shown = self.answer(Method::POST, &path, &body).await;
            let error = &shown["error"];
            assert!(
                error.is_null() || error == "javascript error",
                "{expression}: {shown}"
            );
            if shown == wanted {
                return;
            }
            let is_late = start.elapsed() > TEST_TIMEOUT;
            assert!(
                !is_late,
                "{expression} is {shown}, never {wanted}: {}",
                self.value("document.body.innerText").await
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn element(&self, selector: &str) -> String {
        let found = self
            .post(
                "/element",
                json!({"using": "css selector", "value": selector}),
            )
            .await;
        format!("/element/{}", found[ELEMENT].as_str().expect("an element"))
    }

    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("{element}/click"), json!({})).await;
    }

    /// Puts `text` where there was another, and leaves the field as a user does, so that the page learns of it.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("{element}/clear"), json!({})).await;
        self.post(&format!("{element}/value"), json!({"text": text}))
            .await;
    }

    /// Presses keys where the focus is.
    pub async fn press(&self, keys: &str) {
        let active = self.get("/element/active").await;
        let path = format!(
            "/element/{}/value",
            active[ELEMENT].as_str().expect("an element")
        );
        self.post(&path, json!({"text": keys})).await;
    }

    /// The role and the name that assistive technology is told.
    pub async fn role_and_name(&self, selector: &str) -> (Value, Value) {
        let element = self.element(selector).await;
        (
            self.get(&format!("{element}/computedrole")).await,
            self.get(&format!("{element}/computedlabel")).await,
        )
    }

    /// Shows the page as a device of this width does, `dark` or `light`.
    pub async fn looks_as(&self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        for (command, parameters) in [
            ("Emulation.setDeviceMetricsOverride", metrics),
            ("Emulation.setEmulatedMedia", scheme),
        ] {
            self.post(
                "/goog/cdp/execute",
                json!({"cmd": command, "params": parameters}),
            )
            .await;
        }
    }

    /// Keeps a picture of the page under target/pages, to be looked at.
    pub async fn screenshot(&self, name: &str) {
        let params = json!({"captureBeyondViewport": true});
        let taken = self
            .post(
                "/goog/cdp/execute",
                json!({"cmd": "Page.captureScreenshot", "params": params}),
            )
            .await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pages");
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(name),
            STANDARD
                .decode(taken["data"].as_str().expect("a picture"))
                .unwrap(),
        )
        .unwrap();
    }
}

impl Drop for Browser {
    /// The driver closes the browser, which would outlive it.
    fn drop(&mut self) {
        let address = self.driver.trim_start_matches("http://");
        let Ok(mut connection) = TcpStream::connect(address) else {
            return;
        };
        connection.set_read_timeout(Some(CLOSE_TIMEOUT)).ok();
        let request = format!(
            "DELETE {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
            self.session
        );
        if connection.write_all(request.as_bytes()).is_ok() {
            connection.read_to_end(&mut Vec::new()).ok();
        }
    }
}

async fn start_driver(client: &Client) -> (Child, String) {
    let port = testbed::free_port();
    let mut driver = Command::new("chromedriver");
    driver.arg(format!("--port={port}")).kill_on_drop(true);
    driver
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = driver
        .spawn()
        .expect("chromedriver starts: install it and Chromium, or let make test install them");
    let url = format!("http://127.0.0.1:{port}");
    let is_ready = async || {
        let status: Value = client
            .get(format!("{url}/status"))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        (status["value"]["ready"] == true).then_some(())
    };
    within(TEST_TIMEOUT, "chromedriver to be ready", is_ready).await;
    (process, url)
}
