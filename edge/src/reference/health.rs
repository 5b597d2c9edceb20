//! What the documents say of `/livez` and `/readyz`, which every listener has: see [`crate::health`].

use axum::http::StatusCode;

use super::Endpoint;

/// Both, for whoever watches the process. Neither needs a token.
pub fn health() -> [Endpoint; 2] {
    let live = Endpoint::get("/livez", "isAlive", "Whether the process answers at all");
    let ready = Endpoint::get("/readyz", "isReady", "Whether the process can do its work")
        .described("Names what is not ready. A balancer takes a process that is not ready out of its rotation.");
    [
        live.without_token().gives_text("text/plain", "ok", "ok"),
        ready
            .without_token()
            .gives_text("text/plain", "ok", "ok")
            .refuses_in_plain_text(StatusCode::SERVICE_UNAVAILABLE, "not ready: database"),
    ]
}
