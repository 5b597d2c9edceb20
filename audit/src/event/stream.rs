//! All matching events as a stream. One page at a time is in memory, however slow the reader. A failure on the way ends the body
//! without its last chunk, so that no reader takes a part for the whole.

use super::item::{COLUMN_NAMES, Item};
use super::request::Format;
use crate::problem::problem;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edge::{Problem, ServiceTime};
use event_log::LogError;
use event_log::search::{MAX_PAGE_EVENTS, Page, Search};
use futures::{Stream, StreamExt as _, stream};
use std::io;

/// The first page, and then the others, up to `limit` events. What goes wrong with the first is an answer of its own.
pub(super) async fn answer(
    search: Search,
    limit: Option<usize>,
    format: Format,
    time: ServiceTime,
) -> Result<Response, Problem> {
    let mut stream = EventStream {
        search: Some(search),
        left: limit.unwrap_or(usize::MAX),
        format,
        time,
    };
    let first = stream.next().await.map_err(broken_off)?;
    let head = match format {
        Format::Csv => format!("{}\r\n", COLUMN_NAMES.join(",")),
        Format::Json | Format::NdJson => String::new(),
    };
    let begin =
        stream::iter([Bytes::from(head), first.unwrap_or_default()].map(Ok::<_, io::Error>));
    let media_type = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json | Format::NdJson => "application/x-ndjson",
    };
    let body = Body::from_stream(begin.chain(stream.stream()));
    Ok(([(header::CONTENT_TYPE, media_type)], body).into_response())
}

/// Of the first page.
fn broken_off(error: io::Error) -> Problem {
    match error.downcast::<LogError>() {
        Ok(error) => problem(error),
        Err(error) => Problem::internal(error),
    }
}

/// The events that are not written yet.
struct EventStream {
    /// `None` when there is nothing more.
    search: Option<Search>,
    left: usize,
    format: Format,
    time: ServiceTime,
}

impl EventStream {
    /// The next page, written; `None` after the last.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(search) = self.search.as_mut().filter(|_| self.left > 0) else {
            return Ok(None);
        };
        let Page { events, next } = search
            .page(self.left.min(MAX_PAGE_EVENTS))
            .await
            .map_err(io::Error::other)?;
        self.left -= events.len();
        if next.is_none() {
            self.search = None;
        }
        let items = events.into_iter().map(|event| Item::of(event, &self.time));
        match self.format {
            Format::Csv => rows(items),
            Format::Json | Format::NdJson => lines(items),
        }
        .map(Some)
    }

    fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, async |mut stream| {
            let written = stream
                .next()
                .await
                .inspect_err(|error| tracing::error!(%error, "a stream of events broke off"));
            Ok(written?.map(|page| (page, stream)))
        })
    }
}

fn lines(items: impl Iterator<Item = Item>) -> io::Result<Bytes> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, &item)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

/// RFC 4180.
fn rows(items: impl Iterator<Item = Item>) -> io::Result<Bytes> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    for item in items {
        writer.write_record(item.row()).map_err(io::Error::other)?;
    }
    writer
        .into_inner()
        .map(Bytes::from)
        .map_err(|error| io::Error::other(error.to_string()))
}
