//! The console: pages at `/console` on the admin listener, for operators and auditors who look before they read.
//!
//! The console is a caller of the admin listener's own routes, within the process: a page shows what a call answers, may do what the
//! visitor's token may, and is recorded as that call is. It has no statement, no right and no rule of its own. Pages are made on the
//! server; a script of ours draws the chart, htmx replaces parts of a page, and all of both is in the binary.

mod acts;
mod assets;
mod authenticate;
mod backend;
mod console;
mod error;
mod events;
mod format;
mod invest;
mod layout;
mod live;
mod login;
mod measure;
mod overview;
mod parked;
mod process;
mod product;
mod products;
mod projections;
mod protect;
mod samples;
mod seals;
mod session;
mod submission;

pub use console::PATH;
pub use process::{Advance, Process};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use backend::Backend;
use console::Console;
use samples::Samples;
use session::Sessions;

/// The largest form that is read, in bytes.
const MAX_FORM_BYTES: usize = 16 * 1024;
/// Pages that are kept up to date at once; a further one shows what it had when it was loaded.
const MAX_LIVE_PAGES: usize = 50;

/// What the console is given.
pub struct Settings {
    /// The admin listener's routes, guarded, without their middleware.
    pub admin: Router,
    /// What only the process knows.
    pub process: Arc<dyn Process>,
    /// The types of events that one may search for.
    pub event_types: &'static [&'static str],
    /// The name of the zone that times are local to.
    pub time_zone: &'static str,
    /// Whether the listener speaks TLS: then the cookie is never sent without it.
    pub is_encrypted: bool,
    /// Ends what would go on for ever.
    pub shutdown: CancellationToken,
}

/// `/console` and all below it. To be merged with the admin listener's routes, and passed to
/// `edge::with_middleware` with them. Must be called within a runtime: a task measures while somebody is logged in.
pub fn routes(settings: Settings) -> Router {
    let Settings {
        admin,
        process,
        event_types,
        time_zone,
        is_encrypted,
        shutdown,
    } = settings;
    let console = Arc::new(Console {
        backend: Backend::new(admin),
        process,
        sessions: Sessions::default(),
        samples: Samples::default(),
        event_types,
        time_zone,
        is_encrypted,
        live_pages: Arc::new(Semaphore::new(MAX_LIVE_PAGES)),
        shutdown,
    });
    tokio::spawn(measure::keep(console.clone()));
    let pages = Router::new()
        .route("/console", get(overview::page))
        .route("/console/login", get(login::page).post(login::log_in))
        .route("/console/logout", post(login::log_out))
        .route(
            "/console/products",
            get(products::page).post(products::open),
        )
        .route("/console/products/{id}", get(product::page))
        .route("/console/products/{id}/past", get(product::past))
        .route(
            "/console/products/{id}/{act}",
            get(product::confirm).post(product::act),
        )
        .route("/console/invests/{id}", get(invest::page))
        .route("/console/events", get(events::page))
        .route("/console/projections", get(projections::list))
        .route("/console/projections/{name}", get(projections::page))
        .route("/console/projections/{name}/{act}", post(projections::act))
        .route("/console/parked", get(parked::list))
        .route("/console/parked/drop", post(parked::drop_all))
        .route("/console/parked/{id}", get(parked::page))
        .route("/console/parked/{id}/drop", post(parked::drop_one))
        .route("/console/seals", get(seals::page))
        .route("/console/seals/verification", get(seals::verify))
        .route("/console/acts", get(acts::page))
        .route("/console/live/overview", get(live::overview))
        .route("/console/live/products", get(live::products))
        .route("/console/live/products/{id}", get(live::product))
        .route("/console/live/projections", get(live::projections))
        .route("/console/live/projections/{name}", get(live::projection))
        .route("/console/{*rest}", get(error::no_such_page))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(from_fn(protect::with_headers))
        .with_state(console);
    pages
        .merge(assets::routes())
        .route("/console/", get(async || Redirect::permanent(PATH)))
}

/// Whether the page of this route waits for the audit, which may take its time.
pub fn asks_the_audit(route: &str) -> bool {
    let asks = [
        "/console/seals",
        "/console/products/{id}",
        "/console/events",
        "/console/invests",
        "/console/acts",
    ];
    asks.iter().any(|path| route.starts_with(path))
}
