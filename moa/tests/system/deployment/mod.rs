//! A deployment as in production: two of each service, each a process of its own, on one database, a RabbitMQ, a Redis and a
//! payment provider.

mod catch_up;
mod database;
pub mod postgres;
mod servers;
mod service;
mod tap;

pub use catch_up::CATCH_UP_TIMEOUT;
use database::Database;
pub use database::url_of;
pub use servers::RabbitMq;
pub use service::{SERVICES, Service};
pub use tap::Tap;

use chrono::Utc;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::payments::Payments;
use testbed::{RedisServer, free_port};
use uuid::Uuid;

use crate::harness::{
    AUDITOR, ApiClient, Call, Journal, Load, MoaProcess, OPERATOR, Start, TEST_TIMEOUT, client,
    consumers, seconds_from, within,
};

/// Clients at each api; a rush is another test's business.
const CLIENTS: usize = 4;
/// How long a service may take to stop under load.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a deletion may take.
const DELETION_TIMEOUT: Duration = Duration::from_secs(2);
/// More than all clients can take.
const LARGE_TOTAL_WON: i64 = 1_000_000_000;

/// Two of each; everything is killed, and the servers with it, when the value goes.
pub struct Deployment {
    services: BTreeMap<(Service, usize), MoaProcess>,
    starts: BTreeMap<(Service, usize), Start>,
    addresses: BTreeMap<(Service, usize), String>,
    pub rabbit: RabbitMq,
    pub redis: RedisServer,
    pub payments: Payments,
    pub pool: PgPool,
    pub journal: Journal,
    products: Vec<i64>,
    client: reqwest::Client,
    database: Database,
}

impl Deployment {
    pub async fn open() -> Self {
        let database = Database::start().await;
        let url = database.url.clone();
        Self::on(database, |_| url.clone()).await
    }

    /// The same, where each service logs in as its own, with the rights it needs and no others.
    pub async fn with_logins() -> Self {
        let database = Database::start().await;
        database.make_logins().await;
        let urls =
            SERVICES.map(|service| (service, database.url_as(&service.name().replace('-', "_"))));
        let urls = BTreeMap::from(urls);
        Self::on(database, |service| urls[&service].clone()).await
    }

    /// The same on a long history, which `bench history` writes.
    pub async fn with_history(events: u64) -> Self {
        let database = Database::start().await;
        let mut bench = tokio::process::Command::new(env!("CARGO"));
        bench.args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "bench",
            "--",
            "history",
            "--products",
            "200",
            "--events",
        ]);
        let written = bench
            .arg(events.to_string())
            .env("DATABASE_URL", &database.url)
            .status()
            .await
            .unwrap();
        assert!(written.success(), "bench history failed");
        let url = database.url.clone();
        Self::on(database, |_| url.clone()).await
    }

    async fn on(database: Database, url: impl Fn(Service) -> String) -> Self {
        let (rabbit, mut redis, payments) = (
            RabbitMq::start().await,
            RedisServer::nowhere(),
            Payments::open().await,
        );
        redis.start();
        let servers = Start::bare(&[])
            .env("AMQP_URL", &rabbit.url())
            .env("REDIS_URL", &redis.url())
            .env("MOA_PAYMENT_PROVIDER", "http")
            .env("MOA_PAYMENT_URL", &payments.url())
            .env("MOA_OPERATOR_TOKEN", OPERATOR)
            .env("MOA_AUDITOR_TOKEN", AUDITOR);
        let mut system = Self {
            services: BTreeMap::new(),
            starts: BTreeMap::new(),
            addresses: BTreeMap::new(),
            rabbit,
            redis,
            payments,
            pool: database.pool(),
            journal: Journal::default(),
            products: Vec::new(),
            client: client(),
            database,
        };
        for (service, number) in SERVICES
            .into_iter()
            .flat_map(|service| [(service, 0), (service, 1)])
        {
            system.settle_in(&servers.clone().on(&url(service)), service, number);
        }
        // All at once: whoever comes first migrates.
        let starts: Vec<_> = system
            .starts
            .iter()
            .map(|(who, start)| (*who, start.clone()))
            .collect();
        let opened = futures::future::join_all(starts.iter().map(|(_, start)| start.open())).await;
        system.services = starts.iter().map(|(who, _)| *who).zip(opened).collect();
        for title in ["one", "two", "three"] {
            let id = system.open_product(title).await;
            system.products.push(id);
        }
        system
    }

    /// Ports are chosen once, so that a service comes back where it was.
    fn settle_in(&mut self, servers: &Start, service: Service, number: usize) {
        let local = |port: u16| format!("127.0.0.1:{port}");
        let mut start = servers.clone().with(&["serve", service.name()]);
        if service != Service::Admin {
            start = start.env("MOA_OPS_LISTEN", &local(free_port()));
        }
        if let Some(setting) = service.listen() {
            let address = local(free_port());
            start = start.env(setting, &address);
            self.addresses
                .insert((service, number), format!("http://{address}"));
        }
        self.starts.insert((service, number), start);
    }

    /// The database, as this login; only where there are logins.
    pub fn database_as(&self, login: &str) -> String {
        self.database.url_as(login)
    }

    /// An admin listener.
    pub fn admin(&self, number: usize) -> String {
        self.address(Service::Admin, number)
    }

    /// A read listener's address.
    pub fn read(&self, number: usize) -> String {
        self.address(Service::QueryApi, number)
    }

    fn address(&self, service: Service, number: usize) -> String {
        self.addresses[&(service, number)].clone()
    }

    pub fn api(&self, number: usize) -> ApiClient {
        let at = |service| self.address(service, number);
        let addresses = [
            at(Service::QueryApi),
            at(Service::CommandApi),
            at(Service::Admin),
        ];
        ApiClient::at(number, addresses, self.client.clone(), self.journal.clone())
    }

    pub fn apis(&self) -> Vec<ApiClient> {
        vec![self.api(0), self.api(1)]
    }

    pub async fn open_product(&self, title: &str) -> i64 {
        let now = Utc::now();
        let body = json!({"title": title, "totalInvestingAmount": LARGE_TOTAL_WON,
                          "startedAt": seconds_from(now, -3_600), "finishedAt": seconds_from(now, 36_000)});
        let answer = self
            .api(0)
            .operate(Method::POST, "/admin/product", Some(&body))
            .await;
        answer.data()["productId"]
            .as_i64()
            .unwrap_or_else(|| panic!("not opened: {}", answer.body))
    }

    pub fn service(&self, service: Service, number: usize) -> &MoaProcess {
        &self.services[&(service, number)]
    }

    /// `kill -9`.
    pub async fn kill(&mut self, service: Service, number: usize) {
        self.services
            .remove(&(service, number))
            .expect("it runs")
            .killed()
            .await;
    }

    /// SIGTERM, and it ends with success.
    pub async fn stop(&mut self, service: Service, number: usize) {
        let stopping = self.services.remove(&(service, number)).expect("it runs");
        stopping.signal("TERM");
        let ended = stopping.ended(STOP_TIMEOUT).await;
        assert!(ended.status.success(), "{service:?}: {}", ended.err);
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self, service: Service, number: usize) {
        let opened = self.starts[&(service, number)].open().await;
        self.services.insert((service, number), opened);
    }

    /// Load at both apis, and both accept.
    pub async fn load(&self) -> Load {
        let load = Load::start(&self.apis(), CLIENTS, &self.products);
        let began = Instant::now();
        for api in [0, 1] {
            self.accepts_at(api, began).await;
        }
        load
    }

    /// Waits until the api has accepted something that was sent after `since`.
    pub async fn accepts_at(&self, api: usize, since: Instant) {
        let accepted = |call: &Call| call.api == api && call.sent > since && call.is_accepted();
        within(TEST_TIMEOUT, "an acceptance", async || {
            (self.journal.count(accepted) > 0).then_some(())
        })
        .await;
    }

    /// The longest time in which the api accepted nothing, between two moments.
    pub fn longest_gap(&self, api: usize, from: Instant, to: Instant) -> Duration {
        let calls = self.journal.read();
        let mut times: Vec<_> = calls
            .iter()
            .filter(|call| call.api == api && call.is_accepted())
            .collect();
        times.sort_by_key(|call| call.answered);
        let answered = times
            .iter()
            .map(|call| call.answered)
            .filter(|at| (from..to).contains(at));
        let moments: Vec<_> = std::iter::once(from).chain(answered).chain([to]).collect();
        moments
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }

    pub async fn log_id(&self) -> Uuid {
        sqlx::query_scalar("select log_id from log_identity")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub async fn tap(&self) -> Tap {
        Tap::start(self.rabbit.url(), self.log_id().await).await
    }

    /// Messages that both projectors have been delivered.
    pub async fn delivered(&self) -> f64 {
        let mut all = 0.0;
        for number in [0, 1] {
            let metrics = self.metrics(Service::Projector, number).await;
            let lines = metrics
                .lines()
                .filter(|line| line.starts_with("moa_deliveries_total"));
            all += lines
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
        }
        all
    }

    /// Deletes the exchange and every queue of this log's consumers, as a careless operator might; says how many queues
    /// went. Each is declared again within moments, and RabbitMQ may leave a deletion that meets that without an answer.
    pub async fn delete_queues(&self) -> usize {
        let url = self.rabbit.url();
        let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default())
            .await
            .unwrap();
        let log_id = self.log_id().await;
        let consumers = [consumers(), vec!["counters"]].concat();
        let names = consumers
            .iter()
            .flat_map(|who| (0..4).map(move |at| format!("moa.{log_id}.{who}.{at}")));
        let mut deleted = 0;
        for queue in names {
            let channel = connection.create_channel().await.unwrap();
            let deletion = channel.queue_delete(queue.into(), Default::default());
            deleted += usize::from(matches!(
                tokio::time::timeout(DELETION_TIMEOUT, deletion).await,
                Ok(Ok(_))
            ));
        }
        let channel = connection.create_channel().await.unwrap();
        let exchange = format!("product.events.{log_id}");
        let deletion = channel.exchange_delete(exchange.into(), Default::default());
        tokio::time::timeout(DELETION_TIMEOUT, deletion)
            .await
            .expect("an answer")
            .unwrap();
        deleted
    }

    pub async fn metrics(&self, service: Service, number: usize) -> String {
        let ops = &self.service(service, number).ops;
        self.client
            .get(format!("{ops}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}
