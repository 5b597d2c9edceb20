//! The admin listener: products, projections, health. Everything but health is behind a bearer token.

mod guard;
mod product;
mod projection;

pub(crate) use guard::Tokens;

use axum::Router;
use axum::routing::get;
use command_api::Door;
use event_log::Log;
use sqlx::PgPool;

/// The admin routes; to be passed to [`edge::finish`].
pub(crate) fn routes(tokens: Tokens, door: Door, log: Log, read: PgPool, time: edge::ServiceTime) -> Router {
    let projections = Router::new().route("/admin/projection", get(projection::list)).with_state(log);
    let products = Router::new().route("/admin/product", get(product::list)).with_state((read, time));
    guard::guard(command_api::product_routes(door).merge(products).merge(projections), tokens)
}
