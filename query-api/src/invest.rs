//! `GET /api/invest/log/{investId}`: one invest of a user.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use edge::{InvestIdPath, Problem, ServiceTime, Times, UserIdHeader};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::view_rows::ViewRows;

/// Another user's invest and an unknown id get the same 404, token included: nobody learns that an id exists.
pub(crate) async fn one(
    State(api): Api,
    UserIdHeader(user_id): UserIdHeader,
    InvestIdPath(invest_id): InvestIdPath,
    times: Times,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let select = || {
        sqlx::query(ONE)
            .bind(api.partitions)
            .bind(user_id.as_str())
            .bind(invest_id.0)
    };
    let (found, consistency): (ViewRows<InvestRow>, _) = api
        .invest_log
        .query(user_id.as_str(), &headers, select)
        .await?;
    let answer = match found.rows.first() {
        Some(row) => edge::ok(row.item(times.of(api.time))),
        None => Problem::NotFound.into_response(),
    };
    Ok(consistency.add_to(answer))
}

const ONE: &str = concat!(
    "
    select invest.invest_id is not null as present,
           1::bigint as total_count,
           ",
    positions_of!("'invest_log'"),
    " as positions,
           invest.*, product.title
    from (values (1)) as one
    left join (select invest_id, product_id, amount, state, fail_code, fail_detail, accrued_user, accrued_product,
                      requested_at, updated_at
               from invest_log
               where invest_id = $3 and user_id = $2) as invest on true
    left join invest_log_product as product on product.product_id = invest.product_id"
);

/// An invest as the read model has it.
#[derive(sqlx::FromRow)]
pub(crate) struct InvestRow {
    pub(crate) invest_id: Uuid,
    pub(crate) product_id: i64,
    title: String,
    amount: i64,
    state: String,
    fail_code: Option<String>,
    fail_detail: Option<String>,
    accrued_user: i64,
    accrued_product: i64,
    pub(crate) requested_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// An invest as the contract shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvestItem<'a> {
    invest_id: Uuid,
    product_id: i64,
    title: &'a str,
    invest_amount: i64,
    invest_result: &'static str,
    fail_reason: Option<String>,
    accrue_user_invest: i64,
    accrue_product_invest: i64,
    state: &'a str,
    requested_at: String,
    updated_at: String,
}

impl InvestRow {
    pub(crate) fn item(&self, time: ServiceTime) -> InvestItem<'_> {
        let (invest_result, fail_reason) = self.result();
        InvestItem {
            invest_id: self.invest_id,
            product_id: self.product_id,
            title: &self.title,
            invest_amount: self.amount,
            invest_result,
            fail_reason,
            accrue_user_invest: self.accrued_user,
            accrue_product_invest: self.accrued_product,
            state: &self.state,
            requested_at: time.format(self.requested_at),
            updated_at: time.format(self.updated_at),
        }
    }

    /// In the words of the API contract: a pending invest counts as failed until it has succeeded.
    fn result(&self) -> (&'static str, Option<String>) {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        match self.state.as_str() {
            "SETTLED" => ("SUCCESS", None),
            "FAILED" | "WITHDRAWN" | "REFUNDED" => (
                "FAIL",
                Some(format!(
                    "{} : {}",
                    or_empty(&self.fail_code),
                    or_empty(&self.fail_detail)
                )),
            ),
            _ => ("FAIL", Some("PENDING".to_owned())),
        }
    }
}
