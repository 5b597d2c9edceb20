//! An instance of the write side: processors, both listeners, and settlement when asked for; and what clients send to it.

use crate::house::soon;
use chrono::{DateTime, TimeDelta, Utc};
use command_api::processor::{CommandEnvelope, CommandError, CommandOutcome, PartitionProcessors, UntimedCommand};
use command_api::{CommandApi, FastPathReceiver, FastPathSender, IdempotencyKey, OpenInvest, Provider, Recorder};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductCommand, ProductId, Refusal, Title, UserId, Window};
use edge::ServiceTime;
use event_log::consume::Consumer;
use event_log::{Log, Metadata};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// As `moa serve` sets them for those who write.
const BOUNDS: [(&str, &str); 3] =
    [("lock_timeout", "2s"), ("idle_in_transaction_session_timeout", "2s"), ("statement_timeout", "5s")];
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(5_500);
const LOG_CONNECTIONS: u32 = 8;
const PROJECT_CONNECTIONS: u32 = 4;

/// What a command's outcome decides.
pub type Decision = Result<(), Refusal>;

/// How an instance is set up.
pub struct Opens {
    pub reservation: Duration,
    pub zone: &'static str,
    /// Where refusals and payment calls are recorded.
    pub recorder: Option<Recorder>,
    /// How long a request may take.
    pub time_limit: fn(&str) -> Duration,
}

impl Default for Opens {
    fn default() -> Self {
        Self {
            reservation: Duration::from_secs(600),
            zone: "Asia/Seoul",
            recorder: None,
            time_limit: |_| edge::REQUEST_TIMEOUT,
        }
    }
}

pub struct Moa {
    pub processors: PartitionProcessors,
    pub log: Log,
    project: Pool,
    public: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
    stop: CancellationToken,
    /// A test that ends stops what it has started.
    stops: DropGuard,
    processor_tasks: TaskTracker,
    tasks: TaskTracker,
}

impl Moa {
    pub async fn start(options: PgConnectOptions, partitions: i32, opens: Opens) -> Self {
        let log = pool(&options, LOG_CONNECTIONS + partitions.unsigned_abs());
        let log = Log::open(log, partitions).await.unwrap();
        let (processor_tasks, tasks, stop) = (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
        let processors = match opens.recorder {
            Some(recorder) => {
                PartitionProcessors::open_with_recorder(log.clone(), opens.reservation, &processor_tasks, recorder)
                    .await
            }
            None => PartitionProcessors::open(log.clone(), opens.reservation, &processor_tasks).await,
        };
        let processors = processors.unwrap();
        let time: ServiceTime = opens.zone.parse().unwrap();
        let door = CommandApi::new(processors.clone(), time);
        let public = listen(&tasks, &stop, command_api::routes(door.clone()), opens.time_limit).await;
        let admin = listen(&tasks, &stop, command_api::product_routes(door), opens.time_limit).await;
        let project = pool(&options, PROJECT_CONNECTIONS);
        let stops = stop.clone().drop_guard();
        Self {
            processors,
            log,
            project,
            public,
            admin,
            client: reqwest::Client::new(),
            stop,
            stops,
            processor_tasks,
            tasks,
        }
    }

    /// Keeps `open_invest` and settles what is in it, from now on.
    pub fn settles(&self) {
        self.settles_with(&Provider::Approve);
    }

    /// The same with this provider; the handle is settlement's, to kill it.
    pub fn settles_with(&self, provider: &Provider) -> AbortHandle {
        let (fast_path, handed) = command_api::fast_path(provider);
        self.keeps_the_list(fast_path);
        self.sees_to(provider, handed)
    }

    /// Keeps `open_invest` and settles nothing, as if it died between the two.
    pub fn only_keeps_the_list(&self) {
        self.keeps_the_list(command_api::fast_path(&Provider::Approve).0);
    }

    /// Settles what is due in `open_invest` and keeps no list.
    pub fn only_sweeps(&self) {
        self.only_sweeps_with(&Provider::Approve);
    }

    /// The same with this provider; the handle is settlement's, to kill it.
    pub fn only_sweeps_with(&self, provider: &Provider) -> AbortHandle {
        self.sees_to(provider, command_api::fast_path(provider).1)
    }

    fn keeps_the_list(&self, fast_path: FastPathSender) {
        for partition in self.log.partitions() {
            let open = Arc::new(OpenInvest::new(fast_path.clone()));
            let consumer = Consumer::new(self.log.clone(), self.project.clone(), open, partition);
            self.tasks.spawn(consumer.run(self.stop.clone()));
        }
        let (log, stop) = (self.log.clone(), self.stop.clone());
        self.tasks.spawn(async move { log.poll_heads(stop).await });
    }

    fn sees_to(&self, provider: &Provider, handed: FastPathReceiver) -> AbortHandle {
        let (processors, pool, stop) = (self.processors.clone(), self.project.clone(), self.stop.clone());
        self.tasks.spawn(command_api::settle(processors, pool, provider.clone(), handed, stop)).abort_handle()
    }

    /// As SIGTERM does: the listeners first, the processors when nobody can send commands any more.
    pub async fn stops(self) {
        drop(self.stops);
        self.tasks.close();
        soon(self.tasks.wait()).await;
        drop(self.processors);
        self.processor_tasks.close();
        soon(self.processor_tasks.wait()).await;
    }

    /// Opens the next product, for this much in all, from an hour ago on.
    pub async fn opens(&self, total: i64) -> ProductId {
        self.opens_for(total, Window::new(hours_from_now(-1), hours_from_now(1)).unwrap()).await
    }

    pub async fn opens_for(&self, total: i64, window: Window) -> ProductId {
        let id = self.log.next_product_id().await.unwrap();
        self.opens_as(id, total, window).await;
        id
    }

    pub async fn opens_as(&self, id: ProductId, total: i64, window: Window) {
        let outcome = self.processors.submit(open_command(id, total, window)).await.unwrap();
        assert_eq!(outcome.decision, Ok(()));
    }

    pub async fn closes(&self, product: ProductId) {
        let envelope = CommandEnvelope::new(product, ProductCommand::CloseProduct, Metadata::default());
        assert_eq!(self.processors.submit(envelope).await.unwrap().decision, Ok(()));
    }

    /// Straight to the processor, past HTTP.
    pub async fn decides(&self, envelope: CommandEnvelope) -> Result<CommandOutcome, CommandError> {
        soon(self.processors.submit(envelope)).await
    }

    /// `POST /api/invest` as `user1`, to be changed before it is sent.
    pub fn invest(&self, product: ProductId, amount: i64) -> Call<'_> {
        self.invests(format!(r#"{{"productId":{product},"investAmount":{amount}}}"#)).header("X-USER-ID", "user1")
    }

    /// `POST /api/invest` with this body and no header but the media type.
    pub fn invests(&self, body: impl AsRef<[u8]>) -> Call<'_> {
        self.call("POST", self.public, "/api/invest").header("content-type", "application/json").body(body)
    }

    pub fn calls(&self, method: &str, path: &str) -> Call<'_> {
        self.call(method, self.public, path)
    }

    pub fn admin(&self, path: &str) -> Call<'_> {
        self.call("POST", self.admin, path).header("content-type", "application/json")
    }

    fn call(&self, method: &str, at: SocketAddr, path: &str) -> Call<'_> {
        let method = method.parse().unwrap();
        Call {
            client: &self.client,
            method,
            url: format!("http://{at}{path}"),
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }
}

fn pool(options: &PgConnectOptions, connections: u32) -> Pool {
    let pool =
        PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false);
    let pool = pool.connect_lazy_with(options.clone().options(BOUNDS));
    Pool::from(pool).with_answer_timeout(ANSWER_TIMEOUT)
}

async fn listen(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    routes: axum::Router,
    time_limit: fn(&str) -> Duration,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = edge::with_middleware_and_timeouts(routes, &[], time_limit);
    tasks.spawn(edge::serve(listener, routes, edge::ConnectionPolicy::default(), stop.clone()));
    address
}

/// A request on its way.
#[derive(Clone)]
pub struct Call<'a> {
    client: &'a reqwest::Client,
    method: reqwest::Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Call<'_> {
    /// One more header; the same one again makes two.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    pub fn by(mut self, user: &str) -> Self {
        self.headers.insert("x-user-id", HeaderValue::from_str(user).unwrap());
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn correlation_id(self, id: &str) -> Self {
        self.header("X-Correlation-Id", id)
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub async fn sent(self) -> Answer {
        let request = self.client.request(self.method, self.url).headers(self.headers).body(self.body);
        let response = soon(request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The header's only value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        let only = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        only
    }

    #[track_caller]
    pub fn is(&self, status: u16, body: &str) -> &Self {
        assert_eq!((self.status, self.body.as_str()), (status, body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        self
    }

    #[track_caller]
    pub fn is_ok(&self) -> &Self {
        self.is(200, &success(r#""OK""#))
    }

    #[track_caller]
    pub fn is_refused(&self, status: u16, code: &str, message: &str) -> &Self {
        self.is(status, &refusal(status, code, message))
    }

    /// 400, with what is wrong in the words of the contract.
    #[track_caller]
    pub fn is_invalid(&self, what: &str) -> &Self {
        self.is_refused(400, "00", &format!("Invalid value : {what}"))
    }

    /// 200, refused; what remains is told in a header.
    #[track_caller]
    pub fn is_sold_out(&self, remaining: i64) -> &Self {
        self.is_refused(200, "SOLD_OUT", "Product is sold out : ");
        self.says("x-remaining-amount", &remaining.to_string())
    }

    #[track_caller]
    pub fn is_overloaded(&self) -> &Self {
        self.is_refused(503, "OVERLOADED", "Overloaded and not accepted, try again later : ").says("retry-after", "1");
        self.is_silent_about("x-invest-id")
    }

    #[track_caller]
    pub fn is_outcome_unknown(&self) -> &Self {
        self.is_refused(503, "OUTCOME_UNKNOWN", "Outcome is unknown, look before trying again : ");
        self.says("retry-after", "1")
    }

    #[track_caller]
    pub fn is_key_reused(&self) -> &Self {
        let message = "Idempotency-Key was used for another request, take a new key : ";
        self.is_refused(422, "IDEMPOTENCY_KEY_REUSED", message).is_silent_about("x-invest-id")
    }

    #[track_caller]
    pub fn says(&self, header: &str, value: &str) -> &Self {
        assert_eq!(self.header(header), Some(value), "{header}");
        self
    }

    #[track_caller]
    pub fn is_silent_about(&self, header: &str) -> &Self {
        assert_eq!(self.header(header), None, "{header}");
        self
    }

    #[track_caller]
    pub fn is_replayed(&self) -> &Self {
        self.says("idempotency-replayed", "true")
    }

    #[track_caller]
    pub fn is_fresh(&self) -> &Self {
        self.is_silent_about("idempotency-replayed")
    }

    #[track_caller]
    pub fn invest_id(&self) -> InvestId {
        InvestId(self.header("x-invest-id").expect("it names no invest").parse().unwrap())
    }
}

/// A success with this data, as the seed prints it.
pub fn success(data: &str) -> String {
    format!(r#"{{"result":true,"code":"01","message":null,"data":{data},"status":200}}"#)
}

/// A refusal, whole.
pub fn refusal(status: u16, code: &str, message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!(r#"{{"result":false,"code":"{code}","message":{message},"data":null,"status":{status}}}"#)
}

pub fn open_command(id: ProductId, total: i64, window: Window) -> CommandEnvelope {
    let title = Title::try_from(format!("product{id}")).unwrap();
    let command = ProductCommand::OpenProduct { product_id: id, title, total: won(total), window };
    CommandEnvelope::new(id, command, Metadata::default())
}

/// A fresh invest of this user's.
pub fn invest_command(product: ProductId, by: &str, amount: i64) -> CommandEnvelope {
    let invest_id = InvestId(Uuid::now_v7());
    CommandEnvelope::new(
        product,
        UntimedCommand::Invest { invest_id, user_id: user(by), amount: won(amount) },
        Metadata::default(),
    )
}

/// The same under a key, as the route makes it.
pub fn keyed_command(product: ProductId, by: &str, amount: i64, key: &str) -> CommandEnvelope {
    let fingerprint = format!("invest {product} {amount}");
    invest_command(product, by, amount).with_idempotency_key(Some(IdempotencyKey {
        owner: by.into(),
        key: key.into(),
        fingerprint,
    }))
}

pub fn product(id: i64) -> ProductId {
    ProductId::try_from(id).unwrap()
}

pub fn user(name: &str) -> UserId {
    UserId::try_from(name.to_owned()).unwrap()
}

pub fn won(amount: i64) -> Amount {
    Amount::try_from(amount).unwrap()
}

pub fn hours_from_now(hours: i64) -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(hours)
}

pub fn window_of_hours(from: i64, to: i64) -> Window {
    Window::new(hours_from_now(from), hours_from_now(to)).unwrap()
}
