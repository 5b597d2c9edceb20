//! `GET /admin/audit/export`: the log, or what a filter leaves of it, as a file that can be verified without Moa. The format and
//! its verification are in [`proof::export`].

mod write;

pub use write::{export, filtered};

use crate::problem::problem;
use crate::{Audit, accept, event};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use edge::{Params, Problem};
use event_log::search::{Bound, Filter, Order, Search};
use futures::StreamExt as _;
use proof::export::{Format, Header};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Exports that run at once, each on a connection of its own.
const MAX_CONCURRENT_EXPORTS: usize = 2;
static EXPORT_PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_EXPORTS);

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/export", get(respond))
}

async fn respond(
    State(audit): State<Arc<Audit>>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let (format, filter) = (
        params.text("format", parse_format),
        event::filter(&mut params, &audit),
    );
    let (Some(format), Some(filter)) = (format, filter) else {
        return Err(params.refuse());
    };
    let format = format.unwrap_or_else(|| accepted_format(&headers));
    let permit = EXPORT_PERMITS.try_acquire().map_err(|_| busy())?;
    let (heads, at) = audit.log.heads_now().await.map_err(problem)?;
    let identity = *audit.log.identity();
    if filter == Filter::default() {
        let header = Header::of(identity, heads, None, at);
        return Ok(answer(
            format,
            export(audit.bulk.clone(), header, format),
            permit,
        ));
    }
    let header = Header::of(identity, heads, Some(filter_json(&filter)), at);
    let search = Search::begin(&audit.log, &audit.read, filter, Order::Ascending, None).await;
    Ok(answer(
        format,
        filtered(search.map_err(problem)?, header, format),
        permit,
    ))
}

/// A filter as a header has it: what is set, by the names of the parameters.
fn filter_json(filter: &Filter) -> Value {
    let text = |text: &dyn ToString| Value::from(text.to_string());
    let bound = |bound: Bound| match bound {
        Bound::Time(time) => Value::from(proof::time::format(time)),
        Bound::Position(position) => Value::from(position),
    };
    let fields = [
        (
            "productId",
            filter.product.map(|product| Value::from(product.get())),
        ),
        ("userId", filter.user.as_ref().map(|user| text(user))),
        ("investId", filter.invest.map(|invest| text(&invest))),
        (
            "type",
            filter
                .event_type
                .as_ref()
                .map(|event_type| text(event_type)),
        ),
        (
            "correlationId",
            filter
                .correlation
                .as_ref()
                .map(|correlation| text(correlation)),
        ),
        ("from", filter.from.map(bound)),
        ("to", filter.to.map(bound)),
        ("partition", filter.partition.map(Value::from)),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

fn answer(
    format: Format,
    blocks: impl futures::Stream<Item = Result<Vec<u8>, event_log::LogError>> + Send + 'static,
    permit: SemaphorePermit<'static>,
) -> Response {
    // It is given back when the body is.
    let blocks = blocks.map(move |block| {
        let _permit = &permit;
        block
    });
    let file = match format {
        Format::Ndjson => "attachment; filename=\"moa-export.ndjson\"",
        Format::Csv => "attachment; filename=\"moa-export.csv\"",
    };
    let head = [
        (header::CONTENT_TYPE, format.media_type()),
        (header::CONTENT_DISPOSITION, file),
    ];
    (head, Body::from_stream(blocks)).into_response()
}

fn busy() -> Problem {
    Problem::Conflict(format!(
        "{MAX_CONCURRENT_EXPORTS} exports are being made already, try again when one is done"
    ))
}

fn parse_format(text: &str) -> Result<Format, &'static str> {
    match text {
        "ndjson" => Ok(Format::Ndjson),
        "csv" => Ok(Format::Csv),
        _ => Err("must be ndjson or csv"),
    }
}

/// What the client takes best; NDJSON where it takes none of ours, or does not say.
fn accepted_format(headers: &HeaderMap) -> Format {
    const OFFERS: [(&str, Format); 2] = [
        ("application/x-ndjson", Format::Ndjson),
        ("text/csv", Format::Csv),
    ];
    accept::best(headers, &OFFERS).unwrap_or(Format::Ndjson)
}
