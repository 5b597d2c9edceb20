//! Who read the audit. Every request that is let in is written down before it is answered; what cannot be written down is
//! not shown. Kept for 400 days, which the database sees to: `migrations/0012_roles.sql`.

mod forgetting;
mod list;

use connection_pool::{Connection, Pool};
pub use forgetting::forget_old;
pub(crate) use list::routes;

use crate::Audit;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use edge::{Correlation, Peer, Problem};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// As much of a path and its query as is kept, in characters.
const KEPT_PATH: usize = 2_000;
/// How long writing it down may take before the caller is told to try later.
const WITHIN: Duration = Duration::from_secs(4);
/// What stands in the place of a method and a path where the database itself was read.
const DIRECTLY: &str = "DIRECT";

/// As whom somebody reads the audit. The guard of the listener says so, as an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// With the operator's token.
    Operator,
    /// With the auditor's.
    Auditor,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Operator => "OPERATOR",
            Self::Auditor => "AUDITOR",
        }
    }
}

/// What is written down of one reading; the time and the database's login come from the database.
struct Reading<'a> {
    reader: &'a str,
    method: &'a str,
    path: String,
    correlation_id: Option<String>,
    peer: Option<String>,
}

/// `routes`, where each request is written down before it is answered. 503 `OVERLOADED`, and nothing is shown, when that
/// cannot be done.
pub(crate) fn recorded(routes: Router, audit: Arc<Audit>) -> Router {
    routes.route_layer(from_fn_with_state(audit, record))
}

async fn record(State(audit): State<Arc<Audit>>, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // Nobody comes here but through the guard, which says who it is.
    let reader = parts.extensions.get::<Reader>().copied().ok_or(Problem::Unauthorized)?;
    let writing = async { write_down(&mut audit.write.acquire().await?, &reading(reader, &parts)).await };
    match timeout(WITHIN, writing).await {
        Ok(Ok(())) => Ok(next.run(Request::from_parts(parts, body)).await),
        Ok(Err(error)) => Err(unrecorded(&error.to_string())),
        Err(_) => Err(unrecorded("the database does not answer")),
    }
}

fn unrecorded(why: &str) -> Problem {
    tracing::error!(why, "a reading of the audit cannot be written down, so nothing is shown");
    Problem::Overloaded
}

fn reading(reader: Reader, parts: &Parts) -> Reading<'_> {
    let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str());
    Reading {
        reader: reader.name(),
        method: parts.method.as_str(),
        path: path.chars().take(KEPT_PATH).collect(),
        correlation_id: parts.extensions.get::<Correlation>().map(|correlation| correlation.id().to_owned()),
        peer: parts.extensions.get::<Peer>().map(|Peer(address)| address.ip().to_string()),
    }
}

/// Writes down that the database itself was read, `how`, by whoever `pool` logs in as; before anything is shown. An error
/// when it cannot be: then show nothing. The pool may be one whose transactions only read unless they say otherwise.
pub async fn record_direct(pool: &Pool, how: &str) -> sqlx::Result<()> {
    let path = how.chars().take(KEPT_PATH).collect();
    let reading = Reading { reader: DIRECTLY, method: DIRECTLY, path, correlation_id: None, peer: None };
    let mut transaction = pool.begin_with("begin read write").await?;
    write_down(&mut transaction, &reading).await?;
    transaction.commit().await
}

/// The pool does not wait for the disk; this must not be forgotten in a crash after the answer, so it does.
async fn write_down(connection: &mut Connection, reading: &Reading<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "with durable as (select set_config('synchronous_commit', 'on', true) as it)
         insert into audit_access (reader, method, path, correlation_id, peer)
         select $1, $2, $3, $4, $5 from durable where it = 'on'",
    )
    .bind(reading.reader)
    .bind(reading.method)
    .bind(&reading.path)
    .bind(reading.correlation_id.as_deref())
    .bind(reading.peer.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}
