//! The routes `/livez` and `/readyz`.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// `/livez`, 200 `ok` as long as the process answers at all, and `/readyz`, which asks `unready` for the names of what is
/// not ready: 200 `ok` without any, else 503 `not ready: <names>`. Both are plain text. `unready` bounds its own time.
pub fn health<F, U>(unready: F) -> Router
where
    F: Fn() -> U + Clone + Send + Sync + 'static,
    U: Future<Output = Vec<&'static str>> + Send,
{
    let readyz = async move || ready(&unready().await);
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
}

fn ready(unready: &[&'static str]) -> Response {
    if unready.is_empty() {
        return "ok".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {}", unready.join(", ")),
    )
        .into_response()
}
