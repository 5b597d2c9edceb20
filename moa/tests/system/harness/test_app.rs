//! One or several processes on one fresh database.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgPool};
use std::str::FromStr as _;
use testbed::Proxy;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::{ApiClient, client};
use super::journal::{Ask, Call, Journal, ask};
use super::process::{Ended, MoaProcess, OPERATOR, Start};
use super::shared_servers::Leftovers;
use super::{TEST_TIMEOUT, consumers, within};

/// Real processes over one database; all killed, then the database dropped, when the value goes.
pub struct TestApp {
    pub processes: Vec<MoaProcess>,
    pub pool: PgPool,
    pub journal: Journal,
    client: reqwest::Client,
    start: Start,
    _leftovers: Leftovers,
    database: testbed::Database,
    _slot: SemaphorePermit<'static>,
}

/// One app at a time in this process: each has dozens of connections to a server that allows a hundred. Where every
/// test is a process of its own, `.config/nextest.toml` sees to the same.
static APP_SLOT: Semaphore = Semaphore::const_new(1);

/// A time, in RFC 3339, so many seconds from now.
pub fn seconds_from(now: DateTime<Utc>, seconds: i64) -> String {
    (now + TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl TestApp {
    pub async fn open() -> Self {
        Self::of(1, Start::serve()).await
    }

    /// Several processes on one database.
    pub async fn with_processes(count: usize) -> Self {
        Self::of(count, Start::serve()).await
    }

    pub async fn of(count: usize, start: Start) -> Self {
        let room = APP_SLOT.acquire().await.unwrap();
        let database = testbed::Database::fresh().await;
        let (pool, start) = (
            database.pool().await.inner().clone(),
            start.on(database.url()),
        );
        let processes = join_all((0..count).map(|_| start.open())).await;
        let (journal, leftovers) = (Journal::default(), Leftovers::of(database.url()));
        Self {
            processes,
            pool,
            journal,
            client: client(),
            start,
            _leftovers: leftovers,
            database,
            _slot: room,
        }
    }

    /// Two processes: the first reaches the database through a proxy whose connections can fall silent, the second directly.
    pub async fn behind_a_proxy() -> (Self, Proxy) {
        let mut app = Self::of(0, Start::serve()).await;
        let options = PgConnectOptions::from_str(app.database.url()).unwrap();
        let (proxy, options) = Proxy::before_database(options).await;
        let behind = options.to_url_lossy();
        app.processes
            .push(app.start.clone().on(behind.as_str()).open().await);
        app.add_process().await;
        (app, proxy)
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        self.database.url().to_owned()
    }

    /// How its processes are started.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// One more process, or one again.
    pub async fn add_process(&mut self) {
        self.processes.push(self.start.open().await);
    }

    pub fn api(&self, number: usize) -> ApiClient {
        ApiClient::of(
            number,
            &self.processes[number],
            self.client.clone(),
            self.journal.clone(),
        )
    }

    /// One api per process.
    pub fn apis(&self) -> Vec<ApiClient> {
        (0..self.processes.len())
            .map(|number| self.api(number))
            .collect()
    }

    /// Asks the first process.
    pub async fn invest(&self, ask: Ask) -> Call {
        self.api(0).invest(ask).await
    }

    /// Has 1 won of `product` accepted for `user`, who comes again while told "overloaded".
    pub async fn accepts_one(&self, user: String, product: i64) {
        let invest = async || {
            let call = self.invest(ask(&user, product, 1)).await;
            assert!(
                call.is_accepted() || call.is_refused("OVERLOADED"),
                "{call:?}"
            );
            call.is_accepted().then_some(())
        };
        within(TEST_TIMEOUT, "an invest", invest).await;
    }

    /// An operator's command against the first process, about to be started.
    pub fn command(&self, args: &[&str]) -> Start {
        Start::bare(args)
            .with(&["--admin-url", &self.processes[0].admin])
            .env("MOA_OPERATOR_TOKEN", OPERATOR)
    }

    /// An operator's command, to its end.
    pub async fn operator(&self, args: &[&str]) -> Ended {
        self.command(args).end().await
    }

    /// Opens a product that takes invests now.
    pub async fn open_product(&self, title: &str, total: i64) -> i64 {
        self.open_product_in(title, total, (-3_600, 3_600)).await
    }

    /// Opens a product with terms: the names and amounts of the contract.
    pub async fn open_product_with(&self, title: &str, total: i64, terms: Value) -> i64 {
        let now = Utc::now();
        let mut body = json!({"title": title, "totalInvestingAmount": total,
                              "startedAt": seconds_from(now, -3_600), "finishedAt": seconds_from(now, 3_600)});
        let Value::Object(terms) = terms else {
            panic!("terms are an object")
        };
        body.as_object_mut().unwrap().extend(terms);
        self.opened(&body).await
    }

    /// Opens a product whose window is given in seconds from now.
    pub async fn open_product_in(
        &self,
        title: &str,
        total: i64,
        (starts, finishes): (i64, i64),
    ) -> i64 {
        let now = Utc::now();
        let body = json!({"title": title, "totalInvestingAmount": total,
                          "startedAt": seconds_from(now, starts), "finishedAt": seconds_from(now, finishes)});
        self.opened(&body).await
    }

    async fn opened(&self, body: &Value) -> i64 {
        let answer = self
            .api(0)
            .operate(Method::POST, "/admin/product", Some(body))
            .await;
        answer.data()["productId"]
            .as_i64()
            .unwrap_or_else(|| panic!("not opened: {} {}", answer.body, self.processes[0].logged()))
    }

    /// Waits until every reservation has its fate and every consumer stands at the heads.
    pub async fn settled(&self) {
        let quiet = async || {
            let quiet: bool = sqlx::query_scalar(IS_QUIET)
                .bind(consumers())
                .fetch_one(&self.pool)
                .await
                .unwrap();
            quiet.then_some(())
        };
        within(TEST_TIMEOUT, "quiet", quiet).await;
    }
}

const IS_QUIET: &str = "
    select not exists (select from open_invest)
       and not exists (select from mass_refunds)
       and not exists (select from target_checks join product_list using (product_id)
                        where finished_at <= clock_timestamp())
       and not exists (
           select from log_identity
            cross join generate_series(0, partitions - 1) as p
            cross join unnest($1::text[]) as c (name)
             left join checkpoints k on k.consumer = c.name and k.partition = p
            where coalesce(k.position, 0)
                  <> coalesce((select max(e.position) from events e where e.partition = p), 0))";
