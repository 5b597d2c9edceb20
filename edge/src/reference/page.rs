//! The page to try calls at: Swagger UI, with all that it needs in the binary.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::{DOCUMENT_PATH, PAGE_PATH};

/// What `build.rs` has put aside.
macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Name, media type and content.
const FILES: [(&str, &str, &[u8]); 3] = [
    (
        "swagger-ui-bundle.js",
        SCRIPT,
        file!("swagger-ui-bundle.js"),
    ),
    (
        "swagger-ui.css",
        "text/css; charset=utf-8",
        file!("swagger-ui.css"),
    ),
    ("favicon-32x32.png", "image/png", file!("favicon-32x32.png")),
];
/// Nothing comes from elsewhere, and no script but these runs. Swagger UI sets styles from its script, and has pictures in its own.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// `/docs` and what it loads.
pub(super) fn routes(title: &'static str) -> Router {
    let index = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <link rel=\"icon\" href=\"favicon-32x32.png\"><link rel=\"stylesheet\" href=\"swagger-ui.css\"></head>\
         <body><div id=\"swagger-ui\"></div><script src=\"swagger-ui-bundle.js\"></script>\
         <script src=\"swagger-initializer.js\"></script></body></html>"
    );
    let initializer = format!(
        "SwaggerUIBundle({{url: \"{DOCUMENT_PATH}\", dom_id: \"#swagger-ui\", deepLinking: true, tryItOutEnabled: true}});"
    );
    let files = [
        (
            String::new(),
            "text/html; charset=utf-8",
            index.into_bytes(),
        ),
        (
            "swagger-initializer.js".into(),
            SCRIPT,
            initializer.into_bytes(),
        ),
    ];
    let vendored =
        FILES.map(|(name, media_type, content)| (name.to_owned(), media_type, content.to_vec()));
    files.into_iter().chain(vendored).fold(
        Router::new().route(PAGE_PATH, get(async || Redirect::permanent("/docs/"))),
        |routes, (name, media_type, content)| {
            let content = axum::body::Bytes::from(content);
            routes.route(
                &format!("{PAGE_PATH}/{name}"),
                get(async move || serve(media_type, content.clone())),
            )
        },
    )
}

fn serve(media_type: &'static str, content: axum::body::Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, content).into_response()
}
