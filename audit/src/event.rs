//! `GET /admin/audit/event`: events by any filter. As JSON a page, with a cursor to continue with; as NDJSON or CSV, by
//! `Accept`, all of them as a stream.

mod item;
mod request;
mod stream;

pub(crate) use request::{DEFAULT_EVENTS_PER_PAGE, filter};

use crate::Audit;
use crate::problem::problem;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use edge::{Params, Problem};
use event_log::search::Search;
use item::Item;
use request::{EventsRequest, Format};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/event", get(events))
}

/// Some events, and where the next begin.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventPage)]
pub(crate) struct Page {
    list: Vec<Item>,
    /// To be sent as `cursor` for those after; null when there is nothing more.
    next_cursor: Option<String>,
}

async fn events(
    State(audit): State<Arc<Audit>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers);
    let EventsRequest {
        filter,
        order,
        cursor,
        limit,
    } = EventsRequest::read(params, &audit, format)?;
    let search = Search::begin(&audit.log, &audit.read, filter, order, cursor.as_ref()).await;
    let mut search = search.map_err(problem)?;
    match format {
        Format::Json => {
            let page = search
                .page(limit.unwrap_or(DEFAULT_EVENTS_PER_PAGE))
                .await
                .map_err(problem)?;
            let list = page
                .events
                .into_iter()
                .map(|event| Item::of(event, &audit.time))
                .collect();
            Ok(edge::ok(Page {
                list,
                next_cursor: page.next.map(|next| next.to_string()),
            }))
        }
        Format::NdJson | Format::Csv => stream::answer(search, limit, format, audit.time).await,
    }
}
