//! `moa audit refusals`.

use super::client::Client;
use crate::output::print_line;
use crate::settings::ListOutput;
use crate::table::{self, column, rows, text, wide};
use clap::{Args, ValueEnum};
use serde_json::Value;

/// Which refusals.
#[derive(Clone, Debug, Args)]
pub struct RefusalsSettings {
    /// Of this product
    #[arg(long)]
    product: Option<i64>,
    /// Of this user
    #[arg(long)]
    user: Option<String>,
    /// Refused with this code: SOLD_OUT, NOT_STARTED, FINISHED, CLOSED, NOT_EXIST_PRODUCT, BELOW_MINIMUM, NOT_A_MULTIPLE
    /// or LIMIT_EXCEEDED
    #[arg(long)]
    code: Option<String>,
    /// From this time on, e.g. 2026-01-01T10:00:00
    #[arg(long)]
    from: Option<String>,
    /// Up to, not at, this time
    #[arg(long)]
    to: Option<String>,
    /// The earliest first, or the latest
    #[arg(long, default_value = "asc")]
    order: Order,
    /// How many at most, 1 to 1000
    #[arg(long, default_value_t = 100)]
    limit: i64,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    output: ListOutput,
}

/// Which come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The earliest.
    Asc,
    /// The latest.
    Desc,
}

pub(super) async fn run(settings: RefusalsSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let data = client
        .get("/admin/audit/refusal", &query(&settings))
        .await?;
    let columns = [
        column("REFUSED AT", "refusedAt"),
        column("USER", "userId"),
        column("PRODUCT", "productId"),
        column("AMOUNT", "amount"),
        column("CODE", "code"),
        wide("REMAINED", "remaining"),
        wide("PARTITION", "partition"),
        wide("AFTER POSITION", "head"),
        wide("PLACE", "place"),
        wide("INVEST", "investId"),
    ];
    table::print_list(&columns, &data, settings.output, print_rest)
}

fn query(settings: &RefusalsSettings) -> Vec<(&'static str, String)> {
    let order = match settings.order {
        Order::Asc => "asc",
        Order::Desc => "desc",
    };
    let given = [
        ("productId", settings.product.map(|id| id.to_string())),
        ("userId", settings.user.clone()),
        ("code", settings.code.clone()),
        ("from", settings.from.clone()),
        ("to", settings.to.clone()),
        ("cursor", settings.cursor.clone()),
        ("limit", Some(settings.limit.to_string())),
        ("order", Some(order.to_owned())),
    ];
    given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn print_rest(data: &Value) {
    for dropped in rows(&data["dropped"]) {
        print_line!(
            "{} more were not written down ({}) between {} and {}",
            text(&dropped["count"]),
            text(&dropped["reason"]),
            text(&dropped["from"]),
            text(&dropped["to"])
        );
    }
    print_line!("Refusals are kept for {} days.", text(&data["keptDays"]));
    table::print_cursor(data);
}
