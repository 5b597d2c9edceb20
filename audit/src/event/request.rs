//! The parameters of a search, parsed strictly: every problem is reported at once.

use crate::{Audit, accept};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use domain::{InvestId, UserId};
use edge::{InvalidTimeError, Params, Problem};
use event_log::search::{Bound, Cursor, EVENT_TYPES, Filter, MAX_PAGE_EVENTS, Order};
use uuid::Uuid;

/// Events of a page when nothing is said.
pub(crate) const DEFAULT_EVENTS_PER_PAGE: usize = 100;
/// Characters of a correlation id.
const MAX_CORRELATION_ID_CHARS: usize = 256;

/// What the answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A page, in the envelope.
    Json,
    /// A line of JSON for each.
    NdJson,
    /// A row for each, under a row of names.
    Csv,
}

impl Format {
    /// What the client takes best; a page where it takes none of ours, or does not say.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        const OFFERS: [(&str, Format); 3] = [
            ("application/json", Format::Json),
            ("application/x-ndjson", Format::NdJson),
            ("text/csv", Format::Csv),
        ];
        accept::best(headers, &OFFERS).unwrap_or(Self::Json)
    }
}

/// Which events, and how many of them.
#[derive(Debug)]
pub(super) struct EventsRequest {
    pub(super) filter: Filter,
    pub(super) order: Order,
    pub(super) cursor: Option<Cursor>,
    /// At most so many; `None` when nothing is said.
    pub(super) limit: Option<usize>,
}

impl EventsRequest {
    pub(super) fn read(mut params: Params, audit: &Audit, format: Format) -> Result<Self, Problem> {
        let filter = filter(&mut params, audit);
        let order = params
            .text("order", order)
            .map(|order| order.unwrap_or(Order::Ascending));
        let limit = params.int("limit", |limit| limit_of(limit, format));
        let (Some(filter), Some(order), Some(limit)) = (filter, order, limit) else {
            return Err(params.refuse());
        };
        let cursor = params.text("cursor", |text| {
            Cursor::read(text, audit.log.identity(), &filter, order)
        });
        let Some(cursor) = cursor else {
            return Err(params.refuse());
        };
        Ok(Self {
            filter,
            order,
            cursor,
            limit,
        })
    }
}

/// The filter that `params` have: `productId`, `userId`, `investId`, `type`, `correlationId`, `from`, `to`, `partition`.
/// `None` when any of them is wrong, which `params` then know.
pub(crate) fn filter(params: &mut Params, audit: &Audit) -> Option<Filter> {
    let partitions = audit.log.identity().partitions;
    let bound = |text: &str| bound(text, |text| audit.time.parse(text));
    let product = params.product_id();
    let user = params.text("userId", |text| UserId::try_from(text.to_owned()));
    let invest = params.text("investId", invest);
    let event_type = params.text("type", event_type);
    let correlation = params.text("correlationId", correlation);
    let (from, to) = (params.text("from", bound), params.text("to", bound));
    let partition = params.int("partition", |partition| match i32::try_from(partition) {
        Ok(partition) if (0..partitions).contains(&partition) => Ok(partition),
        _ => Err(format!(
            "must be a whole number from 0 to {}",
            partitions - 1
        )),
    });
    Some(Filter {
        product: product?,
        user: user?,
        invest: invest?,
        event_type: event_type?,
        correlation: correlation?,
        from: from?,
        to: to?,
        partition: partition?,
    })
}

fn invest(text: &str) -> Result<InvestId, &'static str> {
    Uuid::try_parse(text)
        .map(InvestId)
        .map_err(|_| "must be a uuid")
}

fn event_type(text: &str) -> Result<String, String> {
    let known = EVENT_TYPES.contains(&text).then(|| text.to_owned());
    known.ok_or_else(|| format!("must be one of {}", EVENT_TYPES.join(", ")))
}

fn correlation(text: &str) -> Result<String, String> {
    let good = (1..=MAX_CORRELATION_ID_CHARS).contains(&text.chars().count());
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must be 1 to {MAX_CORRELATION_ID_CHARS} characters"
        ))
    }
}

/// A plain whole number is a position, from 1; anything else a time.
fn bound(
    text: &str,
    time: impl Fn(&str) -> Result<DateTime<Utc>, InvalidTimeError>,
) -> Result<Bound, String> {
    const POSITION: &str = "must be a position, a whole number from 1 to 9223372036854775807";
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return match text.parse() {
            Ok(position @ 1..) if !text.starts_with('0') => Ok(Bound::Position(position)),
            _ => Err(POSITION.into()),
        };
    }
    time(text)
        .map(Bound::Time)
        .map_err(|error| format!("{error}, or a position, a whole number from 1"))
}

fn order(text: &str) -> Result<Order, &'static str> {
    match text {
        "asc" => Ok(Order::Ascending),
        "desc" => Ok(Order::Descending),
        _ => Err("must be asc or desc"),
    }
}

/// A page is bounded, a stream only where it is to be.
fn limit_of(limit: i64, format: Format) -> Result<usize, String> {
    let most = match format {
        Format::Json => MAX_PAGE_EVENTS,
        Format::NdJson | Format::Csv => usize::MAX,
    };
    match usize::try_from(limit) {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        _ if most == MAX_PAGE_EVENTS => Err(format!(
            "must be a whole number from 1 to {MAX_PAGE_EVENTS}"
        )),
        _ => Err("must be a whole number from 1".into()),
    }
}
