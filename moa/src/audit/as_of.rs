//! `moa audit product|products|holdings|invest-log|summary`: state at a time in the past.

use super::client::Client;
use crate::output::{print_json, print_line};
use crate::settings::{ListOutput, ListPage};
use crate::table::{self, Column, column, rows, text, wide};
use clap::Args;
use serde_json::{Value, json};

/// Which product, and when.
#[derive(Clone, Debug, Args)]
pub struct ProductSettings {
    /// The product
    #[arg(value_name = "ID")]
    product_id: i64,
    /// As it stood at this time, e.g. 2026-01-01T10:00:00; without this and --sequence, now
    #[arg(long, value_name = "TIME", conflicts_with = "sequence")]
    at: Option<String>,
    /// As it stood after this many of its events
    #[arg(long)]
    sequence: Option<i64>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// When, and which page.
#[derive(Clone, Debug, Args)]
pub struct ProductsSettings {
    #[command(flatten)]
    listed: ReadModel,
}

/// Whose, and when.
#[derive(Clone, Debug, Args)]
pub struct UserSettings {
    /// The user
    #[arg(long)]
    user: String,
    #[command(flatten)]
    listed: ReadModel,
}

/// Whose, when, and of which product.
#[derive(Clone, Debug, Args)]
pub struct InvestLogSettings {
    /// The user
    #[arg(long)]
    user: String,
    /// Only the invests in this product
    #[arg(long, value_name = "ID")]
    product: Option<i64>,
    #[command(flatten)]
    listed: ReadModel,
}

#[derive(Clone, Debug, Args)]
struct ReadModel {
    /// As it stood at this time, e.g. 2026-01-01T10:00:00
    #[arg(long, value_name = "TIME")]
    at: String,
    #[command(flatten)]
    page: ListPage,
    #[command(flatten)]
    output: ListOutput,
}

impl ReadModel {
    fn query(&self) -> Vec<(&'static str, String)> {
        let ListPage { page, size } = self.page;
        vec![
            ("at", self.at.clone()),
            ("page", page.to_string()),
            ("size", size.to_string()),
        ]
    }
}

pub(super) async fn product(settings: ProductSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let at = settings.at.map(|at| ("at", at));
    let sequence = settings
        .sequence
        .map(|sequence| ("sequence", sequence.to_string()));
    let query: Vec<_> = at.into_iter().chain(sequence).collect();
    let data = client
        .get(
            &format!("/admin/audit/product/{}", settings.product_id),
            &query,
        )
        .await?;
    if settings.json {
        print_json(&data)
    } else {
        print_product(&data)
    }
}

fn print_product(data: &Value) -> anyhow::Result<()> {
    let lines = [
        ("product", "productId"),
        ("title", "title"),
        ("state", "state"),
        ("closed", "closed"),
        ("cancelled", "cancelReason"),
        ("target missed", "targetMissed"),
        ("total", "totalInvestingAmount"),
        ("taken", "currentInvestingAmount"),
        ("  reserved", "reservedAmount"),
        ("  settled", "settledAmount"),
        ("users", "investingCnt"),
        ("open invests", "openCount"),
        ("settled invests", "settledCount"),
        ("failed invests", "failedCount"),
        ("withdrawn, owed", "withdrawnCount"),
        ("refunded invests", "refundedCount"),
        ("starts", "startedAt"),
        ("finishes", "finishedAt"),
    ];
    for (name, field) in lines {
        print_line!("{name:<18}{}", text(&data[field]));
    }
    let at = data["at"]
        .as_str()
        .map(|at| format!(" at {at}"))
        .unwrap_or_default();
    print_line!(
        "As it stood{at}: up to sequence {}, partition {} position {}, recorded at {}.",
        text(&data["sequence"]),
        text(&data["partition"]),
        text(&data["position"]),
        text(&data["recordedAt"])
    );
    Ok(())
}

pub(super) async fn products(
    settings: ProductsSettings,
    client: &Client<'_>,
) -> anyhow::Result<()> {
    let columns = [
        column("ID", "productId"),
        column("TITLE", "title"),
        column("STATUS", "investStatus"),
        column("TAKEN", "currentInvestingAmount"),
        column("TOTAL", "totalInvestingAmount"),
        wide("USERS", "investingCnt"),
        column("STARTS", "startedAt"),
        wide("FINISHES", "finishedAt"),
    ];
    let listed = settings.listed;
    list(
        client,
        "/admin/audit/product",
        &listed.query(),
        (&columns, "open products"),
        listed.output,
    )
    .await
}

pub(super) async fn holdings(settings: UserSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let columns = [
        column("PRODUCT", "productId"),
        column("TITLE", "title"),
        column("HELD", "myInvestingAmount"),
        column("TOTAL", "totalInvestingAmount"),
        column("SINCE", "investDate"),
    ];
    let mut query = settings.listed.query();
    query.push(("userId", settings.user));
    list(
        client,
        "/admin/audit/holdings",
        &query,
        (&columns, "holdings"),
        settings.listed.output,
    )
    .await
}

pub(super) async fn invest_log(
    settings: InvestLogSettings,
    client: &Client<'_>,
) -> anyhow::Result<()> {
    let columns = [
        wide("REQUESTED", "requestedAt"),
        column("INVEST", "investId"),
        column("PRODUCT", "productId"),
        column("AMOUNT", "investAmount"),
        column("STATE", "state"),
        wide("UPDATED", "updatedAt"),
        wide("REASON", "failReason"),
    ];
    let mut query = settings.listed.query();
    query.push(("userId", settings.user));
    query.extend(settings.product.map(|id| ("productId", id.to_string())));
    list(
        client,
        "/admin/audit/invest-log",
        &query,
        (&columns, "invests"),
        settings.listed.output,
    )
    .await
}

pub(super) async fn summary(settings: UserSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let columns = [
        column("USER", "userId"),
        column("PRODUCTS", "productCount"),
        column("SETTLED", "settledAmount"),
        column("RESERVED", "reservedAmount"),
        column("FAILED INVESTS", "failedCount"),
        wide("FIRST INVEST", "firstInvestDate"),
        wide("LAST INVEST", "lastInvestDate"),
    ];
    let query = [("at", settings.listed.at), ("userId", settings.user)];
    let data = client.get("/admin/audit/summary", &query).await?;
    if settings.listed.output.json {
        return print_json(&data);
    }
    table::print(&columns, &json!([data["summary"]]), settings.listed.output);
    print_line!("{}", positions_line(&data));
    Ok(())
}

async fn list(
    client: &Client<'_>,
    path: &str,
    query: &[(&str, String)],
    (columns, what): (&[Column], &str),
    output: ListOutput,
) -> anyhow::Result<()> {
    let data = client.get(path, query).await?;
    table::print_list(columns, &data, output, |data| {
        let (shown, all) = (rows(&data["list"]).len(), text(&data["totalCount"]));
        print_line!("{shown} of {all} {what}. {}", positions_line(data));
    })
}

fn positions_line(data: &Value) -> String {
    format!(
        "As it stood at {}, with the partitions at {}.",
        text(&data["at"]),
        text(&data["positions"])
    )
}
