//! A client of one process's listeners.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

use super::journal::{Ask, Call, Journal, Outcome};
use super::process::{MoaProcess, OPERATOR};

/// How long a client waits for an answer. Above every bound of the service, a frozen one apart.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client keeps a connection that idles: less than the 75 s of the service, as docs/deploying.md asks of clients.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// One process, as a client reaches it. Clones share connections.
#[derive(Clone)]
pub struct ApiClient {
    number: usize,
    client: Client,
    read: String,
    write: String,
    admin: String,
    journal: Journal,
}

/// An answer over HTTP, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// What a client may look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    Product(i64),
    /// All that are open, newest first.
    Products,
    HoldingsOf(String),
    InvestsOf(String),
    SummaryOf(String),
}

/// A read and the state that it says it shows.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub view: View,
    pub token: String,
    pub body: String,
}

impl View {
    fn path(&self) -> String {
        match self {
            Self::Product(id) => format!("/api/product/{id}"),
            Self::Products => "/api/product?size=1000".into(),
            Self::HoldingsOf(_) => "/api/product/my/invest?size=1000".into(),
            Self::InvestsOf(_) => "/api/invest/log?size=1000".into(),
            Self::SummaryOf(_) => "/api/product/my/summary".into(),
        }
    }

    fn user(&self) -> Option<&str> {
        match self {
            Self::Product(_) | Self::Products => None,
            Self::HoldingsOf(user) | Self::InvestsOf(user) | Self::SummaryOf(user) => Some(user),
        }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The envelope's code; empty when the answer is no envelope.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }
}

/// A client of its own: connections that nobody else uses.
pub fn client() -> Client {
    let client = Client::builder()
        .no_proxy()
        .timeout(ANSWER_TIMEOUT)
        .pool_max_idle_per_host(usize::MAX);
    client.pool_idle_timeout(IDLE_TIMEOUT).build().unwrap()
}

impl ApiClient {
    pub fn of(number: usize, moa: &MoaProcess, client: Client, journal: Journal) -> Self {
        Self::at(
            number,
            [moa.read.clone(), moa.write.clone(), moa.admin.clone()],
            client,
            journal,
        )
    }

    /// One of each service, as a client reaches them: read, write, admin.
    pub fn at(
        number: usize,
        [read, write, admin]: [String; 3],
        client: Client,
        journal: Journal,
    ) -> Self {
        assert!(
            [&read, &write, &admin]
                .iter()
                .all(|url| url.contains("://127.0.0.1:")),
            "load is for loopback"
        );
        Self {
            number,
            client,
            read,
            write,
            admin,
            journal,
        }
    }

    /// Host and port of the write listener.
    pub fn write_address(&self) -> String {
        self.write.trim_start_matches("http://").to_owned()
    }

    /// Asks for an invest and writes down what came of it.
    pub async fn invest(&self, ask: Ask) -> Call {
        let correlation = Uuid::now_v7().simple().to_string();
        let body = json!({"productId": ask.product, "investAmount": ask.amount});
        let request = self
            .client
            .post(format!("{}/api/invest", self.write))
            .json(&body);
        let request = request
            .header("X-USER-ID", &ask.user)
            .header("X-Correlation-Id", &correlation);
        let request = match &ask.key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        let sent = Instant::now();
        let answer = send(request).await;
        let answered = Instant::now();
        let header = |name| {
            answer
                .as_ref()
                .ok()
                .and_then(|answer| answer.header(name))
                .map(str::to_owned)
        };
        let call = Call {
            correlation,
            api: self.number,
            sent,
            answered,
            replayed: header("idempotency-replayed").is_some_and(|value| value == "true"),
            token: header("x-consistency-token"),
            outcome: outcome(answer),
            ask,
        };
        self.journal.write(call.clone());
        call
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.read_with(path, &[]).await
    }

    pub async fn get_as(&self, user: &str, path: &str) -> Answer {
        self.read_with(path, &[("X-USER-ID", user)]).await
    }

    /// A GET of the write listener.
    pub async fn get_write(&self, path: &str) -> Answer {
        send(self.client.get(format!("{}{path}", self.write)))
            .await
            .unwrap()
    }

    pub async fn read_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.client.get(format!("{}{path}", self.read));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        send(request).await.unwrap()
    }

    /// Reads, and keeps what was read with the state it claims to be of.
    pub async fn sight(&self, view: View) -> Sighting {
        let headers: Vec<_> = view
            .user()
            .iter()
            .map(|user| ("X-USER-ID", *user))
            .collect();
        let answer = self.read_with(&view.path(), &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer
            .header("x-consistency-token")
            .expect("every read says what it shows")
            .to_owned();
        Sighting {
            view,
            token,
            body: answer.body,
        }
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let request = self
            .client
            .post(format!("{}{path}", self.write))
            .body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        send(request).await.unwrap()
    }

    /// Asks the admin listener with `token`; `more` adds headers and a body.
    pub async fn admin_with(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        more: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let request = more(self.client.request(method, format!("{}{path}", self.admin)));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        send(request).await.unwrap()
    }

    /// Asks the admin listener as the operator.
    pub async fn operate(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let more = |request: RequestBuilder| body.into_iter().fold(request, RequestBuilder::json);
        self.admin_with(method, path, Some(OPERATOR), more).await
    }
}

async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok(Answer {
        status,
        headers,
        body: answer.text().await?,
    })
}

fn outcome(answer: reqwest::Result<Answer>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Outcome::Unknown(format!("{error:?}")),
    };
    let invest_id = answer.header("x-invest-id").and_then(|id| id.parse().ok());
    let remaining = answer
        .header("x-remaining-amount")
        .and_then(|text| text.parse().ok());
    match (answer.status, answer.code().as_str(), invest_id) {
        (200, "01", Some(invest_id)) => Outcome::Accepted { invest_id },
        (200 | 400..=499, code, None) if code != "01" => Outcome::Refused {
            code: code.to_owned(),
            remaining,
        },
        (503, "OVERLOADED", None) => Outcome::Refused {
            code: "OVERLOADED".to_owned(),
            remaining,
        },
        _ => Outcome::Unknown(format!("{} {}", answer.status, answer.body)),
    }
}
