//! `moa audit events`.

use super::client::Client;
use crate::output::StandardOutput;
use crate::settings::ListOutput;
use crate::table::{self, Column, column, fitted, text, wide};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::io::Write as _;

const PATH: &str = "/admin/audit/event";
/// An invest's id in what happened stays whole on a terminal: its product stands there, too.
const COLUMNS: [Column; 9] = [
    column("RECORDED AT", "recordedAt"),
    wide("PARTITION", "partition"),
    wide("POSITION", "position"),
    wide("PRODUCT", "productId"),
    wide("SEQUENCE", "sequence"),
    column("TYPE", "type"),
    wide("WHAT", "what"),
    fitted("WHAT", "ofProduct"),
    wide("CORRELATION", "correlationId"),
];
/// Events of a table when nothing is said.
const DEFAULT_EVENTS_PER_PAGE: usize = 100;
/// The most events that one answer has.
const MAX_EVENTS_PER_PAGE: usize = 1_000;

/// Which events.
#[derive(Clone, Debug, Args)]
pub struct EventFilter {
    /// What happened to this product
    #[arg(long, value_name = "ID")]
    pub product: Option<i64>,
    /// What this user's invests did
    #[arg(long)]
    pub user: Option<String>,
    /// What this invest did
    #[arg(long, value_name = "ID")]
    pub invest: Option<String>,
    /// Events of this type, e.g. InvestFailed
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// What goes back to the request with this correlation id
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// From this time on, e.g. 2026-01-01T10:00:00, or from this position on in each partition
    #[arg(long, value_name = "TIME|POSITION")]
    pub from: Option<String>,
    /// Up to, not at, this time; or up to and with this position in each partition
    #[arg(long, value_name = "TIME|POSITION")]
    pub to: Option<String>,
    /// Of this partition
    #[arg(long)]
    pub partition: Option<i32>,
}

impl EventFilter {
    /// As query parameters.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("productId", self.product.map(|id| id.to_string())),
            ("userId", self.user.clone()),
            ("investId", self.invest.clone()),
            ("type", self.event_type.clone()),
            ("correlationId", self.correlation.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            (
                "partition",
                self.partition.map(|partition| partition.to_string()),
            ),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// Which events, and how they are printed.
#[derive(Clone, Debug, Args)]
pub struct EventsSettings {
    #[command(flatten)]
    filter: EventFilter,
    /// The oldest first, or the newest
    #[arg(long, default_value = "asc")]
    order: Order,
    /// How many at most [default: 100 in a table, all as ndjson or csv]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Where an answer before ended
    #[arg(long)]
    cursor: Option<String>,
    /// A table to read, or a line for each event with all of it
    #[arg(long, default_value = "table", conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    output: ListOutput,
}

/// Which come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The oldest.
    Asc,
    /// The newest.
    Desc,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// A line of JSON for each.
    Ndjson,
    /// A row for each.
    Csv,
}

pub(super) async fn run(settings: EventsSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let media_type = match settings.format {
        Format::Table => return list(&settings, client).await,
        Format::Ndjson => "application/x-ndjson",
        Format::Csv => "text/csv",
    };
    let mut query = query(&settings);
    query.extend(settings.limit.map(|limit| ("limit", limit.to_string())));
    query.extend(settings.cursor.clone().map(|cursor| ("cursor", cursor)));
    let mut answer = client.stream(PATH, &query, media_type).await?;
    let mut out = StandardOutput;
    while let Some(bytes) = answer.chunk().await? {
        out.write_all(&bytes)?;
    }
    Ok(out.flush()?)
}

/// Page after page, as many as it takes: one may have few events or none though more follow.
async fn list(settings: &EventsSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let most = settings
        .limit
        .map_or(DEFAULT_EVENTS_PER_PAGE, |limit| limit as usize);
    let (mut events, mut cursor) = (Vec::new(), settings.cursor.clone());
    loop {
        let mut query = query(settings);
        query.push((
            "limit",
            (most - events.len()).min(MAX_EVENTS_PER_PAGE).to_string(),
        ));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get(PATH, &query).await?;
        if let Some(list) = page["list"].as_array_mut() {
            events.append(list);
        }
        cursor = page["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() || events.len() >= most {
            break;
        }
    }
    let list: Vec<_> = match settings.output.json {
        true => events,
        false => events.iter().map(row).collect(),
    };
    table::print_list(
        &COLUMNS,
        &json!({"list": list, "nextCursor": cursor}),
        settings.output,
        table::print_cursor,
    )
}

fn query(settings: &EventsSettings) -> Vec<(&'static str, String)> {
    let order = match settings.order {
        Order::Asc => "asc",
        Order::Desc => "desc",
    };
    let mut query = settings.filter.query();
    query.push(("order", order.to_owned()));
    query
}

/// An event, with what happened, and which operator did it, in one cell.
fn row(event: &Value) -> Value {
    let mut row = event.clone();
    let inner = event["payload"]
        .as_object()
        .and_then(|payload| payload.values().next())
        .and_then(Value::as_object);
    let fields = inner
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} {}", text(value)));
    let what = fields.chain(
        event["metadata"]["actor"]
            .as_str()
            .map(|actor| format!("by {actor}")),
    );
    let what: Vec<_> = what.collect();
    let of_product = std::iter::once(format!("product {}", text(&event["productId"])));
    row["ofProduct"] = of_product
        .chain(what.iter().cloned())
        .collect::<Vec<_>>()
        .join(", ")
        .into();
    row["what"] = what.join(", ").into();
    row["correlationId"] = event["metadata"]["correlationId"].clone();
    row
}
