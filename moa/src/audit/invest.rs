//! `moa audit invest`: the timeline of one invest.

mod timeline;

use super::client::Client;
use crate::output::print_json;
use clap::Args;

/// Which invest.
#[derive(Clone, Debug, Args)]
pub struct InvestSettings {
    /// The invest
    #[arg(value_name = "ID")]
    invest_id: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: InvestSettings, client: &Client<'_>) -> anyhow::Result<()> {
    // What is no uuid could be another path.
    let id: uuid::Uuid = settings.invest_id.parse().map_err(|_| {
        anyhow::anyhow!(
            "an invest id is a UUID: `moa audit events --user USER` shows those of a user"
        )
    })?;
    let data = client
        .get(&format!("/admin/audit/invest/{id}"), &[])
        .await?;
    if settings.json {
        return print_json(&data);
    }
    crate::output::write(format_args!("{}", timeline::of(&data)));
    Ok(())
}
