//! `moa backup`: backups, before they are needed. docs/backup.md has how they are made and restored.

mod report;

use crate::audit::proof::{public_keys, verify};
use crate::postgres::{Embedded, Options, default_data_dir};
use crate::serve::StopSignal;
use crate::settings::{BackupCommand, BackupVerifySettings};
use anyhow::Context;
use audit::proof::verify_backup;
use connection_pool::Pool;
use proof::backup::BackupReport;
use std::path::Path;

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
