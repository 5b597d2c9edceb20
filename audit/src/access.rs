//! The record of who read the audit. Every admitted request is recorded before it is answered; if it cannot be recorded, nothing
//! is shown. Records are kept for 400 days, which the database enforces: `migrations/0012_roles.sql`.

mod list;
mod purge;

use connection_pool::{Connection, Pool};
pub(crate) use list::{DEFAULT_ROWS_PER_PAGE, Page as AccessPage, routes};
pub use purge::purge_old_records;

use crate::Audit;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
pub use edge::{Actor, Role};
use edge::{Correlation, Peer, Problem};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Characters of a path and its query that are kept.
const MAX_PATH_CHARS: usize = 2_000;
/// How long recording may take before the caller is told to try later.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);
/// The method and the reader of a record that somebody read the database itself.
const DIRECT: &str = "DIRECT";

/// The record of one reading; the time and the database's login come from the database.
struct AccessRecord<'a> {
    /// The role of the token.
    reader: &'a str,
    /// Its name.
    actor: Option<&'a str>,
    method: &'a str,
    path: String,
    correlation_id: Option<String>,
    peer: Option<String>,
}

/// `routes`, where each request is recorded before it is answered. 503 `OVERLOADED`, and nothing is shown, when that
/// cannot be done.
pub(crate) fn with_record(routes: Router, audit: Arc<Audit>) -> Router {
    routes.route_layer(from_fn_with_state(audit, record))
}

async fn record(
    State(audit): State<Arc<Audit>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // Nobody comes here but through the guard, which says who it is.
    let reader = parts
        .extensions
        .get::<Actor>()
        .ok_or(Problem::Unauthorized)?;
    let writing = async {
        insert(
            &mut audit.write.acquire().await?,
            &access_record(reader, &parts),
        )
        .await
    };
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(Ok(())) => Ok(next.run(Request::from_parts(parts, body)).await),
        Ok(Err(error)) => Err(not_recorded(&error.to_string())),
        Err(_) => Err(not_recorded("the database does not answer")),
    }
}

fn not_recorded(why: &str) -> Problem {
    tracing::error!(
        why,
        "a reading of the audit cannot be recorded, so nothing is shown"
    );
    Problem::Overloaded
}

fn access_record<'a>(reader: &'a Actor, parts: &'a Parts) -> AccessRecord<'a> {
    let path = parts
        .uri
        .path_and_query()
        .map_or_else(|| parts.uri.path(), |path| path.as_str());
    AccessRecord {
        reader: reader.role().as_str(),
        actor: Some(reader.name()),
        method: parts.method.as_str(),
        path: path.chars().take(MAX_PATH_CHARS).collect(),
        correlation_id: parts
            .extensions
            .get::<Correlation>()
            .map(|correlation| correlation.id().to_owned()),
        peer: parts
            .extensions
            .get::<Peer>()
            .map(|Peer(address)| address.ip().to_string()),
    }
}

/// Records that the database itself was read, `how`, by the login of `pool`; call it before anything is shown. An error
/// when it cannot be: then show nothing. The pool may be one whose transactions only read unless they say otherwise.
pub async fn record_direct(pool: &Pool, how: &str) -> sqlx::Result<()> {
    let path = how.chars().take(MAX_PATH_CHARS).collect();
    let access_record = AccessRecord {
        reader: DIRECT,
        actor: None,
        method: DIRECT,
        path,
        correlation_id: None,
        peer: None,
    };
    let mut transaction = pool.begin_with("begin read write").await?;
    insert(&mut transaction, &access_record).await?;
    transaction.commit().await
}

/// The pool does not wait for the disk; this must not be forgotten in a crash after the answer, so it does.
async fn insert(connection: &mut Connection, access_record: &AccessRecord<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "with durable as (select set_config('synchronous_commit', 'on', true) as it)
         insert into audit_access (reader, method, path, correlation_id, peer, actor)
         select $1, $2, $3, $4, $5, $6 from durable where it = 'on'",
    )
    .bind(access_record.reader)
    .bind(access_record.method)
    .bind(&access_record.path)
    .bind(access_record.correlation_id.as_deref())
    .bind(access_record.peer.as_deref())
    .bind(access_record.actor)
    .execute(connection)
    .await?;
    Ok(())
}
