//! `moa serve`: everything in one process, from the first connection to the last.
//!
//! What stops goes in the order of the flow: listeners, settlement, desks, consumers, database. So what was accepted is
//! finished, within the bounds below; what is left then is in the log and goes on at the next start.

use crate::admin::{self, Tokens};
use crate::database::Database;
use crate::settings::{DatabaseSettings, ServeSettings};
use crate::token::{self, Secret};
use crate::{demo, welcome};
use anyhow::Context;
use axum::Router;
use command_api::desk::Desks;
use command_api::{Door, OpenInvest};
use event_log::Log;
use event_log::consume::Consumer;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long each stage may take to stop by itself.
const STAGE: Duration = Duration::from_secs(5);
/// How long the database may take to answer when asked whether we are ready.
const READY: Duration = Duration::from_secs(1);

/// Runs everything until SIGTERM or Ctrl-C; a second one ends it at once.
pub async fn run(settings: ServeSettings) -> anyhow::Result<()> {
    // Ports first: a busy one is found before anything is started.
    let listeners = Listeners::bind(&settings).await?;
    let (operator, auditor) = tokens(&settings)?;
    // Before anything is started: a signal must never leave a PostgreSQL behind.
    let mut stop = StopSignal::listen()?;
    let Some(database) = open(&settings.database, &mut stop).await? else { return Ok(()) };
    let served = serve(&settings, listeners, &database, (operator, auditor), &mut stop).await;
    let closed = database.close().await;
    served.and(closed)
}

/// The database, opened; `None` when a signal came meanwhile, and it was closed again.
async fn open(settings: &DatabaseSettings, stop: &mut StopSignal) -> anyhow::Result<Option<Database>> {
    let mut opening = pin!(Database::open(settings));
    tokio::select! {
        opened = &mut opening => return opened.map(Some),
        () = stop.received() => tracing::info!("stopping once the database is up; a second signal ends it at once"),
    }
    tokio::select! {
        opened = opening => opened?.close().await?,
        () = stop.received() => anyhow::bail!("stopped at once; the next start takes over what was left"),
    }
    Ok(None)
}

/// Brings the schema up to date and stops.
pub async fn migrate(settings: DatabaseSettings) -> anyhow::Result<()> {
    let database = Database::open(&settings).await?;
    let migrated = database.migrate().await;
    if migrated.is_ok() {
        println!("The schema is up to date: {}.", database.describe());
    }
    let closed = database.close().await;
    migrated.and(closed)
}

struct Listeners {
    query: TcpListener,
    command: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    async fn bind(settings: &ServeSettings) -> anyhow::Result<Self> {
        Ok(Self {
            query: bind(settings.query_listen, "--query-listen").await?,
            command: bind(settings.command_listen, "--command-listen").await?,
            admin: bind(settings.admin_listen, "--admin-listen").await?,
        })
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {address} ({error}): stop what is there, or choose another with {flag}")
    })
}

/// The tokens that were set; `None` for an operator's that is still to be made.
fn tokens(settings: &ServeSettings) -> anyhow::Result<(Option<Secret>, Option<Secret>)> {
    let (operator, operator_file) = (settings.operator_token.as_ref(), settings.operator_token_file.as_deref());
    let (auditor, auditor_file) = (settings.auditor_token.as_ref(), settings.auditor_token_file.as_deref());
    let operator = token::configured("MOA_OPERATOR_TOKEN", operator, operator_file)?;
    let auditor = token::configured("MOA_AUDITOR_TOKEN", auditor, auditor_file)?;
    anyhow::ensure!(
        operator.is_none() || operator != auditor,
        "MOA_AUDITOR_TOKEN must not be the operator's: an auditor may only read"
    );
    Ok((operator, auditor))
}

/// Everything that runs, by the stage it stops in.
struct Stages {
    listeners: TaskTracker,
    settlement: TaskTracker,
    desks: TaskTracker,
    consumers: TaskTracker,
    stop_listeners: CancellationToken,
    stop_settlement: CancellationToken,
    stop_consumers: CancellationToken,
}

async fn serve(
    settings: &ServeSettings,
    listeners: Listeners,
    database: &Database,
    (operator, auditor): (Option<Secret>, Option<Secret>),
    stop: &mut StopSignal,
) -> anyhow::Result<()> {
    database.migrate().await?;
    let log = database.log(settings.partitions).await?;
    let (project, read) = (database.project_pool().await?, database.read_pool().await?);
    let (operator, made) = match operator {
        Some(operator) => (operator, false),
        None => (made_token(settings, database)?, true),
    };
    let stages = Stages::new();
    let desks = Desks::open(log.clone(), settings.reservation_seconds, &stages.desks).await?;
    stages.start_background(&log, &project, &desks);
    if !settings.no_demo {
        demo::open_on_empty(&desks).await.context("the demo could not be opened")?;
    }
    let door = Door::new(desks, settings.time_zone);
    let tokens = Tokens::new(&operator, auditor.as_ref());
    let addresses = welcome::Addresses::of(&listeners.query, &listeners.command, &listeners.admin)?;
    stages.start_listeners(settings, listeners, &log, &read, door, tokens);
    welcome::print(settings, database, &addresses, made.then_some(&operator));
    stop.received().await;
    tracing::info!("stopping: what was accepted is finished");
    tokio::select! {
        () = stages.stop() => Ok(()),
        () = stop.received() => anyhow::bail!("stopped at once; what was left is in the log"),
    }
}

fn made_token(settings: &ServeSettings, database: &Database) -> anyhow::Result<Secret> {
    // A folder that outlives the process keeps the token, so that `moa status` finds it.
    let kept = database.private().is_some() && !settings.database.ephemeral;
    if kept { token::kept_in(&settings.database.data_dir) } else { Ok(Secret::fresh()) }
}

impl Stages {
    fn new() -> Self {
        Self {
            listeners: TaskTracker::new(),
            settlement: TaskTracker::new(),
            desks: TaskTracker::new(),
            consumers: TaskTracker::new(),
            stop_listeners: CancellationToken::new(),
            stop_settlement: CancellationToken::new(),
            stop_consumers: CancellationToken::new(),
        }
    }

    fn start_background(&self, log: &Log, project: &PgPool, desks: &Desks) {
        let stop = &self.stop_consumers;
        let follow = log.clone();
        let shutdown = stop.clone();
        self.consumers.spawn(async move { follow.follow(shutdown).await });
        self.consumers.spawn(projector::run(log.clone(), project.clone(), stop.clone()));
        let (hand_over, handed) = command_api::hand_over();
        for partition in log.partitions() {
            let open = Arc::new(OpenInvest::new(hand_over.clone()));
            let consumer = Consumer::new(log.clone(), project.clone(), open, partition);
            self.consumers.spawn(consumer.run(stop.clone()));
        }
        let shutdown = self.stop_settlement.clone();
        self.settlement.spawn(command_api::settle(desks.clone(), project.clone(), handed, shutdown));
        self.settlement.spawn(command_api::purge_keys(log.clone(), self.stop_settlement.clone()));
    }

    fn start_listeners(
        &self,
        settings: &ServeSettings,
        listeners: Listeners,
        log: &Log,
        read: &PgPool,
        door: Door,
        tokens: Tokens,
    ) {
        let stop = || self.stop_listeners.clone();
        let origins = settings.allowed_origins.clone();
        let views = query_api::Settings {
            pool: read.clone(),
            log_id: log.identity().log_id,
            partitions: log.partitions().count(),
            time: settings.time_zone,
            allowed_origins: origins.clone(),
        };
        let admin = admin::routes(tokens, door.clone(), log.clone(), read.clone(), settings.time_zone);
        let admin = edge::finish(admin.merge(health(read)), &[]);
        let command = edge::finish(command_api::routes(door).merge(health(read)), &origins);
        self.listen(query_api::run(views, listeners.query, stop()));
        self.listen(edge::serve(listeners.command, command, stop()));
        self.listen(edge::serve(listeners.admin, admin, stop()));
    }

    fn listen(&self, serving: impl Future<Output = std::io::Result<()>> + Send + 'static) {
        self.listeners.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "a listener ended");
            }
        });
    }

    async fn stop(self) {
        self.stop_listeners.cancel();
        finish(&self.listeners, edge::SHUTDOWN_TIME_LIMIT + STAGE, "the listeners").await;
        self.stop_settlement.cancel();
        finish(&self.settlement, STAGE, "settlement").await;
        // The last who could order anything is gone, so the desks end when their queues are empty.
        finish(&self.desks, STAGE, "the desks").await;
        self.stop_consumers.cancel();
        finish(&self.consumers, STAGE, "the consumers").await;
    }
}

async fn finish(tasks: &TaskTracker, bound: Duration, who: &str) {
    tasks.close();
    if tokio::time::timeout(bound, tasks.wait()).await.is_err() {
        tracing::warn!("{who} did not stop in time; what is left is in the log and goes on at the next start");
    }
}

fn health(pool: &PgPool) -> Router {
    let pool = pool.clone();
    edge::health(move || unready(pool.clone()))
}

async fn unready(pool: PgPool) -> Vec<&'static str> {
    let asked = tokio::time::timeout(READY, sqlx::query("select 1").execute(&pool)).await;
    if matches!(asked, Ok(Ok(_))) { Vec::new() } else { vec!["database"] }
}

/// SIGTERM and Ctrl-C, heard from when this is made: one that comes while nobody waits is not lost.
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        Ok(Self { terminate, interrupt })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
