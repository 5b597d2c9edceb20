//! The rows of one statement, with the positions of the read model.

use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::Response;
use edge::{ConsistencyToken, header};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

/// The result of one statement in one snapshot. Every view's statement returns at least one row, with the columns `present`
/// (whether it is a row of the view), `total_count` and `positions` (by partition).
pub(crate) struct ViewRows<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) total_count: i64,
    pub(crate) positions: Vec<i64>,
}

impl<T: for<'r> FromRow<'r, PgRow>> ViewRows<T> {
    pub(crate) fn of(rows: &[PgRow]) -> sqlx::Result<Self> {
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (total_count, positions) = (first.try_get("total_count")?, first.try_get("positions")?);
        // A left join returns one row of nulls where the view has no rows.
        let present = if first.try_get("present")? { rows } else { &[] };
        let rows = present
            .iter()
            .map(T::from_row)
            .collect::<sqlx::Result<_>>()?;
        Ok(Self {
            rows,
            total_count,
            positions,
        })
    }
}

/// The consistency headers of an answer: the positions that it shows, and whether the required ones are reached.
pub(crate) struct ConsistencyHeaders {
    pub(crate) token: ConsistencyToken,
    /// `None` when no position was required.
    pub(crate) reached: Option<bool>,
}

impl ConsistencyHeaders {
    pub(crate) fn add_to(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::CONSISTENCY_TOKEN, self.token.header_value());
        // What is one user's must not be another's, even in a cache that does not know X-USER-ID.
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("private, no-store"));
        if let Some(reached) = self.reached {
            let word = if reached { "reached" } else { "timeout" };
            headers.insert(header::CONSISTENCY, HeaderValue::from_static(word));
        }
        response
    }
}
