//! I10, in the tables: each read model is the fold of the log, row by row, with nothing left over.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

use super::fold::{Fold, Invest, Summary};
use super::{Event, Fact, Fault, Log};

/// The rows of every table of every read model, each as a line.
#[derive(Clone, Debug, Default)]
pub struct Tables(pub BTreeMap<&'static str, BTreeSet<String>>);

pub fn faults(log: &Log, tables: &Tables) -> Vec<Fault> {
    let expected = Tables::folded(log);
    let mut faults = Vec::new();
    for (table, rows) in &expected.0 {
        let found = tables.0.get(table).cloned().unwrap_or_default();
        let missing = rows
            .difference(&found)
            .map(|row| format!("{table} lacks the row {row}"));
        let too_many = found
            .difference(rows)
            .map(|row| format!("{table} has the row {row}"));
        faults.extend(missing.chain(too_many).map(|what| Fault::new("I10", what)));
    }
    faults
}

impl Tables {
    pub async fn read(pool: &PgPool) -> Self {
        let mut tables = BTreeMap::new();
        tables.insert("product_list", product_list(pool).await);
        tables.insert("invest_log", invest_log(pool).await);
        tables.insert("investor_summary", investor_summary(pool).await);
        for (table, sql) in PLAIN {
            let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
            tables.insert(table, rows.into_iter().collect());
        }
        tables.insert("holdings", holdings(pool).await);
        Self(tables)
    }

    fn folded(log: &Log) -> Self {
        let fold = Fold::of(&log.events);
        let products = fold.products.iter();
        let taken = fold.shares.iter().filter(|(_, share)| share.taken > 0);
        let mut counts: BTreeMap<(&str, i64), i64> = BTreeMap::new();
        for (user, product) in fold.holdings.keys() {
            *counts
                .entry((user, product % i64::from(log.partitions)))
                .or_default() += 1;
        }
        let open = fold
            .invests
            .iter()
            .filter(|(_, invest)| matches!(invest.state, "RESERVED" | "WITHDRAWN"));
        let tables = [
            ("product_list", product_rows(&fold)),
            (
                "product_list_user",
                taken
                    .map(|((user, id), share)| format!("{id} {user} {}", share.taken))
                    .collect(),
            ),
            ("holdings", holding_rows(&fold)),
            (
                "holdings_product",
                products
                    .clone()
                    .map(|(id, it)| format!("{id} {} {}", it.title, it.total))
                    .collect(),
            ),
            (
                "holdings_count",
                counts
                    .iter()
                    .map(|((user, at), count)| format!("{user} {at} {count}"))
                    .collect(),
            ),
            ("invest_log", invest_rows(&fold)),
            (
                "invest_log_product",
                products
                    .map(|(id, it)| format!("{id} {} {}", it.title, it.taken))
                    .collect(),
            ),
            ("invest_log_user", share_rows(&fold)),
            ("investor_summary", summary_rows(&fold)),
            ("event_index", log.events.iter().map(index_line).collect()),
            (
                "open_invest",
                open.map(|(invest, it)| {
                    format!("{invest} {} {} {}", it.product, it.user, it.amount)
                })
                .collect(),
            ),
        ];
        Self(tables.into_iter().collect())
    }
}

/// Tables without a time: PostgreSQL itself makes the lines.
const PLAIN: [(&str, &str); 7] = [
    ("product_list_user", "select format('%s %s %s', product_id, user_id, amount) from product_list_user"),
    ("holdings_product", "select format('%s %s %s', product_id, title, total_amount) from holdings_product"),
    ("holdings_count", "select format('%s %s %s', user_id, partition, holdings) from holdings_count"),
    ("invest_log_product", "select format('%s %s %s', product_id, title, accrued) from invest_log_product"),
    ("invest_log_user", "select format('%s %s %s %s', user_id, product_id, accrued, invests) from invest_log_user"),
    (
        "event_index",
        "select format('%s %s %s%s', partition, position, coalesce(rare_type, 'common'),
                       case when user_key is not null and invest_key is not null then ' of an invest' end)
           from event_index",
    ),
    ("open_invest", "select format('%s %s %s %s', invest_id, product_id, user_id, amount) from open_invest"),
];

type ProductRow = (
    i64,
    String,
    i64,
    i64,
    i64,
    DateTime<Utc>,
    DateTime<Utc>,
    String,
);
type InvestRow = (
    Uuid,
    i64,
    String,
    i64,
    String,
    Option<String>,
    i64,
    i64,
    DateTime<Utc>,
    DateTime<Utc>,
);

type SummaryRow = (
    String,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
);

fn product_line((id, title, total, taken, users, from, to, ended): ProductRow) -> String {
    format!("{id} {title}: {taken} of {total} by {users}, {from:?} to {to:?}, {ended}")
}

fn invest_line(
    (invest, product, user, amount, state, failure, of_user, of_all, from, to): InvestRow,
) -> String {
    format!(
        "{invest}: {user} {amount} of {product} {state} {failure:?}, accrued {of_user} {of_all}, {from:?} to {to:?}"
    )
}

fn holding_line((user, product, amount, since): (String, i64, i64, DateTime<Utc>)) -> String {
    format!("{user} {amount} of {product} since {since:?}")
}

fn index_line(event: &Event) -> String {
    let what = match event.fact {
        Fact::Opened { .. } => "ProductOpened",
        Fact::Reserved { .. } | Fact::Settled { .. } => "common of an invest",
        Fact::Failed { .. } => "InvestFailed of an invest",
        Fact::Withdrawn { .. } => "InvestWithdrawn of an invest",
        Fact::Refunded { .. } => "InvestRefunded of an invest",
        Fact::Closed => "ProductClosed",
        Fact::Cancelled { .. } => "ProductCancelled",
        Fact::Missed { .. } => "ProductFailed",
    };
    format!("{} {} {what}", event.partition, event.position)
}

fn summary_line(user: &str, product: i64, summary: &Summary) -> String {
    format!("{user} in {product}: {summary:?}")
}

async fn product_list(pool: &PgPool) -> BTreeSet<String> {
    let rows: Vec<ProductRow> = sqlx::query_as(
        "select product_id, title, total_amount, current_amount, invest_users, started_at, finished_at,
                format('closed %s, failed %s, cancelled %s', closed, failed, cancel_reason)
           from product_list",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(product_line).collect()
}

async fn holdings(pool: &PgPool) -> BTreeSet<String> {
    let rows: Vec<(String, i64, i64, DateTime<Utc>)> =
        sqlx::query_as("select user_id, product_id, amount, invest_date from holdings")
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter().map(holding_line).collect()
}

async fn invest_log(pool: &PgPool) -> BTreeSet<String> {
    let rows: Vec<InvestRow> = sqlx::query_as(
        "select invest_id, product_id, user_id, amount, state, fail_code || ' : ' || fail_detail, accrued_user,
                accrued_product, requested_at, updated_at
           from invest_log",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(invest_line).collect()
}

async fn investor_summary(pool: &PgPool) -> BTreeSet<String> {
    let rows: Vec<SummaryRow> = sqlx::query_as(
        "select user_id, product_id, products, settled_amount, reserved_amount, failed_invests, first_invest_date,
                last_invest_date
           from investor_summary",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let row = |(user, product, products, settled, reserved, failed, first, last): SummaryRow| {
        let (products, failed) = (products as usize, failed as usize);
        summary_line(
            &user,
            product,
            &Summary {
                products,
                settled,
                reserved,
                failed,
                first,
                last,
            },
        )
    };
    rows.into_iter().map(row).collect()
}

fn product_rows(fold: &Fold) -> BTreeSet<String> {
    let row = |(id, it): (&i64, &super::fold::Product)| {
        let users = fold.users_in(*id) as i64;
        let letter = |is_so: bool| if is_so { 't' } else { 'f' };
        let why = it.cancel_reason.as_deref().unwrap_or_default();
        let ended = format!(
            "closed {}, failed {}, cancelled {why}",
            letter(it.closed),
            letter(it.failed)
        );
        product_line((
            *id,
            it.title.clone(),
            it.total,
            it.taken,
            users,
            it.started_at,
            it.finished_at,
            ended,
        ))
    };
    fold.products.iter().map(row).collect()
}

fn holding_rows(fold: &Fold) -> BTreeSet<String> {
    let rows = fold.holdings.iter();
    rows.map(|((user, product), it)| holding_line((user.clone(), *product, it.amount, it.since)))
        .collect()
}

fn share_rows(fold: &Fold) -> BTreeSet<String> {
    let rows = fold.shares.iter();
    rows.map(|((user, product), it)| format!("{user} {product} {} {}", it.taken, it.invests))
        .collect()
}

fn summary_rows(fold: &Fold) -> BTreeSet<String> {
    let mut of_pairs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for invest in fold.invests.values() {
        of_pairs
            .entry((invest.user.as_str(), invest.product))
            .or_default()
            .push(invest);
    }
    of_pairs
        .into_iter()
        .map(|((user, product), invests)| summary_line(user, product, &Summary::of(invests)))
        .collect()
}

fn invest_rows(fold: &Fold) -> BTreeSet<String> {
    let row = |(invest, it): (&Uuid, &Invest)| {
        let failure = it
            .failure
            .as_ref()
            .map(|(code, detail)| format!("{code} : {detail}"));
        let (state, user) = (it.state.to_owned(), it.user.clone());
        let accrued = (it.accrued_user, it.accrued_product);
        let times = (it.requested_at, it.updated_at);
        invest_line((
            *invest, it.product, user, it.amount, state, failure, accrued.0, accrued.1, times.0,
            times.1,
        ))
    };
    fold.invests.iter().map(row).collect()
}
