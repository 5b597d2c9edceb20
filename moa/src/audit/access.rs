//! `moa audit access`.

use super::client::Client;
use super::page_settings::PageSettings;
use crate::operator::{print_json, table};
use crate::output::print_line;
use clap::Args;
use serde_json::Value;

const PATH: &str = "/admin/audit/access";

/// Which readings of the audit.
#[derive(Clone, Debug, Args)]
pub struct AccessSettings {
    #[command(flatten)]
    page: PageSettings,
}

pub(super) async fn run(settings: AccessSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let query = settings.page.query([]);
    let data = client.get(PATH, &query).await?;
    if settings.page.json {
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
