//! `moa audit acts`.

use super::client::Client;
use super::page_settings::PageSettings;
use crate::output::print_json;
use crate::table::{self, column, rows, text};
use clap::Args;
use event_log::acts::ACTS;
use serde_json::Value;

const PATH: &str = "/admin/audit/act";
/// Characters of a time without the fraction of its second: a row has 80 characters.
const TIME_CHARS: usize = "2026-01-01T10:00:00".len();

/// Which acts.
#[derive(Clone, Debug, Args)]
pub struct ActsSettings {
    /// By the token of this name
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this, e.g. SWITCH
    #[arg(long, value_name = "ACT", value_parser = ACTS)]
    act: Option<String>,
    #[command(flatten)]
    page: PageSettings,
}

pub(super) async fn run(settings: ActsSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let query = settings
        .page
        .query([("actor", settings.actor), ("act", settings.act)]);
    let data = client.get(PATH, &query).await?;
    if settings.page.output.json {
        return print_json(&data);
    }
    let columns = [
        column("NUMBER", "number"),
        column("AT", "at"),
        column("ACTOR", "actor"),
        column("ACT", "act"),
        column("SUBJECT", "subject"),
        column("OUTCOME", "outcome"),
    ];
    let list = rows(&data["list"]).iter().map(row).collect();
    table::print(&columns, &list, settings.page.output);
    table::print_cursor(&data);
    Ok(())
}

/// An act with its time in seconds, and with the product's id where it made one.
fn row(act: &Value) -> Value {
    let mut row = act.clone();
    row["at"] = text(&act["at"])
        .chars()
        .take(TIME_CHARS)
        .collect::<String>()
        .into();
    row
}
