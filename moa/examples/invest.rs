//! Invests as a client should: with an idempotency key, again when an answer is lost, and follows what becomes of it.
//!
//!     cargo run --example invest USER PRODUCT_ID AMOUNT [--lose-answer]
//!
//! `--lose-answer` hangs up on the first answer unread, to show that the request sent again is not a second invest. It knows no crate of
//! Moa's: copied elsewhere it needs anyhow, reqwest with `json` and `rustls-no-provider`, rustls with `ring`, serde, serde_json, tokio and
//! uuid with `v4`.

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::env;
use std::process::ExitCode;
use std::time::Duration;
use uuid::Uuid;

const MAX_ATTEMPTS: usize = 5;
const RETRY_DELAY: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// While nothing changes a stream has a comment every 15 s: one without two of them is broken.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(35);

/// What every answer comes in.
#[derive(Deserialize)]
struct Envelope {
    result: bool,
    code: String,
    message: Option<String>,
    data: Value,
}

#[derive(Deserialize)]
struct Page<T> {
    list: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Product {
    product_id: i64,
    title: String,
    total_investing_amount: i64,
    current_investing_amount: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invest {
    invest_id: Uuid,
    title: String,
    invest_amount: i64,
    state: String,
}

/// The listeners, and who asks.
struct Moa {
    client: Client,
    read: String,
    write: String,
    user: String,
}

impl Moa {
    fn of(user: &str) -> Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(ANSWER_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .build()?;
        let url =
            |variable, otherwise: &str| env::var(variable).unwrap_or_else(|_| otherwise.into());
        let read = url("MOA_READ_URL", "http://127.0.0.1:8080");
        Ok(Self {
            client,
            read,
            write: url("MOA_WRITE_URL", "http://127.0.0.1:8081"),
            user: user.into(),
        })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client
            .get(format!("{}{path}", self.read))
            .header("X-USER-ID", &self.user)
    }

    /// The headers and the envelope of the final answer. The key makes it safe to ask again.
    async fn invest(
        &self,
        product: i64,
        amount: i64,
        lose_answer: bool,
    ) -> Result<(HeaderMap, Envelope)> {
        let body = json!({"productId": product, "investAmount": amount});
        let request = self
            .client
            .post(format!("{}/api/invest", self.write))
            .timeout(ANSWER_TIMEOUT)
            .json(&body);
        let request = request
            .header("X-USER-ID", &self.user)
            .header("Idempotency-Key", Uuid::new_v4().to_string());
        for attempt in 0..MAX_ATTEMPTS {
            let request = request
                .try_clone()
                .context("a body in memory can be sent again")?;
            match final_answer(request, lose_answer && attempt == 0).await {
                Ok(answer) => return Ok(answer),
                Err(error) => eprintln!("no answer ({error:#}): asking again with the same key"),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        bail!(
            "no answer after {MAX_ATTEMPTS} attempts; is Moa at {}?",
            self.write
        )
    }

    /// The invest once it has its fate. A stream that ends or breaks is opened again: it begins with the state of now.
    async fn follow(&self, invest_id: Uuid) -> Result<Invest> {
        for _ in 0..MAX_ATTEMPTS {
            match self.fate(invest_id).await {
                Ok(fate) => return Ok(fate),
                Err(error) => eprintln!("the stream broke ({error:#}): following again"),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        bail!(
            "{invest_id} is reserved; what becomes of it shows later at {}/api/invest/log/{invest_id}",
            self.read
        )
    }

    async fn fate(&self, invest_id: Uuid) -> Result<Invest> {
        let mut events = Events::of(self.get("/api/invest/log/stream")).await?;
        loop {
            let shown: Invest = events.next().await?;
            if shown.invest_id == invest_id && shown.state != "RESERVED" {
                return Ok(shown);
            }
        }
    }
}

/// Fails where the outcome is not known, or was that nothing happened for now: then the same may be asked again.
async fn final_answer(request: RequestBuilder, hangs_up: bool) -> Result<(HeaderMap, Envelope)> {
    let answer = request.send().await?;
    // The answer has come, and goes with its connection before anybody has read it.
    ensure!(!hangs_up, "hung up");
    let is_final = ![
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ]
    .contains(&answer.status());
    ensure!(is_final, "status {}", answer.status());
    Ok((answer.headers().clone(), answer.json().await?))
}

/// The data of a read.
async fn read<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let envelope: Envelope = request.timeout(ANSWER_TIMEOUT).send().await?.json().await?;
    ensure!(
        envelope.result,
        "refused: {}: {}",
        envelope.code,
        envelope.message.unwrap_or_default()
    );
    Ok(serde_json::from_value(envelope.data)?)
}

/// A stream of server-sent events, whose data is one line of JSON each.
struct Events {
    answer: reqwest::Response,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    data: VecDeque<Vec<u8>>,
}

impl Events {
    async fn of(request: RequestBuilder) -> Result<Self> {
        let answer = request.send().await?.error_for_status()?;
        Ok(Self {
            answer,
            rest: Vec::new(),
            data: VecDeque::new(),
        })
    }

    async fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        loop {
            if let Some(data) = self.data.pop_front() {
                return Ok(serde_json::from_slice(&data)?);
            }
            self.rest
                .extend(self.answer.chunk().await?.context("it ended")?);
            let lines: Vec<_> = self
                .rest
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            let (rest, whole) = lines.split_last().context("a split has a last part")?;
            self.data.extend(
                whole
                    .iter()
                    .filter_map(|line| line.strip_prefix(b"data: "))
                    .map(<[u8]>::to_vec),
            );
            self.rest.clone_from(rest);
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str> {
    Ok(headers
        .get(name)
        .with_context(|| format!("the answer has no {name}"))?
        .to_str()?)
}

#[tokio::main]
async fn main() -> ExitCode {
    // reqwest is built here without a provider of cryptography of its own, and wants one before it makes a client.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let Err(error) = tell_the_story().await else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

async fn tell_the_story() -> Result<()> {
    let (flags, arguments): (Vec<_>, Vec<_>) = env::args()
        .skip(1)
        .partition(|argument| argument == "--lose-answer");
    let [user, product, amount] = &arguments[..] else {
        bail!("say who, in what and how much: invest USER PRODUCT_ID AMOUNT [--lose-answer]")
    };
    let moa = Moa::of(user)?;
    let products: Page<Product> = read(moa.get("/api/product")).await?;
    for Product {
        product_id,
        title,
        total_investing_amount,
        current_investing_amount,
    } in products.list
    {
        println!(
            "open: {product_id} {title}, {current_investing_amount} of {total_investing_amount}"
        );
    }

    let (said, envelope) = moa
        .invest(product.parse()?, amount.parse()?, !flags.is_empty())
        .await?;
    ensure!(
        envelope.result,
        "refused: {}: {}",
        envelope.code,
        envelope.message.unwrap_or_default()
    );
    let invest_id: Uuid = header(&said, "x-invest-id")?.parse()?;
    let replayed = if said.contains_key("idempotency-replayed") {
        "replayed"
    } else {
        "first answer"
    };
    println!("accepted: {invest_id} {replayed}");

    // With the token the invest is there at once, wherever it is read.
    let path = format!("/api/invest/log/{invest_id}");
    let token = header(&said, "x-consistency-token")?;
    let shown: Invest = read(moa.get(&path).header("X-Consistency-Token", token)).await?;
    println!(
        "read: {} in {}, {}",
        shown.invest_amount, shown.title, shown.state
    );
    println!("followed: {}", moa.follow(invest_id).await?.state);
    Ok(())
}
