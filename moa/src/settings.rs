//! Every setting, as a flag and as an environment variable; one that is empty is not set. docs/settings.md has the same table.

mod admin;
mod audit;
mod auditor;
mod backup;
mod callers;
mod doctor;
mod examples;
mod groups;
mod health;
mod help;
mod operator;
mod raw;
mod replay;
mod serve;
mod tls;
mod traces;

pub use admin::*;
pub use audit::*;
pub use auditor::*;
pub use backup::*;
pub use callers::*;
pub use doctor::*;
pub use groups::*;
pub use health::*;
pub use help::command;
pub use operator::*;
pub use raw::read;
pub(crate) use raw::{as_given, given, sources};
pub use replay::*;
pub use serve::*;
pub use tls::*;
pub use traces::*;

use clap::{Parser, Subcommand};
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
    /// Run everything in one process, or one service alone
    Serve(Box<Serve>),
    /// Bring the database's schema and its roles' rights up to date
    Migrate(MigrateSettings),
    /// Open, close, cancel or list products
    Product {
        /// What to do with products.
        #[command(subcommand)]
        command: ProductCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// How far each projection is, and each product that is given back
    Status {
        /// How it is shown.
        #[command(flatten)]
        output: ListOutput,
        /// End with 1 when an operator is needed, and say for what
        #[arg(long)]
        check: bool,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// List, rebuild, switch, roll back or pause read models
    Projection {
        /// What to do with them.
        #[command(subcommand)]
        command: ProjectionCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// List, show or drop parked deliveries (dead letters)
    Parked {
        /// What to do with them.
        #[command(subcommand)]
        command: ParkedCommand,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Let writes continue after a loss of events or a jump of the clock
    Restore {
        /// What is agreed to.
        #[command(flatten)]
        agreed: RestoreSettings,
        /// Which Moa.
        #[command(flatten)]
        admin: AdminSettings,
    },
    /// Send history again to a consumer outside Moa
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
    /// Check a backup of the database before it is needed
    Backup {
        /// What to do with them.
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Check the settings of a service, and connect to nothing
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check the servers and files that a service depends on
    Doctor(DoctorSettings),
    /// Make tokens of operators and auditors
    Token {
        /// What to do with them.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Print completions for a shell
    Completions {
        /// Which one.
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages into a folder
    Man {
        /// The folder; it is made if it is not there.
        folder: PathBuf,
    },
    /// Whether the service on this machine is ready
    Healthcheck(HealthcheckSettings),
}

/// Commands on the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the settings as `moa serve` would, with the same flags and environment: print what was given, and the first error
    Check(Box<Serve>),
}

impl Command {
    /// Whether it opens a database itself.
    pub fn uses_database(&self) -> bool {
        let is_verify = |command: &AuditCommand| matches!(command, AuditCommand::Verify(_));
        match self {
            Self::Serve(_)
            | Self::Migrate(_)
            | Self::Replay(_)
            | Self::Backup { .. }
            | Self::Doctor(_) => true,
            Self::Audit { command, .. } => is_verify(command),
            Self::Product { .. }
            | Self::Status { .. }
            | Self::Projection { .. }
            | Self::Parked { .. } => false,
            Self::Restore { .. } | Self::Token { .. } | Self::Healthcheck(_) => false,
            Self::Completions { .. } | Self::Man { .. } | Self::Config { .. } => false,
        }
    }
}

/// Variables of the environment that begin like ours and are none: most likely misspelt.
pub fn unknown_variables() -> Vec<String> {
    let known = variables(&command());
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    set.filter(|name| name.starts_with("MOA_") && !known.contains(name))
        .collect()
}

fn variables(command: &clap::Command) -> HashSet<String> {
    let own = command
        .get_arguments()
        .filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(variables))
        .collect()
}
