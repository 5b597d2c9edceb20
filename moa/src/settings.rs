//! Every setting, as a flag and as an environment variable; one that is empty is not set. docs/settings.md has the same table.

mod audit;
mod backup;
mod callers;
mod groups;
mod health;
mod raw;
mod replay;
mod serve;
mod tls;
mod traces;

pub use audit::*;
pub use backup::*;
pub use callers::*;
pub use groups::*;
pub use health::*;
pub(crate) use raw::given;
pub use raw::read;
pub use replay::*;
pub use serve::*;
pub use tls::*;
pub use traces::*;

use crate::token::Secret;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::collections::HashSet;
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
    /// Whom connections with TLS believe.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// Where spans of traces are sent.
    #[command(flatten)]
    pub traces: TraceSettings,
    /// The settings of `serve`.
    #[command(flatten)]
    pub serve: ServeSettings,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: read 8080, write 8081, admin 8082; or one service alone
    Serve(Box<Serve>),
    /// Bring the database's schema and the roles' rights up to date and stop
    Migrate(MigrateSettings),
    /// Open, close, cancel or list products, through a running Moa
    Product {
        /// What to do with products.
        #[command(subcommand)]
        command: ProductCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// How far each projection is, and each product that is given back, from a running Moa
    Status {
        /// As JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// End with 1 when an operator is needed, and say for what
        #[arg(long)]
        check: bool,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Read models: their lag; rebuild one, switch to it and back, pause it
    Projection {
        /// What to do with them.
        #[command(subcommand)]
        command: ProjectionCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Parked deliveries (dead letters): their contents do not match the log
    Parked {
        /// What to do with them.
        #[command(subcommand)]
        command: ParkedCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Let writes continue after the database lost events, or after its clock jumped: docs/operating.md says what to check first
    Restore {
        /// What is agreed to.
        #[command(flatten)]
        agreed: RestoreSettings,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Send history again, to a queue of a consumer outside Moa
    Replay(ReplaySettings),
    /// History: ask it, see it as it stood, prove it
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: AuditCommand,
        /// Which Moa.
        #[command(flatten)]
        auditor: AuditorSettings,
    },
    /// Backups of the database, checked before they are needed: docs/backup.md
    Backup {
        /// What to do with them.
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Tokens of operators and auditors
    Token {
        /// What to do with them.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Ask a running service whether it is ready; for containers
    Healthcheck {
        /// Its ops port, or the admin listener; https://NAME:PORT where that speaks TLS
        #[arg(env = "MOA_OPS_LISTEN", default_value = DEFAULT_OPS_LISTEN)]
        address: HealthAddress,
    },
}

impl Command {
    /// Whether it opens a database itself.
    pub fn uses_database(&self) -> bool {
        let is_verify = |command: &AuditCommand| matches!(command, AuditCommand::Verify(_));
        match self {
            Self::Serve(_) | Self::Migrate(_) | Self::Replay(_) | Self::Backup { .. } => true,
            Self::Audit { command, .. } => is_verify(command),
            Self::Product { .. } | Self::Status { .. } | Self::Projection { .. } | Self::Parked { .. } => false,
            Self::Restore { .. } | Self::Token { .. } | Self::Healthcheck { .. } => false,
        }
    }
}

/// The default address of a service's ops port.
const DEFAULT_OPS_LISTEN: &str = "127.0.0.1:8090";

/// The connection of the operator's commands to a running Moa.
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

/// Commands on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it once with its line for the file of tokens
    New {
        /// Whose it is: 1 to 64 of A-Z a-z 0-9 . _ -; it is kept for ever with all that its bearer does
        name: String,
        /// What it may do: operator or auditor
        #[arg(long)]
        role: edge::Role,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Commands on products.
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
        /// The least amount of one invest, in whole won
        #[arg(long, value_name = "WON")]
        min_invest: Option<i64>,
        /// What every amount must be a multiple of, in whole won
        #[arg(long, value_name = "WON")]
        unit: Option<i64>,
        /// The most that one user may have of it, in whole won
        #[arg(long, value_name = "WON")]
        max_per_user: Option<i64>,
        /// What must be taken when the window ends, in whole won; else every invest is given back
        #[arg(long, value_name = "WON")]
        target: Option<i64>,
        /// Until when an invest can be withdrawn, at most when it takes no more; without it none can
        #[arg(long, value_name = "TIME")]
        withdrawable_until: Option<String>,
    },
    /// Close a product: it takes no more invests; what is reserved still gets its fate
    Close {
        /// Its id
        product_id: i64,
    },
    /// Cancel a product for good: it takes no more invests, and every invest is given back
    Cancel {
        /// Its id
        product_id: i64,
        /// Why, for its investors: 1 to 500 characters without personal data
        #[arg(long)]
        reason: String,
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

/// What an operator agrees to.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RestoreSettings {
    /// What followed the log's present ends is lost: write on from there
    #[arg(long)]
    pub accept_loss: bool,
    /// The database's clock is right as it is now
    #[arg(long)]
    pub accept_clock: bool,
}

/// Commands on read models.
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// The lag of each, and its standby generations
    List {
        /// As JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Rebuild one from the log as a standby, compare it with the live one, and switch
    Rebuild {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
        /// Leave it ready; `moa projection switch` switches
        #[arg(long)]
        no_switch: bool,
        /// Switch even when it differs from the live one
        #[arg(long)]
        accept_differences: bool,
        /// Ask for it and do not wait for its end
        #[arg(long)]
        detach: bool,
        /// How the job runs and shows.
        #[command(flatten)]
        job: JobSettings,
    },
    /// Switch to the standby that is ready
    Switch {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
        /// Even to one that differs from the live one
        #[arg(long)]
        accept_differences: bool,
    },
    /// Switch back to the generation that was live before
    Rollback {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
    /// Pause the live one
    Pause {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
    /// Resume it
    Resume {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
    /// A dry run: rebuild from the whole log, compare with the live one, and drop the result
    Diff {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
        /// How the job runs and shows.
        #[command(flatten)]
        job: JobSettings,
    },
    /// Cancel its job and drop every standby generation
    Drop {
        /// Its name
        #[arg(value_parser = projection)]
        name: String,
    },
}

/// How a job runs and shows.
#[derive(Clone, Debug, Args)]
pub struct JobSettings {
    /// Fold at most so many events a second [default: as many as it can]
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(i32).range(1..))]
    pub max_rate: Option<i32>,
    /// The job as one JSON object a line, the last being the finished job
    #[arg(long)]
    pub json: bool,
}

/// Commands on parked deliveries.
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

/// A name that can stand in a path.
fn projection(name: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.bytes().all(plain) { Ok(name.into()) } else { Err("must be of a-z, 0-9 and _") }
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
