//! Every setting, as a flag and as an environment variable. README.md has the same table.

use crate::token::Secret;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use edge::{AllowedOrigin, ServiceTime};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Invests in products that open at a fixed hour.
#[derive(Debug, Parser)]
#[command(name = "moa", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without it, `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What is logged, as tracing directives: `info`, `warn,command_api=debug`.
    #[arg(long, env = "MOA_LOG", default_value = "info", global = true)]
    pub log: String,
    /// The settings of `serve`.
    #[command(flatten)]
    pub serve: ServeSettings,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: read 8080, write 8081, admin 8082
    Serve(ServeSettings),
    /// Bring the database's schema up to date and stop
    Migrate(DatabaseSettings),
    /// Open, close or list products, through a running Moa
    Product {
        /// What to do with products.
        #[command(subcommand)]
        command: ProductCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// How far each projection is, from a running Moa
    Status {
        /// As JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
}

/// Which database.
#[derive(Clone, Debug, Args)]
pub struct DatabaseSettings {
    /// The PostgreSQL to use, e.g. postgres://user@host/moa; without it Moa starts a private one
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,
    /// Where the private PostgreSQL keeps its data
    #[arg(long, env = "MOA_DATA_DIR", default_value_os_t = crate::postgres::default_data_dir())]
    pub data_dir: PathBuf,
    /// Keep no data: a private PostgreSQL that is gone when Moa stops
    #[arg(long)]
    pub ephemeral: bool,
}

/// The settings of `moa serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeSettings {
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Open no demo products on an empty log
    #[arg(long)]
    pub no_demo: bool,
    /// Where the read side listens
    #[arg(long, env = "MOA_QUERY_LISTEN", default_value = "127.0.0.1:8080")]
    pub query_listen: SocketAddr,
    /// Where the write side listens
    #[arg(long, env = "MOA_COMMAND_LISTEN", default_value = "127.0.0.1:8081")]
    pub command_listen: SocketAddr,
    /// Where operators and auditors are served; never to be exposed with the other two
    #[arg(long, env = "MOA_ADMIN_LISTEN", default_value = "127.0.0.1:8082")]
    pub admin_listen: SocketAddr,
    /// Partitions of a new log, 1 to 64; an existing log keeps its own [default: 4]
    #[arg(long, env = "MOA_PARTITIONS", value_parser = clap::value_parser!(i32).range(1..=64))]
    pub partitions: Option<i32>,
    /// The zone of the times that go out, and of those that come in without an offset
    #[arg(long, env = "MOA_TIME_ZONE", default_value = "Asia/Seoul")]
    pub time_zone: ServiceTime,
    /// How many seconds a reservation waits for its settlement before it is given up, 1 to 604800
    #[arg(long, env = "MOA_RESERVATION_SECONDS", default_value = "600", value_parser = seconds)]
    pub reservation_seconds: Duration,
    /// Origins that browsers may call from, separated by commas
    #[arg(long, env = "MOA_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<AllowedOrigin>,
    /// The operator's bearer token; without one, Moa makes and prints one
    #[arg(long, env = "MOA_OPERATOR_TOKEN", hide_env_values = true)]
    pub operator_token: Option<Secret>,
    /// A file that holds the operator's token
    #[arg(long, env = "MOA_OPERATOR_TOKEN_FILE", conflicts_with = "operator_token")]
    pub operator_token_file: Option<PathBuf>,
    /// The auditor's bearer token; without one, there is no auditor
    #[arg(long, env = "MOA_AUDITOR_TOKEN", hide_env_values = true)]
    pub auditor_token: Option<Secret>,
    /// A file that holds the auditor's token
    #[arg(long, env = "MOA_AUDITOR_TOKEN_FILE", conflicts_with = "auditor_token")]
    pub auditor_token_file: Option<PathBuf>,
}

/// How the operator's commands reach a running Moa.
#[derive(Clone, Debug, Args)]
pub struct AdminSettings {
    /// The admin listener of the running Moa
    #[arg(long, global = true, env = "MOA_ADMIN_URL", default_value = "http://127.0.0.1:8082")]
    pub admin_url: String,
    /// The bearer token; without it, the one that Moa left in its data folder
    #[arg(long, global = true, env = "MOA_OPERATOR_TOKEN", hide_env_values = true)]
    pub operator_token: Option<Secret>,
    /// A file that holds the token
    #[arg(long, global = true, env = "MOA_OPERATOR_TOKEN_FILE", conflicts_with = "operator_token")]
    pub operator_token_file: Option<PathBuf>,
    /// The data folder of the running Moa
    #[arg(long, global = true, env = "MOA_DATA_DIR", default_value_os_t = crate::postgres::default_data_dir())]
    pub data_dir: PathBuf,
}

/// What operators do with products.
#[derive(Debug, Subcommand)]
pub enum ProductCommand {
    /// Open a product
    Open {
        /// Its name, 1 to 500 characters
        #[arg(long)]
        title: String,
        /// How much it takes altogether, in whole won
        #[arg(long, value_name = "WON")]
        total: i64,
        /// When it starts to take invests: 2026-11-22T09:00:00, in the service's zone or with an offset
        #[arg(long, value_name = "TIME")]
        starts: String,
        /// When it takes no more
        #[arg(long, value_name = "TIME")]
        finishes: String,
    },
    /// Withdraw a product; what is reserved still gets its fate
    Close {
        /// Its id
        product_id: i64,
    },
    /// All products, newest first
    List {
        /// Which page, from 0
        #[arg(long, default_value_t = 0)]
        page: i64,
        /// How many on a page, 1 to 1000
        #[arg(long, default_value_t = 20)]
        size: i64,
        /// As JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// Variables of the environment that begin like ours and are none: most likely misspelt.
pub fn unknown_variables() -> Vec<String> {
    let known = variables(&Cli::command());
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    set.filter(|name| name.starts_with("MOA_") && !known.contains(name)).collect()
}

fn variables(command: &clap::Command) -> HashSet<String> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number from 1 to 604800".into()),
    }
}
