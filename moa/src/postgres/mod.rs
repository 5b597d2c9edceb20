//! The private PostgreSQL that Moa starts when it is given none.
//!
//! Real PostgreSQL as a child keeps one SQL dialect. It listens on a Unix socket only, in a folder nobody else can
//! enter, and keeps `fsync` on. In the data folder:
//!
//! | path | what |
//! |---|---|
//! | `moa.lock` | held while a Moa uses the folder; its pid |
//! | `postgres/` | the cluster |
//! | `postgres.log` | what the server says; what it said before the last 16 MB is in `postgres.log.1` |
//! | `socket/` | the server's socket; under `/tmp` where the path would be too long for one |
//!
//! A server that dies while Moa runs is started again. A Moa that is killed leaves its server running; the next start on the folder takes it over.

mod account;
mod binaries;
mod cluster;
mod data_folder;
mod dump;
mod fetch;
mod pid_file;
mod settings;
mod supervisor;
mod watchdog;

use std::path::{Path, PathBuf};

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;

use account::Account;
pub(crate) use account::own_uid;
pub use binaries::Search;
use cluster::Cluster;
use data_folder::Folder;
pub use supervisor::Supervisor;
use watchdog::Watchdog;

/// The database in the cluster that holds everything of Moa's.
pub const DATABASE: &str = "moa";

/// Where the data goes and whether it stays.
#[derive(Clone, Debug)]
pub struct Options {
    /// Moa's data folder, made if it is not there; the cluster goes into `postgres` in it. Not used when
    /// `ephemeral` is set.
    pub data_dir: PathBuf,
    /// Keep nothing: the data folder is a new one under the temporary folder, removed with the server, also when Moa
    /// is killed.
    pub ephemeral: bool,
}

/// A running private server. Dropped without [`Embedded::stop`], it goes on running for the next start to take over,
/// unless it is ephemeral.
#[derive(Debug)]
pub struct Embedded {
    cluster: Cluster,
    watchdog: Option<Watchdog>,
    folder: Folder,
}

impl Embedded {
    /// Starts the server of a data folder or takes over the one that runs: finds PostgreSQL, or fetches it, and makes
    /// the cluster and the database `moa` if they are not there. Returns when the server answers.
    ///
    /// # Errors
    /// One sentence that names the ways out: no PostgreSQL to be had or only the wrong version of it, a data folder
    /// that another Moa uses or that PostgreSQL cannot reach, a server that does not come up.
    pub async fn start(options: &Options) -> anyhow::Result<Embedded> {
        Self::start_with(options, &Search::of_this_machine()?).await
    }

    /// [`Embedded::start`] with the places where PostgreSQL is searched.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub async fn start_with(options: &Options, search: &Search) -> anyhow::Result<Embedded> {
        let root = data_folder::root_of(options)?;
        let account = Account::owning(&root.join(cluster::CLUSTER_FOLDER))?;
        let recorded = cluster::recorded_version(&root)?;
        let binaries = binaries::choose(search, account, recorded.as_deref()).await?;
        let folder = Folder::open(root, options.ephemeral, account).await?;
        let mut cluster = Cluster::new(&folder.root, account, binaries)?;
        let watchdog = options
            .ephemeral
            .then(|| Watchdog::spawn(&cluster, &folder.root))
            .transpose()?;
        cluster.bring_up().await?;
        Ok(Embedded {
            cluster,
            watchdog,
            folder,
        })
    }

    /// How to connect to the database `moa` as its owner.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.cluster.connect_options(DATABASE)
    }

    /// One line for the banner: which PostgreSQL, and where the data is.
    #[must_use]
    pub fn describe(&self) -> String {
        let version = self.cluster.version();
        match &self.watchdog {
            Some(_) => format!("PostgreSQL {version}, private, data kept only until Moa stops"),
            None => format!(
                "PostgreSQL {version}, private, data in {}",
                self.folder.root.display()
            ),
        }
    }

    /// The shell command that opens the database in `psql`.
    #[must_use]
    pub fn psql_command(&self) -> String {
        self.cluster.psql_command(DATABASE)
    }

    /// Who looks after the server while Moa runs; to be stopped before the server is.
    #[must_use]
    pub fn supervisor(&self) -> Supervisor {
        Supervisor::of(&self.cluster)
    }

    /// Stops the server, within a minute and a half; open connections are broken off. An ephemeral one is removed.
    ///
    /// # Errors
    /// The server did not stop in time, or its folder cannot be removed.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.watchdog {
            Some(watchdog) => watchdog.clean_up(&self.folder.root).await,
            None => self
                .cluster
                .stop()
                .await
                .context("PostgreSQL did not stop, the next start takes it over"),
        }
    }
}

/// How to connect to the server of this data folder, while a Moa runs it.
///
/// # Errors
/// The folder has no server yet, or cannot be looked into.
pub(crate) fn options_of_running(data_dir: &Path) -> anyhow::Result<PgConnectOptions> {
    let root = data_folder::root_of(&Options {
        data_dir: data_dir.to_owned(),
        ephemeral: false,
    })?;
    anyhow::ensure!(
        cluster::recorded_version(&root)?.is_some(),
        "there is no private PostgreSQL in {} yet: start `moa serve`, or name a database in DATABASE_URL",
        root.display()
    );
    cluster::options_of(&root, DATABASE)
}

/// The data folder when none is named: `/var/lib/moa` as root, else `moa` in `XDG_DATA_HOME` or `~/.local/share`, else
/// `.moa` here.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if account::is_root() {
        return PathBuf::from("/var/lib/moa");
    }
    data_folder::of_user("XDG_DATA_HOME", ".local/share")
}
