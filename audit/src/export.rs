//! The log as a file that can be verified without Moa; `docs/proof-format.md` has the format.
//!
//! - [`Format`], [`Header`]: what is written.
//! - [`export`]: writing it.
//! - [`verify`]: checking a file with seals and public keys alone.

mod blocks;
mod body;
mod format;
mod lines;
mod read;
mod verify;

pub use body::{export, filtered};
pub use format::{Format, Header};
pub use verify::{ExportError, verify, verify_against};

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
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Exports that run at once, each on a connection of its own.
const AT_ONCE: usize = 2;
static RUNNING: Semaphore = Semaphore::const_new(AT_ONCE);

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/export", get(show))
}

async fn show(State(audit): State<Arc<Audit>>, headers: HeaderMap, mut params: Params) -> Result<Response, Problem> {
    let (format, filter) = (params.text("format", named), event::filter(&mut params, &audit));
    let (Some(format), Some(filter)) = (format, filter) else { return Err(params.refuse()) };
    let format = format.unwrap_or_else(|| accepted(&headers));
    let permit = RUNNING.try_acquire().map_err(|_| busy())?;
    let (heads, at) = audit.log.heads_now().await.map_err(Problem::internal)?;
    let identity = *audit.log.identity();
    if filter == Filter::default() {
        let header = Header::of(identity, heads, None, at);
        return Ok(answer(format, export(audit.bulk.clone(), header, format), permit));
    }
    let header = Header::of(identity, heads, Some(stated(&filter)), at);
    let search = Search::begin(&audit.log, &audit.read, filter, Order::Ascending, None).await;
    Ok(answer(format, filtered(search.map_err(Problem::internal)?, header, format), permit))
}

/// A filter as a header has it: what is set, by the names of the parameters.
fn stated(filter: &Filter) -> Value {
    let text = |text: &dyn ToString| Value::from(text.to_string());
    let bound = |bound: Bound| match bound {
        Bound::Time(time) => Value::from(format::time(time.timestamp_micros())),
        Bound::Position(position) => Value::from(position),
    };
    let fields = [
        ("productId", filter.product.map(|product| Value::from(product.get()))),
        ("userId", filter.user.as_ref().map(|user| text(user))),
        ("investId", filter.invest.map(|invest| text(&invest))),
        ("type", filter.event_type.as_ref().map(|event_type| text(event_type))),
        ("correlationId", filter.correlation.as_ref().map(|correlation| text(correlation))),
        ("from", filter.from.map(bound)),
        ("to", filter.to.map(bound)),
        ("partition", filter.partition.map(Value::from)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}

fn answer(
    format: Format,
    blocks: impl futures::Stream<Item = Result<Vec<u8>, event_log::LogError>> + Send + 'static,
    permit: SemaphorePermit<'static>,
) -> Response {
    // It is given back when the body is.
    let blocks = blocks.map(move |block| {
        let _held = &permit;
        block
    });
    let file = match format {
        Format::Ndjson => "attachment; filename=\"moa-export.ndjson\"",
        Format::Csv => "attachment; filename=\"moa-export.csv\"",
    };
    let head = [(header::CONTENT_TYPE, format.media_type()), (header::CONTENT_DISPOSITION, file)];
    (head, Body::from_stream(blocks)).into_response()
}

fn busy() -> Problem {
    Problem::Conflict(format!("{AT_ONCE} exports are being made already, try again when one is done"))
}

fn named(text: &str) -> Result<Format, &'static str> {
    match text {
        "ndjson" => Ok(Format::Ndjson),
        "csv" => Ok(Format::Csv),
        _ => Err("must be ndjson or csv"),
    }
}

/// What the client takes best; NDJSON where it takes none of ours, or does not say.
fn accepted(headers: &HeaderMap) -> Format {
    const OFFERS: [(&str, Format); 2] = [("application/x-ndjson", Format::Ndjson), ("text/csv", Format::Csv)];
    accept::best(headers, &OFFERS).unwrap_or(Format::Ndjson)
}
