//! Parked deliveries (dead letters): their contents do not match the log. Operators list, inspect and drop them.

use super::acting::Acting;
use super::database;
use super::job::Dropped;
use axum::extract::{Path, State};
use axum::response::Response;
use broker::parked;
use connection_pool::Pool;
use edge::{ListData, Paging, Problem};
use serde_json::json;

/// `GET /admin/parked?page&size`: the newest first.
pub(super) async fn list(State(pool): State<Pool>, paging: Paging) -> Result<Response, Problem> {
    let (total_count, list) = parked::list(&pool, paging.offset(), paging.size())
        .await
        .map_err(database::problem)?;
    Ok(edge::ok(ListData { total_count, list }))
}

/// `GET /admin/parked/{id}`: one, with its headers and the beginning of its body.
pub(super) async fn show(
    State(pool): State<Pool>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let found = parked::show(&pool, id_of(&id)?)
        .await
        .map_err(database::problem)?;
    found.map(edge::ok).ok_or(Problem::NotFound)
}

/// `POST /admin/parked/{id}/drop`: forgets one.
pub(super) async fn drop_one(
    State(pool): State<Pool>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id_of(&id)?;
    let dropping = async move {
        let dropped = parked::drop_one(&pool, id)
            .await
            .map_err(database::problem)?;
        if dropped {
            Ok(Dropped { dropped: 1_u64 })
        } else {
            Err(Problem::NotFound)
        }
    };
    Ok(edge::ok(
        acting
            .perform("DROP_PARKED", format!("delivery {id}"), json!({}), dropping)
            .await?,
    ))
}

/// `POST /admin/parked/drop`: forgets all.
pub(super) async fn drop_all(
    State(pool): State<Pool>,
    acting: Acting,
) -> Result<Response, Problem> {
    let dropping = async move {
        Ok(Dropped {
            dropped: parked::drop_all(&pool).await.map_err(database::problem)?,
        })
    };
    Ok(edge::ok(
        acting
            .perform("DROP_PARKED", "all deliveries", json!({}), dropping)
            .await?,
    ))
}

fn id_of(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::NotFound)
}
