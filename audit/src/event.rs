//! `GET /admin/audit/event`: events by any filter. As JSON a page, with a cursor to go on with; as NDJSON or CSV, by
//! `Accept`, all of them as a stream.

mod asked;
mod shown;
mod streamed;

pub(crate) use asked::filter;

use crate::Audit;
use asked::{Asked, DEFAULT_LIMIT, Format};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use edge::{Params, Problem};
use event_log::search::Search;
use serde::Serialize;
use shown::Item;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/event", get(events))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    list: Vec<Item>,
    /// `None`: there is nothing more.
    next_cursor: Option<String>,
}

async fn events(State(audit): State<Arc<Audit>>, headers: HeaderMap, params: Params) -> Result<Response, Problem> {
    let format = Format::accepted(&headers);
    let Asked { filter, order, cursor, limit } = Asked::read(params, &audit, format)?;
    let search = Search::begin(&audit.log, &audit.read, filter, order, cursor.as_ref()).await;
    let mut search = search.map_err(Problem::internal)?;
    match format {
        Format::Json => {
            let page = search.page(limit.unwrap_or(DEFAULT_LIMIT)).await.map_err(Problem::internal)?;
            let list = page.events.into_iter().map(|event| Item::of(event, &audit.time)).collect();
            Ok(edge::ok(Page { list, next_cursor: page.next.map(|next| next.to_string()) }))
        }
        Format::NdJson | Format::Csv => streamed::answer(search, limit, format, audit.time).await,
    }
}
