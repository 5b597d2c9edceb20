//! The reference of a listener for its callers: an OpenAPI 3.1 document, a page to try the calls at, and a greeting at `/`.
//!
//! What the document says of answers comes from the code that gives them: schemas from the types, refusals from [`crate::Problem`].

mod endpoint;
mod health;
mod page;
mod parameters;

pub use endpoint::{Endpoint, Parameter};
pub use health::health;
pub use parameters::{
    CONSISTENCY_TOKEN, CORRELATION_ID, CURSOR, IDEMPOTENCY_KEY, INVEST_ID, LAST_EVENT_ID,
    MAX_CURSOR_CHARS, PAGE, PRODUCT_ID, SIZE, TIMES, USER_ID, amount, product_id, time,
};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::ok;

/// The version of the OpenAPI specification that the documents are written in.
const OPENAPI_VERSION: &str = "3.1.0";
const DOCUMENT_PATH: &str = "/openapi.json";
const PAGE_PATH: &str = "/docs";

/// What a listener says of itself.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in one or two words.
    pub title: &'static str,
    /// What it is for, in a sentence or two.
    pub description: &'static str,
    /// The name of the bearer token that every call needs, if there is one.
    pub bearer: Option<&'static str>,
    /// Where its pages for people are, if there are any.
    pub console: Option<&'static str>,
}

/// `/openapi.json`, `/docs` and, for those who look for them there, `/api-docs/openapi.json` and `/api-docs`; and `/`, which greets
/// with links: in HTML for a browser, else in the envelope.
pub fn reference(listener: &Listener, endpoints: &[Endpoint]) -> Router {
    let document: Arc<str> = document(listener, endpoints).to_string().into();
    let serve = move || {
        let document = document.to_string();
        async move {
            (
                [(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                )],
                document,
            )
        }
    };
    let (title, greeter) = (listener.title, listener.clone());
    Router::new()
        .route(
            "/",
            get(async move |headers: HeaderMap| greeting(&greeter, &headers)),
        )
        .route(DOCUMENT_PATH, get(serve.clone()))
        .route("/api-docs/openapi.json", get(serve))
        .route(
            "/api-docs",
            get(async || axum::response::Redirect::permanent(PAGE_PATH)),
        )
        .merge(page::routes(title))
}

/// The document by itself.
pub fn document(listener: &Listener, endpoints: &[Endpoint]) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path()).or_insert_with(|| json!({}));
        path[endpoint.method()] = endpoint.operation(listener.bearer.is_some());
    }
    let mut schemas: Map<_, _> = endpoints.iter().flat_map(Endpoint::components).collect();
    schemas.insert(
        endpoint::PROBLEM_DETAILS.into(),
        endpoint::problem_details_schema(),
    );
    let mut document = json!({
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": listener.title,
            "description": listener.description,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    });
    if let Some(name) = listener.bearer {
        let scheme = json!({"type": "http", "scheme": "bearer", "description": name});
        document["components"]["securitySchemes"] = json!({"token": scheme});
    }
    document
}

fn greeting(
    &Listener {
        title,
        description,
        console,
        ..
    }: &Listener,
    headers: &HeaderMap,
) -> Response {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    if !accepted.contains("text/html") {
        let mut links =
            json!({"reference": PAGE_PATH, "openapi": DOCUMENT_PATH, "health": "/readyz"});
        if let Some(console) = console {
            links["console"] = json!(console);
        }
        return ok(json!({"name": title, "description": description, "links": links}));
    }
    let console = console
        .map(|path| format!("<li><a href=\"{path}\">Console</a></li>"))
        .unwrap_or_default();
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head>\
         <body style=\"font-family:system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem\">\
         <h1>{title}</h1><p>{description}</p><ul>{console}\
         <li><a href=\"{PAGE_PATH}\">Try the calls</a></li>\
         <li><a href=\"{DOCUMENT_PATH}\">OpenAPI document</a></li>\
         <li><a href=\"/readyz\">Is it ready?</a></li></ul></body></html>"
    );
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        )],
        page,
    )
        .into_response()
}
