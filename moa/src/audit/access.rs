//! `moa audit access`.

use super::client::Client;
use crate::operator::{print_json, table};
use crate::output::print_line;
use clap::Args;
use serde_json::Value;

const PATH: &str = "/admin/audit/access";

/// Which readings of the audit.
#[derive(Clone, Debug, Args)]
pub struct AccessSettings {
    /// From this time on, e.g. 2026-01-01T10:00:00
    #[arg(long, value_name = "TIME_CHARS")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME_CHARS")]
    to: Option<String>,
    /// How many, 1 to 1000
    #[arg(long, default_value_t = 20)]
    limit: i64,
    /// Where an answer before ended
    #[arg(long)]
    cursor: Option<String>,
    /// As JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: AccessSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let limit = settings.limit.to_string();
    let given = [("from", settings.from), ("to", settings.to), ("cursor", settings.cursor), ("limit", Some(limit))];
    let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let data = client.get(PATH, &query).await?;
    if settings.json {
        return print_json(&data);
    }
    print(&data);
    Ok(())
}

fn print(data: &Value) {
    let heads = ["AT", "AS", "NAME", "LOGIN", "FROM", "METHOD", "WHAT", "CORRELATION ID"];
    let columns = ["at", "reader", "actor", "login", "peer", "method", "path", "correlationId"];
    print_line!("{}", table(&heads, &columns, &data["list"]));
    if let Some(cursor) = data["nextCursor"].as_str() {
        print_line!("There is more: --cursor {cursor}");
    }
}
