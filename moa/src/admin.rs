//! The admin listener: products, projections, parked deliveries. Everything is behind a bearer token.

mod guard;
mod parked;
mod product;
mod projection;

pub(crate) use guard::Tokens;

use axum::Router;
use axum::routing::{get, post};
use command_api::Door;
use event_log::Log;
use sqlx::PgPool;

/// What the admin listener works with.
pub(crate) struct Admin {
    pub(crate) tokens: Tokens,
    pub(crate) door: Door,
    pub(crate) log: Log,
    /// Can change nothing.
    pub(crate) read: PgPool,
    /// May forget parked deliveries.
    pub(crate) write: PgPool,
    pub(crate) redis: Option<redis::Client>,
    pub(crate) time: edge::ServiceTime,
}

/// The admin routes; to be passed to [`edge::finish`].
pub(crate) fn routes(admin: Admin) -> Router {
    let projections =
        Router::new().route("/admin/projection", get(projection::list)).with_state((admin.log, admin.redis));
    let products = Router::new().route("/admin/product", get(product::list)).with_state((admin.read, admin.time));
    let parked = Router::new()
        .route("/admin/parked", get(parked::list))
        .route("/admin/parked/drop", post(parked::drop_all))
        .route("/admin/parked/{id}", get(parked::show))
        .route("/admin/parked/{id}/drop", post(parked::drop_one))
        .with_state(admin.write);
    let routes = command_api::product_routes(admin.door).merge(products).merge(projections).merge(parked);
    guard::guard(routes, admin.tokens)
}
