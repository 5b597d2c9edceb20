//! How the operator's commands reach a running Moa.

use crate::secret::Secret;
use clap::Args;
use std::path::PathBuf;

/// The connection of the operator's commands to a running Moa.
#[derive(Clone, Debug, Args)]
pub struct AdminSettings {
    /// The admin listener of the running Moa
    #[arg(
        long,
        global = true,
        env = "MOA_ADMIN_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    pub admin_url: String,
    /// The bearer token; without it, the one that Moa left in its data folder
    #[arg(
        long,
        global = true,
        env = "MOA_OPERATOR_TOKEN",
        hide_env_values = true
    )]
    pub operator_token: Option<Secret>,
    /// A file that holds the token
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
