//! `moa audit access`.

use super::client::Client;
use super::page_settings::PageSettings;
use crate::table::{self, column, wide};
use clap::Args;

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
    let columns = [
        column("AT", "at"),
        column("AS", "reader"),
        column("NAME", "actor"),
        wide("LOGIN", "login"),
        wide("FROM", "peer"),
        wide("METHOD", "method"),
        column("WHAT", "path"),
        wide("CORRELATION ID", "correlationId"),
    ];
    table::print_list(&columns, &data, settings.page.output, table::print_cursor)
}
