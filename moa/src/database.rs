//! The database, given or private: its schema, and a pool for each kind of work.

mod schema;
mod ssl;
pub(crate) mod url;

use crate::complaint;
use crate::postgres::{Embedded, Options};
use crate::secret::Secret;
use crate::settings::{DatabaseSettings, LogSettings, ServiceName};
use connection_pool::Pool;
use event_log::{Log, ServerWatch};
pub(crate) use schema::OnMigrated;
use schema::SchemaNotOwned;
use sqlx::ConnectOptions as _;
use sqlx::migrate::Migration;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Partitions of a new log by default.
const DEFAULT_PARTITIONS: i32 = 4;
/// How long a caller waits for a connection before it is refused as overloaded.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer than the server's own `statement_timeout` an answer is waited for, so that the server speaks first.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);
/// How long a statement may take: the server's `statement_timeout`, for commands and consumers.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for readers.
const READ_STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for rebuilds.
const REBUILD_STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a database that is away is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Connections of all consumers and settlement together.
const PROJECT_CONNECTIONS: u32 = 10;
/// Connections that listen to hints of appends, beside the log's pool.
const HINT_LISTENERS: u32 = 1;
/// Connections of all readers together.
const READ_CONNECTIONS: u32 = 12;
/// Connections of all rebuilds together.
const REBUILD_CONNECTIONS: u32 = 8;
/// How long such a connection is kept unused.
const REBUILD_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The schema of every table, whatever the role, the database or the URL says. A read model's writer prepends a schema.
pub(crate) const SEARCH_PATH: [(&str, &str); 1] = [("search_path", "public")];
/// What a writer may hold up at most: a frozen client keeps its locks, and the database takes them back.
const STATEMENT_LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("statement_timeout", "5s"),
];
/// Plans of prepared statements are kept, and made while tables may be short: one that reads a whole table is cheap then, and
/// ruinous a minute later. What has no index is read all the same, and must not be compiled for its cost.
const PLANNER_SETTINGS: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("jit", "off"), GENERIC_PLANS];
/// A statement is planned once for each connection, not for each execution: its plan does not depend on its parameters, and planning
/// took three times as long as reading a page.
const GENERIC_PLANS: (&str, &str) = ("plan_cache_mode", "force_generic_plan");

/// Every connection's TCP keepalive, set at the server's end, which sqlx leaves within reach: a way that forgets idle
/// connections does not forget these, and a backend whose client vanished ends. The user time-out also counts while
/// a client takes nothing, so it is above the 30 s for which a slow HTTP client may hold up a read.
const TCP_KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "120s"),
];

/// How many connections to the log a process may open, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    optional_servers: u32,
    per_partition: u32,
    /// Whether it writes the log, or decides by it: then a standby will not do.
    writes: bool,
}

impl Connections {
    /// Partition processors keep one for each partition.
    pub(crate) const WRITE_SIDE: Self = Self {
        optional_servers: 8,
        per_partition: 1,
        writes: true,
    };
    /// Who only follows, or publishes.
    pub(crate) const FEW: Self = Self {
        optional_servers: 4,
        per_partition: 0,
        writes: true,
    };
    /// Who only shows read models, which a standby of the server has too.
    pub(crate) const READS: Self = Self {
        writes: false,
        ..Self::FEW
    };
}

/// The database in use.
pub(crate) struct Database {
    options: PgConnectOptions,
    private: Option<Embedded>,
    /// What the log's connections are compared with.
    server: Arc<ServerWatch>,
}

impl Database {
    /// The one that `settings` name, else a private one, started now.
    pub(crate) async fn open(settings: &DatabaseSettings) -> anyhow::Result<Self> {
        if let Some(url) = &settings.database_url {
            return Self::named(url);
        }
        let options = Options {
            data_dir: settings.data_dir.clone(),
            ephemeral: settings.ephemeral,
        };
        let private = Embedded::start(&options).await?;
        Ok(Self {
            options: private.connect_options(),
            private: Some(private),
            server: Arc::default(),
        })
    }

    /// The one at `url`.
    pub(crate) fn named(url: &Secret) -> anyhow::Result<Self> {
        Ok(Self {
            options: url::read("DATABASE_URL", url)?,
            private: None,
            server: Arc::default(),
        })
    }

    /// The one that `settings` name, else the private one that a Moa runs now; none is started.
    pub(crate) fn existing(settings: &DatabaseSettings) -> anyhow::Result<Self> {
        if let Some(url) = &settings.database_url {
            return Self::named(url);
        }
        let options = crate::postgres::options_of_running(&settings.data_dir)?;
        Ok(Self {
            options,
            private: None,
            server: Arc::default(),
        })
    }

    /// A connection that changes nothing.
    pub(crate) async fn doctor_pool(&self) -> anyhow::Result<Pool> {
        self.pool(
            "moa doctor",
            1,
            &[
                ("default_transaction_read_only", "on"),
                ("statement_timeout", "5s"),
            ],
        )
        .await
    }

    /// Waits until the server answers, for ever, brings the schema up to date, or waits until its owner did, and opens the
    /// log; an error when the server answers that it will not have us.
    pub(crate) async fn wait_for_log(
        &self,
        settings: LogSettings,
        connections: Connections,
    ) -> anyhow::Result<Log> {
        // First the server is waited for, then the schema's owner, for one thing after another: each is logged once.
        let (mut logged, mut logged_owner) = (false, String::new());
        loop {
            let opened = match self.migrate(settings).await {
                Ok(()) => self.log(settings.partitions, connections).await,
                Err(error) => Err(error),
            };
            let is_new = match &opened {
                Err(error) if error.chain().any(is_away) => !std::mem::replace(&mut logged, true),
                Err(error) if error.is::<SchemaNotOwned>() => {
                    std::mem::replace(&mut logged_owner, error.to_string()) != logged_owner
                }
                _ => return opened,
            };
            if let (Err(error), true) = (&opened, is_new) {
                tracing::warn!(
                    "waiting for {}: {}",
                    self.describe(),
                    complaint::causes(error)
                );
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// The private server, if there is one.
    pub(crate) fn private(&self) -> Option<&Embedded> {
        self.private.as_ref()
    }

    /// What is in use, in one line, without secrets.
    pub(crate) fn describe(&self) -> String {
        match &self.private {
            Some(private) => private.describe(),
            None => {
                let (host, port) = (self.options.get_host(), self.options.get_port());
                format!(
                    "PostgreSQL at {host}:{port}, database {}",
                    self.options.get_database().unwrap_or("(default)")
                )
            }
        }
    }

    /// Brings the schema up to date; an error when it is not, and that is not for this login to do.
    pub(crate) async fn migrate(&self, settings: LogSettings) -> anyhow::Result<()> {
        let pool = self.pool_to_migrate().await?;
        let migrated = AtomicUsize::new(0);
        let on_migrated: OnMigrated<'_> = &|migration, took| {
            migrated.fetch_add(1, Ordering::Relaxed);
            let (version, name, ms) =
                (migration.version, &*migration.description, took.as_millis());
            tracing::debug!(version, name, ms, "a migration was run");
        };
        schema::bring_up_to_date(&pool, settings, on_migrated).await?;
        let migrations = migrated.into_inner();
        if migrations > 0 {
            tracing::info!(migrations, "the schema was brought up to date");
        }
        schema::report_open_rights(&pool).await?;
        pool.close().await;
        Ok(())
    }

    /// The migrations that are to be run.
    pub(crate) async fn pending_migrations(
        &self,
        settings: LogSettings,
    ) -> anyhow::Result<Vec<&'static Migration>> {
        let pool = self.pool_to_migrate().await?;
        let pending = schema::pending(&pool, settings).await?;
        pool.close().await;
        Ok(pending)
    }

    /// The same, as its owner does it: every role gets its rights, and the log is created where its partitions are named.
    pub(crate) async fn migrate_all(
        &self,
        settings: LogSettings,
        on_migrated: OnMigrated<'_>,
    ) -> anyhow::Result<()> {
        let pool = self.pool_to_migrate().await?;
        schema::bring_up_to_date(&pool, settings, on_migrated).await?;
        schema::grant_roles(&pool).await?;
        schema::report_open_rights(&pool).await?;
        pool.close().await;
        if settings.partitions.is_some() {
            self.log(settings.partitions, Connections::FEW).await?;
        }
        Ok(())
    }

    /// A migration may take longer than any statement of the services.
    async fn pool_to_migrate(&self) -> anyhow::Result<Pool> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = pool
            .connect_with(self.bounded("moa migrate", &[]))
            .await
            .map(Pool::from);
        let pool = pool.map_err(|error| self.unreachable(error))?;
        self.refuse_without_durability(&pool).await?;
        Ok(pool)
    }

    async fn refuse_without_durability(&self, pool: &Pool) -> anyhow::Result<()> {
        match event_log::durability_problem(pool).await? {
            Some(problem) => anyhow::bail!("{}: {problem}", self.describe()),
            None => Ok(()),
        }
    }

    /// Opens the log, creating it when it is new; an error when that is not for this login to do.
    pub(crate) async fn log(
        &self,
        partitions: Option<i32>,
        connections: Connections,
    ) -> anyhow::Result<Log> {
        let looking = self.pool("moa log", 1, &[]).await?;
        self.refuse_without_durability(&looking).await?;
        let found = Log::partitions_of(&looking).await?;
        if found.is_none() {
            schema::may_create_log(&looking).await?;
        }
        let partitions = partitions.or(found).unwrap_or(DEFAULT_PARTITIONS);
        Ok(Log::open(self.log_pool(connections, partitions).await?, partitions).await?)
    }

    /// The pool of those who write the log, or decide by it: its connections lead to the server that was known before, and
    /// their commits wait for the disk.
    async fn log_pool(&self, of: Connections, partitions: i32) -> anyhow::Result<Pool> {
        let connections = of.optional_servers + of.per_partition * partitions.unsigned_abs();
        let server = of.writes.then(|| self.server.clone());
        let pool = pool_of(connections).after_connect(move |connection, _| {
            let server = server.clone();
            Box::pin(async move {
                match server {
                    Some(server) => server.check_writer(connection).await,
                    None => Ok(()),
                }
            })
        });
        let pool = pool
            .connect_with(self.bounded(
                "moa log",
                &[STATEMENT_LIMITS.as_slice(), &PLANNER_SETTINGS].concat(),
            ))
            .await;
        let pool = pool
            .map(|pool| Pool::from(pool).with_answer_timeout(STATEMENT_TIMEOUT + ANSWER_MARGIN));
        pool.map_err(|error| self.unreachable(error))
    }

    /// The pool of consumers and settlement.
    pub(crate) fn project_pool(&self) -> Pool {
        // Rows and checkpoint are lost together or not at all, and come back from the log: no need to wait for the disk.
        let bounds = [
            STATEMENT_LIMITS.as_slice(),
            &PLANNER_SETTINGS,
            &[("synchronous_commit", "off")],
        ]
        .concat();
        // SharedResources when it is needed: not every service that has it uses it.
        let pool =
            pool_of(PROJECT_CONNECTIONS).connect_lazy_with(self.bounded("moa project", &bounds));
        Pool::from(pool).with_answer_timeout(STATEMENT_TIMEOUT + ANSWER_MARGIN)
    }

    /// The pool of rebuilds, which make and drop tables and may take their time over a statement.
    pub(crate) fn rebuild_pool(&self) -> Pool {
        let bounds = [
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("statement_timeout", "10min"),
            ("synchronous_commit", "off"),
        ];
        // Rare, so its connections are given back.
        let pool = pool_of(REBUILD_CONNECTIONS).idle_timeout(REBUILD_IDLE_TIMEOUT);
        let pool = pool.connect_lazy_with(self.bounded("moa rebuild", &bounds));
        Pool::from(pool).with_answer_timeout(REBUILD_STATEMENT_TIMEOUT + ANSWER_MARGIN)
    }

    /// The pool of readers, which can change nothing.
    pub(crate) async fn read_pool(&self) -> anyhow::Result<Pool> {
        let bounds = [
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "2s"),
            GENERIC_PLANS,
        ];
        let pool = self.pool("moa read", READ_CONNECTIONS, &bounds).await?;
        Ok(pool
            .with_answer_timeout(READ_STATEMENT_TIMEOUT + ANSWER_MARGIN)
            .for_reads())
    }

    async fn pool(
        &self,
        name: &str,
        connections: u32,
        bounds: &[(&str, &str)],
    ) -> anyhow::Result<Pool> {
        let pool = pool_of(connections)
            .connect_with(self.bounded(name, bounds))
            .await;
        let pool = pool
            .map(|pool| Pool::from(pool).with_answer_timeout(STATEMENT_TIMEOUT + ANSWER_MARGIN));
        pool.map_err(|error| self.unreachable(error))
    }

    /// Why no connection was made, and what to do.
    fn unreachable(&self, error: sqlx::Error) -> anyhow::Error {
        let why = tls::explain(&error).map(|why| format!(": {why}"));
        let guess = || {
            format!(
                " ({}): is it running, and DATABASE_URL right?",
                complaint::text(&error)
            )
        };
        let advice = why.unwrap_or_else(guess);
        anyhow::Error::from(error).context(format!("cannot reach {}{advice}", self.describe()))
    }

    fn bounded(&self, name: &str, bounds: &[(&str, &str)]) -> PgConnectOptions {
        // What sqlx logs of a slow statement is the statement itself; the ops port has the pools' figures.
        let options = self.options.clone().disable_statement_logging();
        options
            .application_name(name)
            .options(SEARCH_PATH)
            .options(TCP_KEEPALIVE)
            .options(bounds.iter().copied())
    }

    /// Stops the private server, if it is one.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        match self.private {
            Some(private) => private.stop().await,
            None => Ok(()),
        }
    }
}

/// How many connections the pools of a service open at most, of everything in one process without one; a rebuild's among them, and the
/// one that listens to hints of appends.
pub(crate) fn max_connections(service: Option<ServiceName>, partitions: Option<i32>) -> i32 {
    let partitions = partitions.unwrap_or(DEFAULT_PARTITIONS).unsigned_abs();
    let of_log =
        |log: Connections| log.optional_servers + log.per_partition * partitions + HINT_LISTENERS;
    let (few, write_side) = (of_log(Connections::FEW), of_log(Connections::WRITE_SIDE));
    let sum = match service {
        Some(ServiceName::CommandApi) => write_side + PROJECT_CONNECTIONS,
        Some(ServiceName::QueryApi) => few + READ_CONNECTIONS,
        Some(ServiceName::Projector) => few + PROJECT_CONNECTIONS + REBUILD_CONNECTIONS,
        Some(ServiceName::Relay | ServiceName::Sealer) => few + PROJECT_CONNECTIONS,
        Some(ServiceName::Admin) => {
            write_side + PROJECT_CONNECTIONS + READ_CONNECTIONS + REBUILD_CONNECTIONS
        }
        None => write_side + PROJECT_CONNECTIONS + READ_CONNECTIONS + REBUILD_CONNECTIONS,
    };
    sum.try_into().unwrap_or(i32::MAX)
}

fn pool_of(connections: u32) -> PgPoolOptions {
    // A broken connection shows at its next use; asking first would cost every read a round trip.
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
}

/// Not there, or not yet: starting up or shutting down (57P), or full (53300).
fn is_away(cause: &(dyn std::error::Error + 'static)) -> bool {
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(refused)) => refused
            .code()
            .is_some_and(|code| code.starts_with("57P") || code == "53300"),
        Some(error) => connection_pool::is_unreachable(error),
        None => false,
    }
}
