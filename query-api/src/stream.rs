//! What changes, as server-sent events: products for everybody, and a user's own invests.
//!
//! One task per stream and process reads what has changed, once for all who listen, and only while somebody listens. It publishes to
//! a [`topic::Topic`], which has the latest state of each item, serialised once. A listener keeps its place in the topic and
//! nothing else, so one that is slow skips states that later ones replace, and takes no memory for them; one that takes nothing
//! is cut by the limits of its connection.
//!
//! The ids of events are consistency tokens. An id says that its listener has everything up to these positions, so a listener that
//! sends it back is sent what may have changed since: that or more, never less.

mod body;
mod feeder;
mod invests;
mod limits;
mod products;
mod topic;

pub use limits::{MAX_STREAMS, MAX_STREAMS_PER_PEER, MAX_STREAMS_PER_USER, StreamLimits};

pub(crate) use invests::{InvestStream, listen as listen_to_invests};
pub(crate) use products::{ProductStream, listen as listen_to_products};

use axum::body::Bytes;
use axum::extract::{Extension, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use edge::{ClientAddress, ConsistencyToken, Problem, ServiceTime, Times};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::WatchedLog;
use crate::view_rows::ConsistencyHeaders;
use feeder::Audience;
use limits::Admission;
use topic::{Topic, TopicReader, Zone};

/// How long a new listener waits for the state that it asks for, or for the first state at all.
const FIRST_STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// What both streams share.
#[derive(Clone)]
pub(crate) struct Streams {
    log: WatchedLog,
    partitions: usize,
    admission: Admission,
    shutdown: CancellationToken,
}

impl Streams {
    pub(crate) fn new(
        log: WatchedLog,
        partitions: usize,
        limits: StreamLimits,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            log,
            partitions,
            admission: Admission::new(limits),
            shutdown,
        }
    }

    /// As PostgreSQL's `generate_series` takes it.
    fn partitions_as_sql(&self) -> i32 {
        i32::try_from(self.partitions).unwrap_or(i32::MAX)
    }

    /// A product's partition: its id modulo partitions.
    fn partition_of(&self, product_id: i64) -> usize {
        let partitions = i64::try_from(self.partitions).unwrap_or(i64::MAX).max(1);
        usize::try_from(product_id % partitions).unwrap_or(0)
    }

    fn token(&self, positions: &[i64]) -> ConsistencyToken {
        ConsistencyToken::new(self.log.now(), positions.to_vec())
    }
}

/// What a new listener sends along.
struct Asked {
    /// The last event that it has seen.
    last_event: Option<ConsistencyToken>,
    /// The state that the stream must have reached.
    required: Option<ConsistencyToken>,
}

impl Asked {
    /// The tokens in `headers`; a last event is required too, or the listener would see its own past.
    fn of(headers: &HeaderMap, streams: &Streams) -> Result<Self, Problem> {
        let (log, partitions) = (streams.log.now(), streams.partitions);
        let last_event = ConsistencyToken::last_event(headers, log, partitions)?;
        let required = ConsistencyToken::asked(headers, log, partitions)?;
        let required = match (required, &last_event) {
            (Some(required), Some(last_event)) => Some(required.merged(last_event)),
            (required, last_event) => required.or_else(|| last_event.clone()),
        };
        // Who has seen nothing has nothing to resume.
        let last_event =
            last_event.filter(|token| token.positions().iter().any(|position| *position > 0));
        Ok(Self {
            last_event,
            required,
        })
    }

    /// The listener's place in `topic`.
    fn subscribe(self, topic: Arc<Topic>, zone: Zone, streams: &Streams) -> TopicReader {
        let nothing = || streams.token(&vec![0; streams.partitions]);
        let id = self.last_event.clone().unwrap_or_else(nothing).to_string();
        let since = self.last_event.map(|token| token.positions().to_vec());
        TopicReader::new(topic, zone, since, id.into())
    }

    /// Waits up to 2 s until the stream has reached what is required. What the answer then says of its state.
    async fn reached(
        &self,
        audience: &Audience,
        streams: &Streams,
    ) -> Result<ConsistencyHeaders, Problem> {
        let mut published = audience.published();
        let is_reached = |positions: &[i64]| {
            self.required
                .as_ref()
                .map(|token| token.is_reached_by(positions))
        };
        let is_enough = |now: &Option<Arc<[i64]>>| {
            now.as_ref()
                .is_some_and(|now| is_reached(now) != Some(false))
        };
        // Without it the stream says `timeout`, as every other read does.
        timeout(FIRST_STATE_TIMEOUT, published.wait_for(is_enough))
            .await
            .ok();
        let positions = published.borrow().clone().ok_or(Problem::Overloaded)?;
        Ok(ConsistencyHeaders {
            token: streams.token(&positions),
            reached: is_reached(&positions),
        })
    }
}

/// Up to which versions of a table's rows somebody has read. Rows with later ones have changed since: the read model need not say so in
/// a column, nor an index.
#[derive(Clone, Debug, sqlx::FromRow)]
struct RowVersions {
    /// The table's oid: after a switch of generations it is another.
    #[sqlx(rename = "table_oid")]
    table: i64,
    /// The first transaction that the read may not have seen the end of.
    since: String,
}

impl RowVersions {
    /// Nothing was read.
    fn none() -> Self {
        Self {
            table: 0,
            since: "3".into(),
        }
    }
}

/// An event without its id.
fn serialized(event: &str, data: &impl Serialize) -> sqlx::Result<Bytes> {
    // JSON has no line break.
    let data = serde_json::to_string(data).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    Ok(format!("event: {event}\ndata: {data}\n\n").into())
}

/// Where the request came from, if over a connection.
pub(crate) struct OfAddress(Option<ClientAddress>);

impl<S: Send + Sync> FromRequestParts<S> for OfAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let address = Extension::<ClientAddress>::from_request_parts(parts, state).await;
        Ok(Self(address.ok().map(|Extension(address)| address)))
    }
}

impl Zone {
    /// As a request wants its times.
    fn of(times: Times, time: ServiceTime) -> Self {
        if times.of(time) == time {
            Self::Local
        } else {
            Self::WithOffset
        }
    }
}
