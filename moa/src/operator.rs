//! The operator's commands: they ask a running Moa through its admin listener, and print what it says.

mod health;
mod job_view;
mod projection;
mod refusal;

pub use health::healthcheck;
pub use projection::projection;
pub(crate) use refusal::{Refusal, data};

use crate::output::{print_json, print_line, print_note};
use crate::secret::Secret;
use crate::settings::{
    AdminSettings, ListOutput, ListPage, ParkedCommand, ProductCommand, RestoreSettings,
};
use crate::table::{self, column, rows, text, wide};
use crate::token;
use crate::trust;
use anyhow::Context;
use broker::RELAY;
use indicatif::FormattedDuration;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;

/// A consumer that is further behind needs a look.
const MAX_LAG_SECONDS: f64 = 60.0;
/// Characters of the bar that shows how far a product is given back.
const MASS_REFUND_BAR_CHARS: i64 = 30;

/// How long an answer is waited for: longer than the admin listener takes at most.
const ADMIN_HTTP_TIMEOUT: Duration = Duration::from_secs(15);

/// `moa product open|close|cancel|list`.
pub async fn product(command: ProductCommand, admin: &AdminSettings) -> anyhow::Result<()> {
    match command {
        ProductCommand::Open {
            title,
            total,
            starts,
            finishes,
            min_invest,
            unit,
            max_per_user,
            target,
            withdrawable_until,
        } => {
            let body = json!({
                "title": title, "totalInvestingAmount": total, "startedAt": starts, "finishedAt": finishes,
                "minInvestAmount": min_invest, "investAmountUnit": unit, "maxAmountPerUser": max_per_user,
                "targetAmount": target, "withdrawableUntil": withdrawable_until,
            });
            let data = ask(admin, Method::POST, "/admin/product", Some(&body)).await?;
            print_line!("Opened product {}.", text(&data["productId"]));
        }
        ProductCommand::Close { product_id } => {
            ask(
                admin,
                Method::POST,
                &format!("/admin/product/{product_id}/close"),
                None,
            )
            .await?;
            print_line!("Closed product {product_id}.");
        }
        ProductCommand::Cancel { product_id, reason } => {
            let path = format!("/admin/product/{product_id}/cancel");
            ask(
                admin,
                Method::POST,
                &path,
                Some(&json!({ "reason": reason })),
            )
            .await?;
            print_line!(
                "Cancelled product {product_id}: every invest is given back; `moa status` shows how far that is."
            );
        }
        ProductCommand::List {
            page: ListPage { page, size },
            output,
        } => {
            let data = ask(
                admin,
                Method::GET,
                &format!("/admin/product?page={page}&size={size}"),
                None,
            )
            .await?;
            print_products(&data, output)?;
        }
    }
    Ok(())
}

/// `moa status`.
///
/// With `check` an error when an operator is needed; what for is printed, a line each.
pub async fn status(output: ListOutput, check: bool, admin: &AdminSettings) -> anyhow::Result<()> {
    if !check {
        return print_status(output, admin).await.map(drop);
    }
    // First: why Moa is not ready is also why it cannot answer what follows.
    let unready = health::unready(&admin.admin_url).await?;
    let mut all: Vec<_> = unready
        .into_iter()
        .map(|said| format!("{said}: see MoaNotReady in docs/runbook.md"))
        .collect();
    match checked(output, admin).await {
        Ok(needs) => all.extend(needs),
        Err(error) => all.push(format!("the rest cannot be read now: {error:#}")),
    }
    all.iter().for_each(|need| print_note!("{need}"));
    anyhow::ensure!(all.is_empty(), "an operator is needed");
    Ok(())
}

async fn checked(output: ListOutput, admin: &AdminSettings) -> anyhow::Result<Vec<String>> {
    let projections = print_status(output, admin).await?;
    let parked = ask(admin, Method::GET, "/admin/parked?size=1", None).await?;
    Ok(needs(
        &projections,
        parked["totalCount"].as_i64().unwrap_or_default(),
    ))
}

/// Prints how far everything is; returns the projections.
async fn print_status(output: ListOutput, admin: &AdminSettings) -> anyhow::Result<Value> {
    let data = ask(admin, Method::GET, "/admin/projection", None).await?;
    let refunds = ask(admin, Method::GET, "/admin/mass-refund", None).await?;
    if output.json {
        let all = json!({ "totalCount": data["totalCount"], "list": data["list"], "massRefunds": refunds["list"] });
        print_json(&all)?;
    } else {
        print_projections(&data, output);
        rows(&refunds["list"]).iter().for_each(print_mass_refund);
    }
    Ok(data)
}

/// What an operator is needed for, with what to do; what a pause or a rebuild explains is none of it.
pub(crate) fn needs(projections: &Value, parked: i64) -> Vec<String> {
    let need = |row: &Value| {
        let (name, state, lag) = (
            text(&row["name"]),
            text(&row["state"]),
            row["lagSeconds"].as_f64().unwrap_or_default(),
        );
        match state.as_str() {
            "STUCK" => Some(format!(
                "{name} is stuck: see MoaConsumerFailing in docs/runbook.md"
            )),
            "AWAY" => Some(format!(
                "{name}: Redis does not answer: start it; until then reads come from PostgreSQL"
            )),
            "OTHER_VERSION" => Some(format!(
                "{name} was built by another version of the code: moa projection rebuild {name} --accept-differences"
            )),
            "RUNNING" if lag > MAX_LAG_SECONDS => {
                let alarm = if name == RELAY {
                    "MoaNothingPublished"
                } else {
                    "MoaConsumerBehind"
                };
                Some(format!(
                    "{name} is {lag:.0} s behind: see {alarm} in docs/runbook.md"
                ))
            }
            _ => None,
        }
    };
    let mut needs: Vec<_> = rows(&projections["list"]).iter().filter_map(need).collect();
    if parked > 0 {
        needs.push(format!(
            "{parked} deliveries are parked: moa parked list, then moa parked drop"
        ));
    }
    needs
}

/// `moa restore --accept-loss|--accept-clock`.
pub async fn restore(agreed: RestoreSettings, admin: &AdminSettings) -> anyhow::Result<()> {
    let what = if agreed.accept_loss { "LOSS" } else { "CLOCK" };
    let data = ask(
        admin,
        Method::POST,
        "/admin/restore",
        Some(&json!({"accept": what})),
    )
    .await?;
    let heads = text(&data["heads"]);
    match agreed.accept_loss {
        true => print_line!(
            "Agreed: writes go on behind the positions {heads}, and what followed them is lost."
        ),
        false => print_line!("Agreed: the database's clock is right as it is now."),
    }
    Ok(())
}

/// `moa parked list|show|drop`.
pub async fn parked(command: ParkedCommand, admin: &AdminSettings) -> anyhow::Result<()> {
    match command {
        ParkedCommand::List { limit, output } => {
            let data = ask(
                admin,
                Method::GET,
                &format!("/admin/parked?size={limit}"),
                None,
            )
            .await?;
            print_parked(&data, output)?;
        }
        ParkedCommand::Show { id } => {
            print_json(&ask(admin, Method::GET, &format!("/admin/parked/{id}"), None).await?)?;
        }
        ParkedCommand::Drop { id, .. } => {
            let which = id.map(|id| format!("/{id}")).unwrap_or_default();
            let data = ask(
                admin,
                Method::POST,
                &format!("/admin/parked{which}/drop"),
                None,
            )
            .await?;
            print_line!("Dropped {}.", text(&data["dropped"]));
        }
    }
    Ok(())
}

/// The `data` of a successful answer; of any other, a [`Refusal`].
async fn ask(
    admin: &AdminSettings,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let token = token(admin)?;
    let url = format!("{}{path}", admin.admin_url.trim_end_matches('/'));
    let client = trust::http_client().timeout(ADMIN_HTTP_TIMEOUT).build()?;
    let request = client.request(method, &url).bearer_auth(token.reveal());
    data(send(body.into_iter().fold(request, RequestBuilder::json), admin).await?)
}

async fn send(request: RequestBuilder, admin: &AdminSettings) -> anyhow::Result<Value> {
    let response = request
        .send()
        .await
        .map_err(|error| unreachable(&admin.admin_url, error))?;
    response
        .json()
        .await
        .with_context(|| not_moa(&admin.admin_url))
}

/// No answer came from the admin listener at `url`.
pub(crate) fn unreachable(url: &str, error: reqwest::Error) -> anyhow::Error {
    if error.is_builder() {
        return anyhow::anyhow!(
            "--admin-url must be a URL such as http://127.0.0.1:8082, not {url}"
        );
    }
    let why = trust::explained(error);
    anyhow::anyhow!("cannot reach Moa at {url} ({why}): is it running, and --admin-url right?")
}

/// What answers at `url` speaks HTTP, and nothing of Moa's.
pub(crate) fn not_moa(url: &str) -> String {
    format!("what answers at {url} is not Moa's admin listener: set --admin-url to that one")
}

fn token(admin: &AdminSettings) -> anyhow::Result<Secret> {
    let set = (
        admin.operator_token.as_ref(),
        admin.operator_token_file.as_deref(),
    );
    let token = token::configured("MOA_OPERATOR_TOKEN", set.0, set.1)?;
    let token = match token {
        Some(token) => Some(token),
        None => token::find(&admin.data_dir)?,
    };
    token.context("no token: set MOA_OPERATOR_TOKEN to the one that Moa printed, or --data-dir to its data folder")
}

fn print_products(data: &Value, output: ListOutput) -> anyhow::Result<()> {
    let columns = [
        column("ID", "productId"),
        column("TITLE", "title"),
        column("STATE", "state"),
        column("TAKEN", "currentInvestingAmount"),
        column("TOTAL", "totalInvestingAmount"),
        wide("USERS", "investingCnt"),
        column("STARTS", "startedAt"),
        wide("FINISHES", "finishedAt"),
    ];
    table::print_list(&columns, data, output, |data| {
        print_line!("{} products", text(&data["totalCount"]))
    })
}

fn print_parked(data: &Value, output: ListOutput) -> anyhow::Result<()> {
    let columns = [
        column("ID", "id"),
        column("PARKED AT", "parkedAt"),
        wide("QUEUE", "queue"),
        wide("BYTES", "bytes"),
        column("REASON", "reason"),
    ];
    table::print_list(&columns, data, output, |data| {
        print_line!("{} parked", text(&data["totalCount"]))
    })
}

fn print_projections(data: &Value, output: ListOutput) {
    let columns = [
        column("PROJECTION", "name"),
        column("GENERATION", "generation"),
        wide("VERSION", "version"),
        column("STATE", "state"),
        column("LAG (EVENTS)", "lagEvents"),
        column("LAG (SECONDS)", "lagSeconds"),
        wide("POSITIONS", "positions"),
        wide("HEAD", "head"),
    ];
    table::print(&columns, &data["list"], output);
    for projection in rows(&data["list"]) {
        for stuck in rows(&projection["stuck"]) {
            print_line!(
                "{} is stuck at partition {} position {}: {}",
                text(&projection["name"]),
                text(&stuck["partition"]),
                text(&stuck["position"]),
                text(&stuck["reason"])
            );
        }
    }
}

fn print_mass_refund(refund: &Value) {
    let done = refund["readPercent"]
        .as_i64()
        .unwrap_or_default()
        .clamp(0, 100);
    let bar: String = (0..MASS_REFUND_BAR_CHARS)
        .map(|at| {
            if at * 100 < done * MASS_REFUND_BAR_CHARS {
                '='
            } else {
                ' '
            }
        })
        .collect();
    let left = refund["secondsLeft"].as_u64().map(Duration::from_secs);
    let left = left
        .map(|left| format!(", {} left", FormattedDuration(left)))
        .unwrap_or_default();
    print_line!(
        "Product {} is given back: [{bar}] {done} %{left}; refunds that wait: {}, open reservations: {}",
        text(&refund["productId"]),
        text(&refund["queuedRefunds"]),
        text(&refund["openReservations"])
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_an_operator_is_said_with_what_to_do() {
        let row = |name: &str, state: &str, lag: f64| json!({"name": name, "state": state, "lagSeconds": lag});
        let list = |rows: &[Value]| json!({ "list": rows });
        let quiet = [
            row("holdings", "RUNNING", 60.0),
            row("invest_log", "PAUSED", 900.0),
            row("holdings", "BUILDING", 900.0),
        ];
        assert_eq!(needs(&list(&quiet), 0), [""; 0]);
        let states = [
            row("holdings", "STUCK", 0.0),
            row("counters", "AWAY", 0.0),
            row("relay", "RUNNING", 61.0),
        ];
        let needs = needs(&list(&states), 2);
        let begins = [
            "holdings is stuck: see",
            "counters: Redis",
            "relay is 61 s behind: see MoaNothingPublished",
            "2 deliveries are parked: moa",
        ];
        assert!(
            needs
                .iter()
                .zip(begins)
                .all(|(need, begin)| need.starts_with(begin)),
            "{needs:#?}"
        );
        assert_eq!(needs.len(), begins.len());
    }
}
