//! The settings of `moa audit`.

use crate::audit::{
    AccessSettings, ActsSettings, CheckSettings, EventsSettings, ExportSettings, InvestLogSettings,
    InvestSettings, KeySettings, ProductSettings, ProductsSettings, ProveSettings,
    RefusalsSettings, SealsSettings, UserSettings, VerifySettings,
};
use crate::secret::Secret;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What auditors do.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Events by any filter, forward or backward
    Events(EventsSettings),
    /// The log, or what a filter leaves of it, as a file; a whole one can be verified without Moa
    Export(ExportSettings),
    /// A product as it stood at a time or sequence
    Product(ProductSettings),
    /// The product list as it stood
    Products(ProductsSettings),
    /// A user's holdings as they stood
    Holdings(UserSettings),
    /// A user's invest log as it stood
    InvestLog(InvestLogSettings),
    /// A user's summary as it stood
    Summary(UserSettings),
    /// The timeline of one invest: request, reservation, payment, fate, and which consumers applied it
    Invest(InvestSettings),
    /// Requests that were refused
    Refusals(RefusalsSettings),
    /// Check that the log, and the record of operators' acts, is complete and unchanged: the live one, or an export
    Verify(VerifySettings),
    /// A proof that one invest is in the sealed log, for a reader who does not have the log
    Prove(ProveSettings),
    /// Check such a proof, without Moa
    Check(CheckSettings),
    /// The seals of the log
    Seals(SealsSettings),
    /// Make a key to seal with
    Key(KeySettings),
    /// What operators did: who, when, and what came of it
    Acts(ActsSettings),
    /// Who read the audit
    Access(AccessSettings),
}

/// How the auditor's commands reach a running Moa.
#[derive(Clone, Debug, Args)]
pub struct AuditorSettings {
    /// The admin listener of the running Moa
    #[arg(
        long,
        global = true,
        env = "MOA_ADMIN_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    pub admin_url: String,
    /// The auditor's bearer token
    #[arg(long, global = true, env = "MOA_AUDITOR_TOKEN", hide_env_values = true)]
    pub auditor_token: Option<Secret>,
    /// A file that holds the auditor's token
    #[arg(
        long,
        global = true,
        env = "MOA_AUDITOR_TOKEN_FILE",
        conflicts_with = "auditor_token"
    )]
    pub auditor_token_file: Option<PathBuf>,
    /// The operator's token, which does as well; without any, the one that Moa left in its data folder
    #[arg(
        long,
        global = true,
        env = "MOA_OPERATOR_TOKEN",
        hide_env_values = true
    )]
    pub operator_token: Option<Secret>,
    /// A file that holds the operator's token
    #[arg(
        long,
        global = true,
        env = "MOA_OPERATOR_TOKEN_FILE",
        conflicts_with = "operator_token"
    )]
    pub operator_token_file: Option<PathBuf>,
    /// The data folder of the running Moa
    #[arg(long, global = true, env = "MOA_DATA_DIR", default_value_os_t = crate::postgres::default_data_dir())]
    pub data_dir: PathBuf,
}
