//! An instance of the write side: processors, both listeners, and settlement when asked for.

use crate::call::Call;
use axum::Extension;
use chrono::{DateTime, TimeDelta, Utc};
use command_api::processor::{
    CommandEnvelope, CommandError, CommandOutcome, PartitionProcessors, UntimedCommand,
};
use command_api::{
    CommandApi, FastPathReceiver, FastPathSender, IdempotencyKey, OpenInvest, Provider, Recorder,
};
use connection_pool::Pool;
use domain::{InvestId, ProductCommand, ProductId, Refusal, Terms, Title, Window};
use edge::{Actor, Role, ServiceTime};
use event_log::acts::Acts;
use event_log::consume::Consumer;
use event_log::{Log, Metadata};
use reqwest::header::HeaderMap;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use testbed::soon;
pub use testbed::values::{product, user, won};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// As `moa serve` sets them for those who write.
const BOUNDS: [(&str, &str); 3] = [
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("statement_timeout", "5s"),
];
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(5_500);
const LOG_CONNECTIONS: u32 = 8;
const PROJECT_CONNECTIONS: u32 = 4;

/// What a command's outcome decides.
pub type Decision = Result<(), Refusal>;

/// How an instance is set up.
pub struct AppSettings {
    pub reservation: Duration,
    pub zone: &'static str,
    /// Where refusals and payment calls are recorded.
    pub recorder: Option<Recorder>,
    /// How long a request may take.
    pub time_limit: fn(&str) -> Duration,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            reservation: Duration::from_secs(600),
            zone: "Asia/Seoul",
            recorder: None,
            time_limit: |_| edge::REQUEST_TIMEOUT,
        }
    }
}

pub struct TestApp {
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

impl TestApp {
    pub async fn start(options: PgConnectOptions, partitions: i32, settings: AppSettings) -> Self {
        let log = pool(&options, LOG_CONNECTIONS + partitions.unsigned_abs());
        let log = Log::open(log, partitions).await.unwrap();
        let (processor_tasks, tasks, stop) = (
            TaskTracker::new(),
            TaskTracker::new(),
            CancellationToken::new(),
        );
        let processors = match settings.recorder {
            Some(recorder) => {
                PartitionProcessors::open_with_recorder(
                    log.clone(),
                    settings.reservation,
                    &processor_tasks,
                    recorder,
                )
                .await
            }
            None => {
                PartitionProcessors::open(log.clone(), settings.reservation, &processor_tasks).await
            }
        };
        let processors = processors.unwrap();
        let time: ServiceTime = settings.zone.parse().unwrap();
        let door = CommandApi::new(processors.clone(), time);
        let public = listen(
            &tasks,
            &stop,
            command_api::routes(door.clone()),
            settings.time_limit,
        )
        .await;
        let project = pool(&options, PROJECT_CONNECTIONS);
        let guarded = command_api::product_routes(door, Acts::new(project.clone()))
            .layer(Extension(Actor::new("ann", Role::Operator).unwrap()));
        let admin = listen(&tasks, &stop, guarded, settings.time_limit).await;
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

    /// Settles what is due in `open_invest`, and what is reserved from now on; keeps no list.
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
        let (processors, pool, stop) = (
            self.processors.clone(),
            self.project.clone(),
            self.stop.clone(),
        );
        self.tasks
            .spawn(command_api::settle(
                processors,
                pool,
                provider.clone(),
                handed,
                stop,
            ))
            .abort_handle()
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

    /// AppSettings the next product, for this much in all, from an hour ago on.
    pub async fn opens(&self, total: i64) -> ProductId {
        self.opens_for(
            total,
            Window::new(hours_from_now(-1), hours_from_now(1)).unwrap(),
        )
        .await
    }

    pub async fn opens_for(&self, total: i64, window: Window) -> ProductId {
        let id = self.log.next_product_id().await.unwrap();
        self.opens_as(id, total, window).await;
        id
    }

    pub async fn opens_as(&self, id: ProductId, total: i64, window: Window) {
        let outcome = self
            .processors
            .submit(open_command(id, total, window))
            .await
            .unwrap();
        assert_eq!(outcome.decision, Ok(()));
    }

    pub async fn closes(&self, product: ProductId) {
        let envelope =
            CommandEnvelope::new(product, ProductCommand::CloseProduct, Metadata::default());
        assert_eq!(
            self.processors.submit(envelope).await.unwrap().decision,
            Ok(())
        );
    }

    /// Straight to the processor, past HTTP.
    pub async fn decides(&self, envelope: CommandEnvelope) -> Result<CommandOutcome, CommandError> {
        soon(self.processors.submit(envelope)).await
    }

    /// `POST /api/invest` as `user1`, to be changed before it is sent.
    pub fn invest(&self, product: ProductId, amount: i64) -> Call<'_> {
        self.invests(format!(
            r#"{{"productId":{product},"investAmount":{amount}}}"#
        ))
        .header("X-USER-ID", "user1")
    }

    /// `POST /api/invest` with this body and no header but the media type.
    pub fn invests(&self, body: impl AsRef<[u8]>) -> Call<'_> {
        self.call("POST", self.public, "/api/invest")
            .header("content-type", "application/json")
            .body(body)
    }

    pub fn calls(&self, method: &str, path: &str) -> Call<'_> {
        self.call(method, self.public, path)
    }

    pub fn admin(&self, path: &str) -> Call<'_> {
        self.call("POST", self.admin, path)
            .header("content-type", "application/json")
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
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false);
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
    let routes =
        edge::with_middleware_and_timeouts(routes, edge::CallerPolicy::default(), time_limit);
    tasks.spawn(edge::serve(
        listener,
        routes,
        edge::ConnectionPolicy::default(),
        stop.clone(),
    ));
    address
}

pub fn open_command(id: ProductId, total: i64, window: Window) -> CommandEnvelope {
    let title = Title::try_from(format!("product{id}")).unwrap();
    let command = ProductCommand::OpenProduct {
        product_id: id,
        title,
        total: won(total),
        window,
        terms: Terms::default(),
    };
    CommandEnvelope::new(id, command, Metadata::default())
}

/// A fresh invest of this user's.
pub fn invest_command(product: ProductId, by: &str, amount: i64) -> CommandEnvelope {
    let invest_id = InvestId(Uuid::now_v7());
    CommandEnvelope::new(
        product,
        UntimedCommand::Invest {
            invest_id,
            user_id: user(by),
            amount: won(amount),
        },
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

pub fn hours_from_now(hours: i64) -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(hours)
}

pub fn window_of_hours(from: i64, to: i64) -> Window {
    Window::new(hours_from_now(from), hours_from_now(to)).unwrap()
}
