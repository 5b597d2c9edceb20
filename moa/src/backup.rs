//! `moa backup`: backups, before they are needed. docs/backup.md has how they are made and restored.

mod report;

use crate::audit::proof::{public_keys, verify};
use crate::postgres::{Embedded, Options, default_data_dir};
use crate::secret::Secret;
use crate::serve::StopSignal;
use crate::settings::{BackupCommand, ListOutput};
use anyhow::Context;
use audit::proof::verify_backup;
use clap::Args;
use connection_pool::Pool;
use proof::backup::BackupReport;
use std::path::{Path, PathBuf};

/// The settings of `moa backup verify`.
#[derive(Clone, Debug, Args)]
pub struct BackupVerifySettings {
    /// A dump of the database by pg_dump, in the custom, directory or tar format: it is restored into a PostgreSQL of its own for a while
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "database_url",
        conflicts_with = "database_url"
    )]
    dump: Option<PathBuf>,
    /// A database that was restored from the backup; it is only read
    #[arg(long, value_name = "URL")]
    database_url: Option<Secret>,
    /// The file of seals to compare it with: your own copy
    #[arg(long, value_name = "FILE")]
    seals: PathBuf,
    /// The file of seals of acts: your own copy [default: the one beside --seals, with .acts at its end, if there is one]
    #[arg(long, value_name = "FILE")]
    act_seals: Option<PathBuf>,
    /// The public key that the seals are made with, a file in PEM; several separated by commas
    #[arg(long, required = true, value_name = "PEM", value_delimiter = ',')]
    public_key: Vec<PathBuf>,
    #[command(flatten)]
    output: ListOutput,
}

/// Runs one of them.
pub async fn run(command: BackupCommand) -> anyhow::Result<()> {
    let BackupCommand::Verify(settings) = command;
    let found = match (&settings.dump, &settings.database_url) {
        (Some(dump), _) => of_dump(dump, &settings).await?,
        (None, Some(url)) => of_database(&verify::read_only(url).await?, &settings).await?,
        (None, None) => anyhow::bail!("say what to verify: --dump or --database-url"),
    };
    report::print(&found, settings.output)
}

async fn of_database(pool: &Pool, settings: &BackupVerifySettings) -> anyhow::Result<BackupReport> {
    let keys = public_keys(&settings.public_key)?;
    let seals = verify::read(&settings.seals)?;
    let act_seals = verify::act_seals(Some(&settings.seals), settings.act_seals.as_deref())?;
    let found = verify_backup(pool, (seals, act_seals), &keys).await;
    found.context("the backup could not be verified, which does not say that it is broken")
}

/// Restores the dump into a PostgreSQL that is removed afterwards, also when a signal ends it before.
async fn of_dump(dump: &Path, settings: &BackupVerifySettings) -> anyhow::Result<BackupReport> {
    let mut stop = StopSignal::listen()?;
    let server = Embedded::start(&Options {
        data_dir: default_data_dir(),
        ephemeral: true,
    })
    .await?;
    let found = tokio::select! {
        found = restored(&server, dump, settings) => found,
        () = stop.received() => Err(anyhow::anyhow!("stopped; nothing was verified")),
    };
    let stopped = server.stop().await;
    found.and_then(|found| stopped.map(|()| found))
}

async fn restored(
    server: &Embedded,
    dump: &Path,
    settings: &BackupVerifySettings,
) -> anyhow::Result<BackupReport> {
    let options = server.restore_dump(dump).await?;
    let pool = verify::read_only_with(options).await?;
    let found = of_database(&pool, settings).await;
    pool.close().await;
    found
}
