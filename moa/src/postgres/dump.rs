//! Restores a dump into a private server, to be looked at. A dump is a program for PostgreSQL, and may not be ours: a role does it that may
//! neither read files nor run programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _};
use tokio::process::Command;

use super::Embedded;
use super::account::{Account, run};
use super::settings;

/// The role that restores and reads, and its database.
const RESTORED: &str = "restored";
/// Listing what is in a dump reads its table of contents.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// A dump of a hundred million events, with its indexes, is restored in less on a slow disk.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(12 * 3_600);

impl Embedded {
    /// Restores a dump in the custom, directory or tar format into a database of its own, without owners, rights and extensions. Returns how its
    /// owner, who has no rights besides, connects to it.
    ///
    /// # Errors
    /// There is no `pg_restore`, or it says why it does not restore all of it.
    pub async fn restore_dump(&self, dump: &Path) -> anyhow::Result<PgConnectOptions> {
        let dump =
            std::path::absolute(dump).context("the current folder is gone, change to another")?;
        anyhow::ensure!(
            dump.exists(),
            "there is no dump {}: name a file or folder of pg_dump with --dump",
            dump.display()
        );
        self.make_database()
            .await
            .context("cannot make a database for the dump")?;
        self.restore(&dump).await.with_context(|| {
            format!(
                "{} cannot be restored. pg_dump must have made it with --format=custom, directory or tar, in a version \
                 that is not newer than pg_restore; of plain SQL, restore it yourself and give --database-url",
                dump.display()
            )
        })?;
        Ok(self.cluster.connect_options(RESTORED).username(RESTORED))
    }

    async fn restore(&self, dump: &Path) -> anyhow::Result<()> {
        let entries = run(self.pg_restore().arg("--list").arg(dump), LIST_TIMEOUT).await?;
        let kept = self.folder.root.join("dump.list");
        std::fs::write(&kept, without_policies(&entries))
            .context("cannot write the list of what is restored")?;
        let mut restore = self.pg_restore();
        restore
            .args([
                "--exit-on-error",
                "--no-owner",
                "--no-privileges",
                "--schema=public",
                "--use-list",
            ])
            .arg(&kept);
        restore
            .arg("-h")
            .arg(&self.cluster.socket)
            .args(["-p", &settings::PORT.to_string()]);
        restore.args(["-U", RESTORED, "-d", RESTORED]).arg(dump);
        run(&mut restore, RESTORE_TIMEOUT).await.map(|_| ())
    }

    async fn make_database(&self) -> anyhow::Result<()> {
        let mut session = self.cluster.session("postgres").await?;
        session
            .execute(&*format!("create role {RESTORED} login"))
            .await?;
        session
            .execute(&*format!("create database {RESTORED} owner {RESTORED}"))
            .await?;
        Ok(session.close().await?)
    }

    /// The server's own, else the one in `PATH`: a fetched server has none. Moa's own account can read the dump.
    fn pg_restore(&self) -> Command {
        let own = self.cluster.binaries.program("pg_restore");
        Account::Own.command(if own.is_file() {
            own
        } else {
            PathBuf::from("pg_restore")
        })
    }
}

/// The list of a dump's entries without its policies: they name roles, which are not here, and are for others than the owner.
fn without_policies(entries: &str) -> String {
    let is_kept = |line: &&str| line.split_whitespace().nth(3) != Some("POLICY");
    entries
        .lines()
        .filter(is_kept)
        .flat_map(|line| [line, "\n"])
        .collect()
}
