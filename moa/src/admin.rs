//! The admin listener: products, projections, parked deliveries, the audit. Every call is behind a bearer token; the reference of them,
//! which holds no secret, is not.

mod acting;
mod console;
mod database;
mod guard;
mod job;
mod mass_refund;
mod parked;
mod product;
mod projection;
mod reference;
mod restore;

pub(crate) use console::with_console;
pub(crate) use guard::Tokens;

use audit::Audit;
use axum::routing::{get, post};
use axum::{Extension, Router};
use command_api::CommandApi;
use connection_pool::Pool;
use edge::ServiceTime;
use event_log::Log;
use event_log::acts::Acts;
use projector::Jobs;
use std::time::Duration;

/// The state of the admin listener.
pub(crate) struct Admin {
    pub(crate) tokens: Tokens,
    pub(crate) api: CommandApi,
    pub(crate) log: Log,
    pub(crate) jobs: Jobs,
    /// Can change nothing.
    pub(crate) read: Pool,
    /// May forget parked deliveries.
    pub(crate) write: Pool,
    pub(crate) redis: Option<redis::Client>,
    pub(crate) time: ServiceTime,
    pub(crate) audit: Audit,
}

/// The state of the calls about read models.
#[derive(Clone)]
struct ProjectionsState {
    log: Log,
    jobs: Jobs,
    redis: Option<redis::Client>,
    time: ServiceTime,
}

/// The admin routes; to be passed to [`edge::with_middleware`].
pub(crate) fn routes(admin: Admin) -> Router {
    let acts = Acts::new(admin.write.clone());
    let managed = ProjectionsState {
        log: admin.log,
        jobs: admin.jobs,
        redis: admin.redis,
        time: admin.time,
    };
    let products = Router::new()
        .route("/admin/product", get(product::list))
        .with_state((admin.read, admin.time));
    let parked = Router::new()
        .route("/admin/parked", get(parked::list))
        .route("/admin/parked/drop", post(parked::drop_all))
        .route("/admin/parked/{id}", get(parked::show))
        .route("/admin/parked/{id}/drop", post(parked::drop_one))
        .with_state(admin.write.clone());
    let refunds = Router::new()
        .route("/admin/mass-refund", get(mass_refund::list))
        .with_state((admin.write, managed.time));
    let restore = Router::new()
        .route("/admin/restore", post(restore::accept))
        .with_state(managed.log.clone());
    let routes = command_api::product_routes(admin.api, acts.clone())
        .merge(restore)
        .merge(products)
        .merge(projections(managed))
        .merge(parked)
        .merge(refunds)
        .merge(audit::routes(admin.audit))
        .layer(Extension(acts));
    guard::guard(routes, admin.tokens).merge(edge::reference::reference(
        &reference::LISTENER,
        &reference::endpoints(),
    ))
}

/// How long a route may take.
pub(crate) fn timeout_of(route: &str) -> Duration {
    let asks_the_audit = route.starts_with("/admin/audit") || admin_console::asks_the_audit(route);
    if asks_the_audit {
        audit::ANSWER_TIMEOUT
    } else {
        edge::REQUEST_TIMEOUT
    }
}

fn projections(managed: ProjectionsState) -> Router {
    Router::new()
        .route("/admin/projection", get(projection::list))
        .route("/admin/projection/{name}/rebuild", post(job::rebuild))
        .route("/admin/projection/{name}/diff", get(job::diff))
        .route("/admin/projection/{name}/switch", post(job::switch))
        .route("/admin/projection/{name}/rollback", post(job::rollback))
        .route("/admin/projection/{name}/pause", post(job::pause))
        .route("/admin/projection/{name}/resume", post(job::resume))
        .route("/admin/projection/{name}/drop", post(job::drop))
        .route("/admin/job", get(job::list))
        .route("/admin/job/{id}", get(job::show))
        .with_state(managed)
}
