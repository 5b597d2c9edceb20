//! Scripts, styles and the icon: in the binary, and the same until the next release.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
/// Name, media type and content.
const FILES: [(&str, &str, &[u8]); 7] = [
    (
        "console.css",
        STYLE,
        include_bytes!("../assets/console.css"),
    ),
    ("console.js", SCRIPT, include_bytes!("../assets/console.js")),
    (
        "htmx.min.js",
        SCRIPT,
        include_bytes!("../assets/htmx.min.js"),
    ),
    ("sse.min.js", SCRIPT, include_bytes!("../assets/sse.min.js")),
    (
        "uPlot.iife.min.js",
        SCRIPT,
        include_bytes!("../assets/uPlot.iife.min.js"),
    ),
    (
        "uPlot.min.css",
        STYLE,
        include_bytes!("../assets/uPlot.min.css"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_bytes!("../assets/icon.svg"),
    ),
];
/// Kept for a day: a release has another version, and so another address.
const CACHED: &str = "public, max-age=86400";

/// Where a file is, for this release.
pub(crate) fn versioned(name: &str) -> String {
    format!("/console/assets/{name}?v={}", env!("CARGO_PKG_VERSION"))
}

/// What every page loads, also the one where one logs in.
pub(crate) fn routes() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |routes, (name, media_type, content)| {
            let headers = [
                (CONTENT_TYPE, media_type),
                (CACHE_CONTROL, CACHED),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            routes.route(
                &format!("/console/assets/{name}"),
                get(async move || (headers, content)),
            )
        })
}
