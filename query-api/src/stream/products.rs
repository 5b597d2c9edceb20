//! `GET /api/product/stream`: the products that take invests now, and then every product that changes.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use edge::{Problem, ServiceTime, Times, UserIdHeader};
use sqlx::{FromRow as _, Row as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::body::{Listener, respond};
use super::feeder::{Audience, Feed, Published};
use super::topic::{Item, Key, MAX_ITEMS_PER_TOPIC, Topic, Zone};
use super::{Asked, OfAddress, RowVersions, Streams, serialized};
use crate::Api;
use crate::consistency::ReadModel;
use crate::product_row::{ProductRow, product_columns};
use crate::restart::restart_on_panic;
use crate::view_rows::ViewRows;

/// The stream of products.
pub(crate) struct ProductStream {
    streams: Streams,
    topic: Arc<Topic>,
    audience: Audience,
    time: ServiceTime,
    _feeding: AbortOnDropHandle<()>,
}

impl ProductStream {
    /// Needs a runtime: it is fed by a task, as long as it lives.
    pub(crate) fn start(streams: Streams, model: Arc<ReadModel>, time: ServiceTime) -> Self {
        let nothing = streams.token(&vec![0; streams.partitions]).to_string();
        let (topic, audience) = (
            Arc::new(Topic::new(nothing.into())),
            Audience::new("product"),
        );
        let feeding = restart_on_panic("the stream of products", {
            let (streams, topic, audience) = (streams.clone(), topic.clone(), audience.clone());
            move || {
                let feed = ProductFeed::of(streams.clone(), model.clone(), topic.clone(), time);
                audience.clone().feed(model.clone(), move || feed.again())
            }
        });
        Self {
            streams,
            topic,
            audience,
            time,
            _feeding: AbortOnDropHandle::new(tokio::spawn(feeding)),
        }
    }
}

/// A user is counted where the request names one.
pub(crate) async fn listen(
    State(api): Api,
    OfAddress(address): OfAddress,
    user: Result<UserIdHeader, Problem>,
    times: Times,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ProductStream {
        streams,
        topic,
        audience,
        time,
        ..
    } = &api.product_stream;
    let asked = Asked::of(&headers, streams)?;
    let user = match user {
        Ok(UserIdHeader(user)) => Some(user),
        Err(over @ Problem::OverRate(_)) => return Err(over),
        Err(_) => None,
    };
    let permit = streams
        .admission
        .admit(address, user.as_ref().map(|user| user.as_str()))?;
    let listening = audience.join();
    let reached = asked.reached(audience, streams).await?;
    let listener = Listener {
        reader: asked.subscribe(topic.clone(), Zone::of(times, *time), streams),
        shutdown: streams.shutdown.clone(),
        _listening: listening,
        _permit: permit,
    };
    Ok(reached.add_to(respond(listener)))
}

/// Reads the products that have changed, of all that the read model has.
struct ProductFeed {
    streams: Streams,
    model: Arc<ReadModel>,
    topic: Arc<Topic>,
    time: ServiceTime,
    versions: RowVersions,
    /// Those whose window has yet to begin or to end.
    turning: BTreeMap<i64, ProductRow>,
    /// When the first of them does.
    next_turn: Option<DateTime<Utc>>,
    clock: Option<(DateTime<Utc>, Instant)>,
}

impl ProductFeed {
    fn of(streams: Streams, model: Arc<ReadModel>, topic: Arc<Topic>, time: ServiceTime) -> Self {
        let (turning, versions) = (BTreeMap::new(), RowVersions::none());
        Self {
            streams,
            model,
            topic,
            time,
            versions,
            turning,
            next_turn: None,
            clock: None,
        }
    }

    /// One that has read nothing yet.
    fn again(&self) -> Self {
        Self::of(
            self.streams.clone(),
            self.model.clone(),
            self.topic.clone(),
            self.time,
        )
    }

    /// The database's time now, or a moment before: no window begins here that has not begun there.
    fn now(&self) -> Option<DateTime<Utc>> {
        self.clock
            .map(|(time, at)| time + TimeDelta::from_std(at.elapsed()).unwrap_or_default())
    }

    /// The products whose window began or ended, unless they are among `changed`, as they are now.
    fn turned(&self, now: DateTime<Utc>, changed: &[ProductRow]) -> Vec<ProductRow> {
        let is_read = |id: i64| changed.iter().any(|row| row.product_id == id);
        let turned = self
            .turning
            .values()
            .filter(|row| row.next_turn().is_some_and(|at| at <= now));
        turned
            .filter(|row| !is_read(row.product_id))
            .cloned()
            .map(|row| ProductRow { now, ..row })
            .collect()
    }

    /// The row's item, if that is not published yet.
    fn item(&self, row: &ProductRow, positions: &[i64]) -> sqlx::Result<Option<(Key, Item)>> {
        let (Ok(key), texts) = (Key::try_from(row.product_id), self.texts(row)?) else {
            return Ok(None);
        };
        let partition = self.streams.partition_of(row.product_id);
        let changed_at = (partition, positions.get(partition).copied().unwrap_or(0));
        if self.topic.has(key, &texts) {
            return Ok(None);
        }
        Ok(Some((
            key,
            Item {
                texts,
                changed_at,
                turned_at: row.last_turn(),
                is_listed: row.takes_invests(),
            },
        )))
    }

    fn texts(&self, row: &ProductRow) -> sqlx::Result<[axum::body::Bytes; 2]> {
        let of = |time| serialized("product", &row.whole(time));
        Ok([of(self.time)?, of(self.time.with_offset())?])
    }
}

impl Feed for ProductFeed {
    fn is_due(&self) -> bool {
        self.next_turn
            .zip(self.now())
            .is_some_and(|(turn, now)| turn <= now)
    }

    async fn publish(&mut self) -> sqlx::Result<Published> {
        let RowVersions { table, since } = &self.versions;
        let changed = sqlx::query(CHANGED)
            .bind(self.streams.partitions_as_sql())
            .bind(table)
            .bind(since);
        let rows = changed
            .bind(MAX_ITEMS_PER_TOPIC as i64)
            .fetch_all(self.model.pool())
            .await?;
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (versions, time) = (RowVersions::from_row(first)?, first.try_get("clock")?);
        let ViewRows {
            rows: mut changed,
            positions,
            ..
        } = ViewRows::<ProductRow>::of(&rows)?;
        // As of after the answer, so that this clock is behind the database's.
        self.clock = Some((time, Instant::now()));
        changed.extend(self.turned(time, &changed));
        let items = changed
            .iter()
            .filter_map(|row| self.item(row, &positions).transpose());
        let items = items.collect::<sqlx::Result<Vec<_>>>()?;
        let published = items.len();
        self.topic
            .publish(items, self.streams.token(&positions).to_string().into());
        for row in changed {
            match row.next_turn() {
                Some(_) => self.turning.insert(row.product_id, row),
                None => self.turning.remove(&row.product_id),
            };
        }
        self.next_turn = self
            .turning
            .values()
            .filter_map(ProductRow::next_turn)
            .min();
        self.versions = versions;
        Ok(Published {
            positions,
            items: published,
        })
    }
}

/// The products whose row has another version than the last read saw: written by a transaction that it did not see the end of, or in
/// another table, after a switch of generations. Some may be the same as before.
const CHANGED: &str = concat!(
    "
    select product.product_id is not null as present,
           1::bigint as total_count,
           ",
    positions_of!("'product_list'"),
    " as positions,
           to_regclass('product_list')::oid::bigint as table_oid,
           pg_snapshot_xmin(pg_current_snapshot())::text as since,
           statement_timestamp() as clock,
           product.*
    from (values (1)) as one
    left join (
        select ",
    product_columns!(),
    ", statement_timestamp() as now
        from product_list
        where tableoid <> $2::oid or age(xmin) <= age($3::xid8::xid)
        order by product_id desc limit $4) as product on true"
);
