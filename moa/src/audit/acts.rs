//! `moa audit acts`.

use super::client::Client;
use super::page_settings::PageSettings;
use crate::operator::{print_json, rows, table, text};
use crate::output::print_line;
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
    let query = settings.page.query([("actor", settings.actor), ("act", settings.act)]);
    let data = client.get(PATH, &query).await?;
    if settings.page.json {
        return print_json(&data);
    }
    print(&data);
    Ok(())
}

fn print(data: &Value) {
    let heads = ["NUMBER", "AT", "ACTOR", "ACT", "SUBJECT", "OUTCOME"];
    let columns = ["number", "at", "actor", "act", "subject", "outcome"];
    let list = rows(&data["list"]).iter().map(row).collect();
    print_line!("{}", table(&heads, &columns, &list));
    if let Some(cursor) = data["nextCursor"].as_str() {
        print_line!("There is more: --cursor {cursor}");
    }
}

/// An act with its time in seconds, and with the product's id where it made one.
fn row(act: &Value) -> Value {
    let mut row = act.clone();
    row["at"] = text(&act["at"]).chars().take(TIME_CHARS).collect::<String>().into();
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_has_eighty_characters() {
        let act = json!({
            "number": 1234, "at": "2026-11-22T18:00:00.115211", "actor": "annabel", "act": "CANCEL_PRODUCT",
            "subject": "product 123", "outcome": "REFUSED",
        });
        let (heads, columns) = (
            ["NUMBER", "AT", "ACTOR", "ACT", "SUBJECT", "OUTCOME"],
            ["number", "at", "actor", "act", "subject", "outcome"],
        );
        let table = table(&heads, &columns, &json!([row(&act)]));
        let widest = table.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(widest <= 82, "{widest}\n{table}");
    }
}
