//! Every setting, as a flag and as an environment variable. README.md has the same table.

mod serve;

pub use serve::*;

use crate::token::Secret;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// Run everything in one process: read 8080, write 8081, admin 8082; or one service alone
    Serve(Box<Serve>),
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
    /// Deliveries that were put aside because they cannot be what the log says
    Parked {
        /// What to do with them.
        #[command(subcommand)]
        command: ParkedCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Ask a running service whether it is ready; for containers
    Healthcheck {
        /// Its ops port, or the admin listener
        #[arg(env = "MOA_OPS_LISTEN", default_value = OPS_LISTEN)]
        address: SocketAddr,
    },
}

/// Where a service alone says how it is, unless told otherwise.
const OPS_LISTEN: &str = "127.0.0.1:8090";

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

/// What operators do with parked deliveries.
#[derive(Debug, Subcommand)]
pub enum ParkedCommand {
    /// The newest, with why they were parked
    List {
        /// How many, 1 to 1000
        #[arg(long, default_value_t = 20)]
        limit: i64,
        /// As JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// One of them, with its headers and the beginning of its body
    Show {
        /// Its id
        id: i64,
    },
    /// Forget one of them, or all
    Drop {
        /// Its id
        #[arg(required_unless_present = "all")]
        id: Option<i64>,
        /// Forget all
        #[arg(long, conflicts_with = "id")]
        all: bool,
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
