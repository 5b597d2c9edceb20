//! One cluster and its server: created, started or taken over, stopped.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::account::{Account, run};
use super::binaries::Binaries;
use super::data_folder::make_private;
use super::pid_file::{self, PidFile};
use super::{DATABASE, settings};

/// The cluster's folder in the data folder.
pub(super) const CLUSTER_FOLDER: &str = "postgres";

/// What the server says, in the data folder.
const LOG: &str = "postgres.log";

/// The longest that log gets before it is put aside.
const MAX_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// How the name of a cluster that is being made begins.
const UNFINISHED_PREFIX: &str = "postgres.unfinished-";

/// Its owner among PostgreSQL's roles.
const ROLE: &str = "moa";

/// The longest path of a socket that every system takes.
const MAX_SOCKET_PATH_CHARS: usize = 100;

/// A new cluster takes a second, on a slow disk some.
const INITDB_TIMEOUT: Duration = Duration::from_secs(120);

/// Reading a setting takes milliseconds.
const SETTING_TIMEOUT: Duration = Duration::from_secs(10);

/// A start replays what the last checkpoint does not hold, at most `max_wal_size`.
const START_TIMEOUT_S: u64 = 120;

/// A start is tried again while processes of a killed server still hold its memory: for five seconds at most.
const MAX_START_ATTEMPTS: u32 = 50;
const START_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A fast stop writes a checkpoint first; an immediate one does not.
const FAST_STOP_TIMEOUT_S: u64 = 60;
const IMMEDIATE_STOP_TIMEOUT_S: u64 = 20;

/// How much longer than its own limit `pg_ctl` is given.
const STOP_GRACE_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that is there answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long what is asked of the private server at a start may take; making a database copies one.
const SETUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a running server is asked whether it is through with its start or its stop.
const TAKEOVER_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_TAKEOVER_ATTEMPTS: u32 = 2400;

/// What a server says that starts or stops just now.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// A cluster, with everything that is needed to run it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    root: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
    pub(super) account: Account,
    pub(super) binaries: Binaries,
}

/// What became of asking a server.
enum Answer {
    Yes,
    NotYet,
    No,
}

/// The `PG_VERSION` of the cluster in a data folder; none if there is no cluster.
pub(super) fn recorded_version(root: &Path) -> anyhow::Result<Option<String>> {
    let path = root.join(CLUSTER_FOLDER).join("PG_VERSION");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot read {}, start Moa as its owner or as root",
                path.display()
            )
        }),
    }
}

impl Cluster {
    pub(super) fn new(
        root: &Path,
        account: Account,
        binaries: Binaries,
    ) -> anyhow::Result<Cluster> {
        let socket = socket_folder(root)?;
        make_private(&socket, account)?;
        let log = root.join(LOG);
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .context("cannot write postgres.log")?;
        account.give(&log)?;
        Ok(Cluster {
            root: root.to_owned(),
            folder: root.join(CLUSTER_FOLDER),
            socket,
            log,
            account,
            binaries,
        })
    }

    pub(super) fn connect_options(&self, database: &str) -> PgConnectOptions {
        options_through(&self.socket, database)
    }

    pub(super) fn psql_command(&self, database: &str) -> String {
        let optional_servers = self.binaries.program("psql");
        let psql = if optional_servers.is_file() {
            optional_servers
        } else {
            PathBuf::from("psql")
        };
        let (psql, socket) = (quoted(&psql), quoted(&self.socket));
        format!(
            "{psql} -h {socket} -p {} -U {ROLE} {database}",
            settings::PORT
        )
    }

    pub(super) fn version(&self) -> String {
        let (major, minor) = self.binaries.version;
        format!("{major}.{minor}")
    }

    /// Makes the cluster if there is none, starts or takes over its server, and makes the database if there is none.
    pub(super) async fn bring_up(&mut self) -> anyhow::Result<()> {
        self.remove_unfinished();
        if !self.folder.join("PG_VERSION").is_file() {
            self.make()
                .await
                .context("cannot make the PostgreSQL cluster")?;
        }
        self.write_settings()
            .await
            .context("cannot write postgresql.conf")?;
        if !self.take_over().await? {
            self.start().await?;
            // One that was restored from a backup replays the WAL first.
            ensure!(
                self.take_over().await?,
                "PostgreSQL ended: look into {}",
                self.log.display()
            );
        }
        in_time(self.ensure_database())
            .await
            .context("cannot make the database in the private PostgreSQL")
    }

    /// Under another name until it is whole: a kill leaves no half cluster.
    async fn make(&self) -> anyhow::Result<()> {
        let unfinished = format!("{UNFINISHED_PREFIX}{}", Uuid::now_v7().simple());
        let unfinished = self.folder.with_file_name(unfinished);
        make_private(&unfinished, self.account)?;
        let mut initdb = self.account.command(self.binaries.program("initdb"));
        initdb.args([
            "--no-instructions",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb
            .args([
                "--auth-local=trust",
                "--auth-host=reject",
                "--username",
                ROLE,
                "-D",
            ])
            .arg(&unfinished);
        run(&mut initdb, INITDB_TIMEOUT).await?;
        std::fs::rename(&unfinished, &self.folder)
            .context("cannot put the new cluster in its place")
    }

    /// What a kill left. Best effort: a killed Moa's `initdb` may still be writing, and the name is not used again.
    fn remove_unfinished(&self) {
        let entries = self
            .folder
            .parent()
            .and_then(|root| std::fs::read_dir(root).ok())
            .into_iter()
            .flatten();
        for entry in entries.flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(UNFINISHED_PREFIX)
            {
                std::fs::remove_dir_all(entry.path()).ok();
            }
        }
    }

    async fn write_settings(&self) -> anyhow::Result<()> {
        let unfinished = self.folder.join("postgresql.conf.unfinished");
        std::fs::write(
            &unfinished,
            settings::text(&self.socket, self.wal_compression().await),
        )?;
        self.account.give(&unfinished)?;
        Ok(std::fs::rename(
            unfinished,
            self.folder.join("postgresql.conf"),
        )?)
    }

    /// The best compression that this server was built with. It is asked, not started.
    async fn wal_compression(&self) -> &'static str {
        for compression in settings::WAL_COMPRESSIONS {
            let mut asked = self.account.command(self.binaries.program("postgres"));
            asked
                .args([
                    "-C",
                    "wal_compression",
                    "-c",
                    &format!("wal_compression={compression}"),
                    "-D",
                ])
                .arg(&self.folder);
            if run(&mut asked, SETTING_TIMEOUT).await.is_ok() {
                return compression;
            }
        }
        "off"
    }

    /// Starts the server of a cluster that was brought up before, where its clients look for it.
    pub(super) async fn start_again(&self) -> anyhow::Result<()> {
        make_private(&self.socket, self.account)?;
        self.write_settings()
            .await
            .context("cannot write postgresql.conf")?;
        self.start().await
    }

    /// Whether nothing of the server is there: it ended, was killed, or crashed.
    pub(super) async fn is_gone(&self) -> bool {
        let Some(left) = PidFile::of(&self.folder) else {
            return true;
        };
        match left.is_gone() {
            Some(is_gone) => is_gone,
            None => matches!(self.ask(&left.socket).await, Answer::No),
        }
    }

    /// Keeps what the server said last: the file goes on from its beginning, as the server appends to it.
    pub(super) fn shorten_log(&self) {
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
            let before = self.log.with_added_extension("1");
            let kept = std::fs::copy(&self.log, before)
                .and_then(|_| OpenOptions::new().write(true).open(&self.log)?.set_len(0));
            if let Err(error) = kept {
                tracing::warn!(%error, log = %self.log.display(), "the log of the private PostgreSQL cannot be shortened");
            }
        }
    }

    /// Whether a server that an earlier Moa left is there and answers.
    async fn take_over(&mut self) -> anyhow::Result<bool> {
        for _ in 0..MAX_TAKEOVER_ATTEMPTS {
            // Read each time: the socket's folder is not in the file before the server listens.
            let Some(left) = PidFile::of(&self.folder) else {
                return Ok(false);
            };
            match self.ask(&left.socket).await {
                Answer::Yes => {
                    self.socket = left.socket;
                    return in_time(self.reload()).await.map(|()| true);
                }
                Answer::NotYet => tokio::time::sleep(TAKEOVER_RETRY_DELAY).await,
                Answer::No => return Ok(false),
            }
        }
        bail!(
            "the PostgreSQL in {} has been starting for minutes: look into {}",
            self.folder.display(),
            self.log.display()
        )
    }

    async fn ask(&self, socket: &Path) -> Answer {
        if !socket.is_absolute() {
            return Answer::No;
        }
        let options = self
            .connect_options("postgres")
            .socket(socket)
            .disable_statement_logging();
        match tokio::time::timeout(ANSWER_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => {
                connection.close().await.ok();
                Answer::Yes
            }
            Ok(Err(sqlx::Error::Database(error)))
                if error.code().as_deref() == Some(CANNOT_CONNECT_NOW) =>
            {
                Answer::NotYet
            }
            // Any other reply of the server is an answer too.
            Ok(Err(sqlx::Error::Database(_))) => Answer::Yes,
            _ => Answer::No,
        }
    }

    /// Lets a server that was taken over read settings that an older Moa did not have.
    async fn reload(&self) -> anyhow::Result<()> {
        let mut session = self.session("postgres").await?;
        sqlx::query("select pg_reload_conf()")
            .execute(&mut session)
            .await?;
        Ok(session.close().await?)
    }

    async fn start(&self) -> anyhow::Result<()> {
        for _ in 0..MAX_START_ATTEMPTS {
            pid_file::remove_if_misleading(&self.folder, &socket_file(&self.socket));
            let said_before = std::fs::metadata(&self.log)?.len();
            let Err(error) = self.pg_ctl(&["start"], START_TIMEOUT_S).await else {
                return Ok(());
            };
            let said = self.log_since(said_before);
            let passing = ["still in use", "lock file"]
                .iter()
                .any(|sign| said.contains(sign));
            ensure!(passing, self.no_start(&said, &error));
            tokio::time::sleep(START_RETRY_DELAY).await;
        }
        bail!(
            "another server holds {}: stop it, or choose another --data-dir",
            self.folder.display()
        )
    }

    fn log_since(&self, before: u64) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let new = usize::try_from(before)
            .ok()
            .and_then(|before| log.get(before..))
            .unwrap_or_default();
        String::from_utf8_lossy(new).into_owned()
    }

    fn no_start(&self, said: &str, error: &anyhow::Error) -> String {
        let fatal = said
            .lines()
            .rev()
            .find_map(|line| line.split_once("FATAL:"));
        let why = fatal.map_or_else(|| format!("{error:#}"), |(_, why)| why.trim().to_owned());
        format!(
            "PostgreSQL does not start ({why}): look into {}, or set DATABASE_URL",
            self.log.display()
        )
    }

    async fn pg_ctl(&self, action: &[&str], limit_s: u64) -> anyhow::Result<()> {
        let mut pg_ctl = self.account.command(self.binaries.program("pg_ctl"));
        // By their names in the data folder: pg_ctl puts what it is given between double quotes and hands it to a shell.
        pg_ctl
            .current_dir(&self.root)
            .args(["-D", CLUSTER_FOLDER, "-l", LOG]);
        pg_ctl.args(["-w", "-t", &limit_s.to_string()]).args(action);
        run(
            &mut pg_ctl,
            Duration::from_secs(limit_s) + STOP_GRACE_TIMEOUT,
        )
        .await
        .map(|_| ())
    }

    /// Gently, else at once; after that the next start replays the log.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        if self
            .pg_ctl(&["stop", "-m", "fast"], FAST_STOP_TIMEOUT_S)
            .await
            .is_err()
        {
            self.pg_ctl(&["stop", "-m", "immediate"], IMMEDIATE_STOP_TIMEOUT_S)
                .await?;
        }
        // Empty now; under /tmp it would be litter. The next start makes it again.
        std::fs::remove_dir(&self.socket).ok();
        Ok(())
    }

    pub(super) async fn session(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options = self.connect_options(database).disable_statement_logging();
        let session = tokio::time::timeout(ANSWER_TIMEOUT, options.connect()).await;
        Ok(session.context("the server does not answer")??)
    }

    async fn ensure_database(&self) -> anyhow::Result<()> {
        let mut session = self.session("postgres").await?;
        let there =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)");
        let there: bool = there.bind(DATABASE).fetch_one(&mut session).await?;
        if !there {
            let created = sqlx::query(&format!("create database {DATABASE}"))
                .execute(&mut session)
                .await;
            created.map(drop).or_else(|error| {
                if made_meanwhile(&error) {
                    Ok(())
                } else {
                    Err(error)
                }
            })?;
        }
        Ok(session.close().await?)
    }
}

async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(SETUP_TIMEOUT, work)
        .await
        .context("the private PostgreSQL takes connections and does not answer")?
}

/// The server that a killed Moa left goes on with what it was told, and may have made the database just now: ours waited for
/// that one's end, and met its name, or the name's place in the catalog.
fn made_meanwhile(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refused| refused.code());
    matches!(code.as_deref(), Some("42P04" | "23505"))
}

/// How to connect to the server of a data folder, whether it runs or not.
pub(super) fn options_of(root: &Path, database: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(options_through(&socket_folder(root)?, database))
}

fn options_through(socket: &Path, database: &str) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(settings::PORT);
    options
        .username(ROLE)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

/// Where the socket goes: in the data folder, or where the path is short, named after the data folder's inode.
fn socket_folder(root: &Path) -> anyhow::Result<PathBuf> {
    let optional_servers = root.join("socket");
    if socket_file(&optional_servers).as_os_str().len() <= MAX_SOCKET_PATH_CHARS {
        return Ok(optional_servers);
    }
    let data = std::fs::metadata(root)?;
    Ok(PathBuf::from(format!(
        "/tmp/moa-{:x}-{:x}",
        data.dev(),
        data.ino()
    )))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn socket_file(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{}", settings::PORT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_that_make_a_database_at_once_the_second_finds_it_made() {
        let server = testbed::Database::fresh()
            .await
            .pool()
            .await
            .inner()
            .connect_options();
        let name = format!("{}{}", testbed::PREFIX, uuid::Uuid::now_v7().simple());
        let create = async || {
            let mut session = server
                .as_ref()
                .clone()
                .database("postgres")
                .connect()
                .await?;
            sqlx::query(&format!("create database {name}"))
                .execute(&mut session)
                .await
        };
        let ended = tokio::join!(create(), create());
        let mut session = server
            .as_ref()
            .clone()
            .database("postgres")
            .connect()
            .await
            .unwrap();
        sqlx::query(&format!("drop database {name}"))
            .execute(&mut session)
            .await
            .unwrap();
        let (made, refused) = if ended.0.is_ok() {
            ended
        } else {
            (ended.1, ended.0)
        };
        assert!(made.is_ok() && made_meanwhile(&refused.unwrap_err()));
        let other = sqlx::query("create database")
            .execute(&mut session)
            .await
            .unwrap_err();
        assert!(!made_meanwhile(&other));
    }
}
