//! What one statement shows: rows, and the state of the read model they are from.

use axum::http::HeaderValue;
use axum::response::Response;
use edge::{ConsistencyToken, header};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

/// The answer of one statement on one snapshot. Every view's statement gives at least one row, with the columns
/// `present` (whether the row is one of the view at all), `total_count` and `positions` (by partition).
pub(crate) struct Shown<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) total_count: i64,
    pub(crate) positions: Vec<i64>,
}

impl<T: for<'r> FromRow<'r, PgRow>> Shown<T> {
    pub(crate) fn of(rows: &[PgRow]) -> sqlx::Result<Self> {
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (total_count, positions) = (first.try_get("total_count")?, first.try_get("positions")?);
        // A left join gives one row of nulls where there is nothing to show.
        let present = if first.try_get("present")? { rows } else { &[] };
        let rows = present.iter().map(T::from_row).collect::<sqlx::Result<_>>()?;
        Ok(Self { rows, total_count, positions })
    }
}

/// Which state an answer shows, and whether that is what was waited for.
pub(crate) struct Stamp {
    pub(crate) token: ConsistencyToken,
    /// `None` when nothing was asked for.
    pub(crate) reached: Option<bool>,
}

impl Stamp {
    pub(crate) fn on(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::CONSISTENCY_TOKEN, self.token.header_value());
        if let Some(reached) = self.reached {
            let word = if reached { "reached" } else { "timeout" };
            headers.insert(header::CONSISTENCY, HeaderValue::from_static(word));
        }
        response
    }
}
