//! `moa serve` runs everything in one process, or one service alone, from the first connection to the last.
//!
//! A shutdown follows the flow: listeners, settlement, partition processors, consumers and relay, database. So accepted requests
//! are finished, within the time of each stage; what is left then is in the log, and the next start continues with it.

mod banner;
mod callers;
mod checked;
mod components;
mod event_source;
mod jwt_keys;
mod limits;
mod seal_keys;
mod single_service;
mod stages;
mod stop;
mod tokens_file;

pub(crate) use checked::check;
pub(crate) use components::{consumers, redis_client};
pub use single_service::run as run_single_service;

use crate::admin::Tokens;
use crate::database::{Connections, Database, OnMigrated};
use crate::demo;
use crate::ops::Ops;
use crate::output::print_banner;
use crate::secret::Secret;
use crate::settings::{
    AdminListenSettings, DatabaseSettings, LogSettings, MigrateSettings, ServeSettings,
};
use crate::token::{self, NamedTokens};
use anyhow::Context;
use callers::Callers;
use checked::AllInOneParts;
use components::{Operators, OptionalServers, SharedResources};
use futures::FutureExt as _;
use limits::{ListenerLimits, bind};
use stages::Stages;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
pub(crate) use stop::StopSignal;
use tokens_file::TokensFile;
use tokio::net::TcpListener;

/// Runs everything until SIGTERM or Ctrl-C; a second one ends it at once.
pub async fn run(settings: ServeSettings) -> anyhow::Result<()> {
    // Ports first: a busy one is found before anything is started.
    let listeners = Listeners::bind(&settings)?;
    let addresses = banner::Addresses::of(&listeners.query, &listeners.command, &listeners.admin)?;
    let AllInOneParts {
        tokens,
        callers,
        provider,
        optional_servers,
        keys,
        listening,
    } = checked::all_in_one(&settings, &addresses.public())?;
    let ops = Ops::new()?;
    listening.show_certificate(&ops);
    // Before anything is started: a signal must never leave a PostgreSQL behind.
    let mut stop = StopSignal::listen()?;
    let Some(database) = open(&settings.database, &mut stop).await? else {
        return Ok(());
    };
    let all_in_one = AllInOne {
        settings: &settings,
        listeners,
        listening,
        callers,
        database: &database,
        provider,
        optional_servers,
        ops,
    };
    // Whatever happens, the database is closed after it.
    let served = AssertUnwindSafe(all_in_one.serve(tokens, keys, &mut stop))
        .catch_unwind()
        .await;
    let served =
        served.unwrap_or_else(|_| Err(anyhow::anyhow!("a bug ended it: the log says where")));
    let closed = database.close().await;
    served.and(closed)
}

/// The database, opened; `None` when a signal came meanwhile, and it was closed again.
async fn open(
    settings: &DatabaseSettings,
    stop: &mut StopSignal,
) -> anyhow::Result<Option<Database>> {
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

/// Brings the schema up to date, gives the roles their rights, creates the log where its partitions are named, and stops; each migration
/// is listed as it is done. With `--dry-run` it lists what would be run, and changes nothing.
pub async fn migrate(settings: MigrateSettings) -> anyhow::Result<()> {
    // A signal must not leave a PostgreSQL behind here either.
    let mut stop = StopSignal::listen()?;
    let Some(database) = open(&settings.database, &mut stop).await? else {
        return Ok(());
    };
    let migrating = async {
        match settings.dry_run {
            true => list_migrations(&database, settings.log).await,
            false => run_migrations(&database, settings.log).await,
        }
    };
    let migrated = tokio::select! {
        migrated = migrating => migrated,
        () = stop.received() => Err(anyhow::anyhow!("stopped: the next `moa migrate` does what is left")),
    };
    let closed = database.close().await;
    migrated.and(closed)
}

async fn list_migrations(database: &Database, log: LogSettings) -> anyhow::Result<()> {
    let pending = database.pending_migrations(log).await?;
    for migration in &pending {
        print_banner(format!(
            "  {:04} {}\n",
            migration.version, migration.description
        ));
    }
    print_banner(match pending.len() {
        0 => format!("The schema is up to date: {}.\n", database.describe()),
        1 => format!("1 migration is to be run: {}.\n", database.describe()),
        count => format!(
            "{count} migrations are to be run: {}.\n",
            database.describe()
        ),
    });
    Ok(())
}

async fn run_migrations(database: &Database, log: LogSettings) -> anyhow::Result<()> {
    let on_migrated: OnMigrated<'_> = &|migration, took| {
        print_banner(format!(
            "  {:04} {} ({} ms)\n",
            migration.version,
            migration.description,
            took.as_millis()
        ));
    };
    database.migrate_all(log, on_migrated).await?;
    print_banner(format!(
        "The schema is up to date: {}.\n",
        database.describe()
    ));
    Ok(())
}

struct Listeners {
    query: TcpListener,
    command: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    fn bind(settings: &ServeSettings) -> anyhow::Result<Self> {
        Ok(Self {
            query: bind(settings.query.query_listen, "--query-listen")?,
            command: bind(settings.command.command_listen, "--command-listen")?,
            admin: bind(settings.admin.admin_listen, "--admin-listen")?,
        })
    }
}

/// The tokens that were set.
struct SetTokens {
    operator: Option<Secret>,
    auditor: Option<Secret>,
    file: Option<TokensFile>,
}

impl SetTokens {
    /// Reads them all. Without an operator's, one may still be made, unless there is a file.
    fn read(settings: &AdminListenSettings) -> anyhow::Result<Self> {
        let (operator, auditor) = tokens(settings)?;
        let file = settings
            .tokens_file
            .as_deref()
            .map(TokensFile::open)
            .transpose()
            .context("MOA_TOKENS_FILE")?;
        let has_operator = operator.is_some()
            || file
                .as_ref()
                .is_none_or(|file| file.tokens().get().has_operator());
        anyhow::ensure!(
            has_operator,
            "MOA_TOKENS_FILE has no operator: add the line that `moa token new NAME --role operator` prints"
        );
        Ok(Self {
            operator,
            auditor,
            file,
        })
    }

    /// The guard's, of whom each address may guess so often; the file is read again until the shutdown.
    fn guard(self, stages: &Stages, max_guesses: Option<edge::Rate>) -> anyhow::Result<Tokens> {
        let settings = NamedTokens::of_settings(self.operator.as_ref(), self.auditor.as_ref())?;
        let shared = self.file.as_ref().map(TokensFile::tokens);
        if let Some(file) = self.file {
            stages.spawn_consumer("the refresh of tokens", |shutdown| {
                file.keep_fresh(shutdown)
            });
        }
        Ok(Tokens::new(settings, shared, max_guesses))
    }
}

/// The tokens that were set by themselves; `None` for an operator's that is still to be made.
fn tokens(settings: &AdminListenSettings) -> anyhow::Result<(Option<Secret>, Option<Secret>)> {
    let (operator, operator_file) = (
        settings.operator_token.as_ref(),
        settings.operator_token_file.as_deref(),
    );
    let (auditor, auditor_file) = (
        settings.auditor_token.as_ref(),
        settings.auditor_token_file.as_deref(),
    );
    let operator = token::configured("MOA_OPERATOR_TOKEN", operator, operator_file)?;
    let auditor = token::configured("MOA_AUDITOR_TOKEN", auditor, auditor_file)?;
    anyhow::ensure!(
        operator.is_none() || operator != auditor,
        "MOA_AUDITOR_TOKEN must not be the operator's: an auditor may only read"
    );
    Ok((operator, auditor))
}

/// All services in one process, about to start.
struct AllInOne<'a> {
    settings: &'a ServeSettings,
    listeners: Listeners,
    listening: ListenerLimits,
    callers: Callers,
    database: &'a Database,
    provider: command_api::Provider,
    optional_servers: OptionalServers,
    ops: Ops,
}

impl AllInOne<'_> {
    async fn serve(
        self,
        mut tokens: SetTokens,
        keys: seal_keys::Keys,
        stop: &mut StopSignal,
    ) -> anyhow::Result<()> {
        let Self {
            settings,
            listeners,
            listening,
            mut callers,
            database,
            provider,
            optional_servers,
            ops,
        } = self;
        // All settings are checked before the first table is created.
        let sealing = seal_keys::sealing(keys, &settings.seal.outside, &settings.database)?;
        let made = match (&tokens.operator, &tokens.file) {
            (None, None) => Some(create_token(settings, database)?),
            _ => None,
        };
        tokens.operator = tokens.operator.or_else(|| made.clone());
        let outside = match &sealing {
            Some(sealing) => Some(seal_keys::external_seals_of(sealing)),
            None => seal_keys::outside(&settings.seal.outside)?,
        };
        database.migrate(settings.log).await?;
        let log = database
            .log(settings.log.partitions, Connections::WRITE_SIDE)
            .await?;
        seal_keys::compare(&log, outside.as_ref()).await?;
        let stages = Stages::of(&ops);
        if let Some(private) = database.private() {
            stages.spawn_consumer("the private PostgreSQL", |shutdown| {
                private.supervisor().run(shutdown)
            });
        }
        let resources = SharedResources::open(database, log, optional_servers);
        resources.compare_with_published().await?;
        let read = database.read_pool().await?;
        resources.watch_writes(&ops);
        ops.watch_pool("read", &read);
        resources.poll_heads(&stages);
        let processors = resources
            .start_write_side(&stages, &settings.command, provider)
            .await?;
        resources.start_projector(
            &stages,
            (settings.linger.lingers(), settings.deferral.deferrals()),
        );
        resources.start_relay(&stages);
        match sealing {
            Some(sealing) => resources.start_sealer(&stages, sealing),
            None => seal_keys::log_unsealed(database),
        }
        if !settings.no_demo {
            demo::open_on_empty(&processors)
                .await
                .context("the demo could not be opened")?;
        }
        let addresses =
            banner::Addresses::of(&listeners.query, &listeners.command, &listeners.admin)?;
        let max_guesses = callers::max_guesses(addresses.admin, settings.admin.limit_token_guesses);
        let tokens = tokens.guard(&stages, max_guesses)?;
        callers.start(&stages, &ops);
        let time = settings.public.time_zone;
        let callers_of = (
            callers.of_writes(addresses.command, &settings.command.limits),
            callers.of_reads(addresses.query, &settings.query.limits),
        );
        resources.serve_commands(
            &stages,
            listeners.command,
            processors.clone(),
            (time, callers_of.0),
            &ops,
            &listening,
        );
        resources.serve_queries(
            &stages,
            listeners.query,
            &read,
            (time, callers_of.1),
            &ops,
            &listening,
        );
        let operators = Operators {
            tokens,
            processors,
            read,
            time,
            seals: outside,
        };
        resources.serve_admin(&stages, listeners.admin, operators, &ops, &listening);
        banner::print_all_in_one(settings, database, &addresses, &callers, made.as_ref());
        stop.then_finish(stages).await
    }
}

fn create_token(settings: &ServeSettings, database: &Database) -> anyhow::Result<Secret> {
    // A folder that outlives the process keeps the token, so that `moa status` finds it.
    let kept = database.private().is_some() && !settings.database.ephemeral;
    if kept {
        token::load_or_create(&settings.database.data_dir)
    } else {
        Ok(Secret::fresh())
    }
}
