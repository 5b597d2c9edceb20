//! `moa audit refusals`.

use super::client::Client;
use crate::operator::{print_json, rows, table, text};
use crate::output::print_line;
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
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
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
    let data = client.get("/admin/audit/refusal", &query(&settings)).await?;
    if settings.json {
        print_json(&data)?
    } else {
        print(&data)
    }
    Ok(())
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
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn print(data: &Value) {
    let heads = [
        "REFUSED AT",
        "USER",
        "PRODUCT",
        "AMOUNT",
        "CODE",
        "REMAINED",
        "PARTITION",
        "AFTER POSITION",
        "PLACE",
        "INVEST",
    ];
    let columns =
        ["refusedAt", "userId", "productId", "amount", "code", "remaining", "partition", "head", "place", "investId"];
    print_line!("{}", table(&heads, &columns, &data["list"]));
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
    if let Some(cursor) = data["nextCursor"].as_str() {
        print_line!("There are more: --cursor {cursor}");
    }
}
