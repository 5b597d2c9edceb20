//! Verification: of the live log by the running Moa, of a database past it, of an export.

use super::super::client::Client;
use super::{public_keys, report};
use crate::complaint;
use crate::database;
use crate::secret::Secret;
use crate::settings::ListOutput;
use anyhow::Context;
use audit::proof::verify_live;
use clap::Args;
use connection_pool::Pool;
use event_log::Log;
use proof::act_seal::ActSeal;
use proof::act_seal_chain::ValidActSeals;
use proof::key::VerifyingKey;
use proof::report::Report;
use proof::seal::{Seal, SealParseError};
use proof::seal_chain::ValidSeals;
use proof::seals_file;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections to a database: one for each reader, one for the questions.
const MAX_CONNECTIONS: u32 = verify_live::CONCURRENT_PARTITIONS as u32 + 1;
/// How long is waited for one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer of it is waited for: above the server's own time-out below, so that it speaks first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(610);
/// A verification changes nothing, and each of its statements takes less than a second or so.
const READ_ONLY: [(&str, &str); 2] = [
    ("default_transaction_read_only", "on"),
    ("statement_timeout", "10min"),
];

/// What the lines of a file of seals are.
pub(crate) type Lines<T> = Vec<Result<T, SealParseError>>;

/// The settings of `moa audit verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifySettings {
    /// Read this database itself instead of asking the running Moa
    #[arg(long, value_name = "URL", conflicts_with = "export")]
    database_url: Option<Secret>,
    /// Verify this export instead, without any Moa
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// The file of seals to hold the log against: your own copy
    #[arg(long, value_name = "FILE", requires = "public_key")]
    seals: Option<PathBuf>,
    /// The file of seals of acts: your own copy [default: the one beside --seals, with .acts at its end, if there is one]
    #[arg(
        long,
        value_name = "FILE",
        requires = "seals",
        conflicts_with = "export"
    )]
    act_seals: Option<PathBuf>,
    /// The public key that the seals are made with, a file in PEM; several separated by commas
    #[arg(long, value_name = "PEM", value_delimiter = ',', requires = "seals")]
    public_key: Vec<PathBuf>,
    #[command(flatten)]
    output: ListOutput,
}

/// Verifies, and prints what was found; an error when the log is broken.
pub(in super::super) async fn verify(
    settings: VerifySettings,
    client: &Client<'_>,
) -> anyhow::Result<()> {
    let keys = public_keys(&settings.public_key)?;
    let seals = settings.seals.as_deref().map(read).transpose()?;
    let found = match (&settings.database_url, &settings.export, seals) {
        (Some(url), _, seals) => {
            let act_seals = act_seals(settings.seals.as_deref(), settings.act_seals.as_deref())?;
            database(url, (seals.unwrap_or_default(), act_seals), &keys).await?
        }
        (None, Some(export), seals) => {
            proof::export::verify(export, seals.unwrap_or_default(), &keys)?
        }
        (None, None, Some(_)) => {
            anyhow::bail!("say what to verify with these seals: --database-url or --export")
        }
        (None, None, None) => {
            let data = client.get("/admin/audit/verify", &[]).await?;
            serde_json::from_value(data).context("what answers is another release of Moa")?
        }
    };
    report::print(&found, settings.output)
}

/// Trusts nothing but the rows: seals and keys are the auditor's own.
async fn database(
    url: &Secret,
    (seals, act_seals): (Lines<Seal>, Lines<ActSeal>),
    keys: &[VerifyingKey],
) -> anyhow::Result<Report> {
    // First, so that a database that is away is waited for once.
    let pool = read_only(url).await?;
    record_access(url).await;
    let identity = Log::identity_of(&pool)
        .await?
        .context("this database has no log")?;
    let sealed =
        ValidSeals::read(seals, keys, Some(identity)).unwrap_or_else(|| ValidSeals::none(identity));
    let act_seals = ValidActSeals::read(identity.log_id, act_seals, keys);
    Ok(verify_live::verify_all(&pool, &sealed, &act_seals).await?)
}

/// The seals of acts in the file that is named, or in the one beside the file of seals.
pub(crate) fn act_seals(
    seals: Option<&Path>,
    named: Option<&Path>,
) -> anyhow::Result<Lines<ActSeal>> {
    let beside = seals
        .map(seals_file::acts_path)
        .filter(|path| path.exists());
    let Some(path) = named.map(Path::to_owned).or(beside) else {
        return Ok(Vec::new());
    };
    seals_file::read_acts(&path).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Lines<Seal>> {
    seals_file::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reading the audit is recorded. A copy that cannot be written to is verified all the same: what is shown of it is only
/// whether it is whole.
async fn record_access(url: &Secret) {
    let written = match connect(url, &[]).await {
        Ok(pool) => audit::access::record_direct(&pool, "verify")
            .await
            .map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(
            "it could not be written down in this database that it is verified: {}",
            complaint::causes(&error)
        );
    }
}

/// A pool that changes nothing in the database at `url`.
pub(crate) async fn read_only(url: &Secret) -> anyhow::Result<Pool> {
    connect(url, &READ_ONLY).await
}

async fn connect(url: &Secret, bounds: &[(&str, &str)]) -> anyhow::Result<Pool> {
    connect_with(database::url::read("--database-url", url)?, bounds).await
}

/// The same of a database that is known otherwise.
pub(crate) async fn read_only_with(options: PgConnectOptions) -> anyhow::Result<Pool> {
    connect_with(options, &READ_ONLY).await
}

async fn connect_with(options: PgConnectOptions, bounds: &[(&str, &str)]) -> anyhow::Result<Pool> {
    let options = options.application_name("moa audit verify");
    let options = options
        .options(database::SEARCH_PATH)
        .options(bounds.iter().copied());
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await;
    let pool = pool.map_err(|error| {
        let why = tls::explain(&error).unwrap_or_else(|| complaint::text(&error));
        anyhow::Error::from(error).context(format!(
            "cannot reach the database that --database-url names: {why}"
        ))
    })?;
    Ok(Pool::from(pool).with_answer_timeout(ANSWER_TIMEOUT))
}
