//! `GET /api/invest/log/stream`: a user's latest invests, and then what becomes of them.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use edge::{Problem, ServiceTime, Times, UserIdHeader};
use sqlx::{FromRow as _, Row as _};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::body::{Listener, respond};
use super::feeder::{Audience, Feed, Published};
use super::topic::{Item, Key, Topic, Zone};
use super::{Asked, FIRST_STATE_TIMEOUT, OfAddress, RowVersions, Streams, serialized};
use crate::Api;
use crate::consistency::ReadModel;
use crate::invest::InvestRow;
use crate::restart::restart_on_panic;

/// Of each user who listens, so many invests are watched: the latest ones.
const MAX_INVESTS_PER_USER: i64 = 20;
/// Users whose invests one statement reads.
const MAX_USERS_PER_READ: usize = 500;

/// The stream of invests, a topic for each user who listens.
pub(crate) struct InvestStream {
    streams: Streams,
    users: Users,
    audience: Audience,
    time: ServiceTime,
    _feeding: AbortOnDropHandle<()>,
}

impl InvestStream {
    /// Needs a runtime: it is fed by a task, as long as it lives.
    pub(crate) fn start(streams: Streams, model: Arc<ReadModel>, time: ServiceTime) -> Self {
        let (users, audience) = (Users::default(), Audience::new("invest"));
        let feeding = restart_on_panic("the stream of invests", {
            let (streams, users, audience) = (streams.clone(), users.clone(), audience.clone());
            move || {
                let feed = InvestFeed::of(streams.clone(), model.clone(), users.clone(), time);
                audience.clone().feed(model.clone(), move || feed.again())
            }
        });
        Self {
            streams,
            users,
            audience,
            time,
            _feeding: AbortOnDropHandle::new(tokio::spawn(feeding)),
        }
    }
}

pub(crate) async fn listen(
    State(api): Api,
    OfAddress(address): OfAddress,
    UserIdHeader(user): UserIdHeader,
    times: Times,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let InvestStream {
        streams,
        users,
        audience,
        time,
        ..
    } = &api.invest_stream;
    let asked = Asked::of(&headers, streams)?;
    let permit = streams.admission.admit(address, Some(user.as_str()))?;
    let topic = users.join(user.as_str(), streams);
    let listening = audience.join();
    let reached = asked.reached(audience, streams).await?;
    timeout(FIRST_STATE_TIMEOUT, topic.published())
        .await
        .map_err(|_| Problem::Overloaded)?;
    let listener = Listener {
        reader: asked.subscribe(topic, Zone::of(times, *time), streams),
        shutdown: streams.shutdown.clone(),
        _listening: listening,
        _permit: permit,
    };
    Ok(reached.add_to(respond(listener)))
}

/// The topics of those who listen; one that nobody listens to any more is forgotten.
#[derive(Clone, Default)]
struct Users {
    topics: Arc<Mutex<HashMap<String, Weak<Topic>>>>,
    /// Whether there may be a topic that is not published yet.
    have_newcomers: Arc<AtomicBool>,
}

impl Users {
    /// The user's topic, which all of the user's listeners share.
    fn join(&self, user: &str, streams: &Streams) -> Arc<Topic> {
        let mut users = self.lock();
        if let Some(topic) = users.get(user).and_then(Weak::upgrade) {
            return topic;
        }
        let nothing = streams.token(&vec![0; streams.partitions]).to_string();
        let topic = Arc::new(Topic::new(nothing.into()));
        users.insert(user.to_owned(), Arc::downgrade(&topic));
        self.have_newcomers.store(true, Relaxed);
        topic
    }

    /// Those that are published already, or those that are not, by the user.
    fn topics(&self, is_published: bool) -> HashMap<String, Arc<Topic>> {
        let mut users = self.lock();
        users.retain(|_, topic| topic.strong_count() > 0);
        let topics = users
            .iter()
            .filter_map(|(user, topic)| Some((user, topic.upgrade()?)));
        let wanted = topics.filter(|(_, topic)| topic.is_published() == is_published);
        wanted.map(|(user, topic)| (user.clone(), topic)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Topic>>> {
        // A panic while it was locked left a complete map.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the invests that have changed, of the users who listen.
struct InvestFeed {
    streams: Streams,
    model: Arc<ReadModel>,
    users: Users,
    time: ServiceTime,
    /// What every user's invests were read at, or before.
    versions: Option<RowVersions>,
}

/// An invest, and whose it is.
#[derive(sqlx::FromRow)]
struct UsersInvest {
    user_id: String,
    #[sqlx(flatten)]
    invest: InvestRow,
}

/// What one statement read.
struct Read {
    versions: RowVersions,
    positions: Vec<i64>,
    items: usize,
}

impl InvestFeed {
    fn of(streams: Streams, model: Arc<ReadModel>, users: Users, time: ServiceTime) -> Self {
        Self {
            streams,
            model,
            users,
            time,
            versions: None,
        }
    }

    /// One that has read nothing yet.
    fn again(&self) -> Self {
        Self::of(
            self.streams.clone(),
            self.model.clone(),
            self.users.clone(),
            self.time,
        )
    }

    /// Reads what has changed of these users' invests since `versions`, and publishes it to each.
    async fn read(
        &self,
        topics: &[(&String, &Arc<Topic>)],
        versions: &RowVersions,
    ) -> sqlx::Result<Read> {
        let users: Vec<&str> = topics.iter().map(|(user, _)| user.as_str()).collect();
        let RowVersions { table, since } = versions;
        let changed = sqlx::query(CHANGED)
            .bind(self.streams.partitions_as_sql())
            .bind(table)
            .bind(since);
        let rows = changed
            .bind(users)
            .bind(MAX_INVESTS_PER_USER)
            .fetch_all(self.model.pool())
            .await?;
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (versions, positions): (_, Vec<i64>) =
            (RowVersions::from_row(first)?, first.try_get("positions")?);
        let present = if first.try_get("present")? {
            &rows[..]
        } else {
            &[]
        };
        let mut changed: HashMap<String, Vec<InvestRow>> = HashMap::new();
        for row in present {
            let UsersInvest { user_id, invest } = UsersInvest::from_row(row)?;
            changed.entry(user_id).or_default().push(invest);
        }
        let id: Arc<str> = self.streams.token(&positions).to_string().into();
        let mut published = 0;
        for (user, topic) in topics {
            let items = self.items(topic, changed.remove(*user).unwrap_or_default(), &positions)?;
            published += items.len();
            topic.publish(items, id.clone());
        }
        Ok(Read {
            versions,
            positions,
            items: published,
        })
    }

    /// Those that are not published yet.
    fn items(
        &self,
        topic: &Topic,
        rows: Vec<InvestRow>,
        positions: &[i64],
    ) -> sqlx::Result<Vec<(Key, Item)>> {
        let mut items = Vec::new();
        for row in rows {
            let of = |time| serialized("invest", &row.item(time));
            let (key, texts) = (
                row.invest_id.as_u128(),
                [of(self.time)?, of(self.time.with_offset())?],
            );
            if !topic.has(key, &texts) {
                let partition = self.streams.partition_of(row.product_id);
                let changed_at = (partition, positions.get(partition).copied().unwrap_or(0));
                items.push((
                    key,
                    Item {
                        texts,
                        changed_at,
                        turned_at: None,
                        is_listed: true,
                    },
                ));
            }
        }
        Ok(items)
    }

    async fn read_all(
        &self,
        topics: &HashMap<String, Arc<Topic>>,
        versions: &RowVersions,
    ) -> sqlx::Result<Vec<Read>> {
        let topics: Vec<_> = topics.iter().collect();
        let mut reads = Vec::new();
        for some in topics.chunks(MAX_USERS_PER_READ) {
            reads.push(self.read(some, versions).await?);
        }
        Ok(reads)
    }
}

impl Feed for InvestFeed {
    async fn welcome(&mut self) -> sqlx::Result<()> {
        if !self.users.have_newcomers.swap(false, Relaxed) {
            return Ok(());
        }
        let reads = self
            .read_all(&self.users.topics(false), &RowVersions::none())
            .await;
        let reads = reads.inspect_err(|_| self.users.have_newcomers.store(true, Relaxed))?;
        // Who came earlier was read at earlier versions, which hold for the later ones too.
        if self.versions.is_none() {
            self.versions = reads.into_iter().next().map(|read| read.versions);
        }
        Ok(())
    }

    /// Each is sent to its user alone, mostly in one window.
    fn sends(&self, items: usize, listeners: u32) -> u32 {
        u32::try_from(items).unwrap_or(listeners)
    }

    async fn publish(&mut self) -> sqlx::Result<Published> {
        let versions = self.versions.clone().unwrap_or_else(RowVersions::none);
        let listening = self.users.topics(true);
        let reads = self.read_all(&listening, &versions).await?;
        let items = reads.iter().map(|read| read.items).sum();
        match reads.into_iter().next() {
            // What the first statement saw, all of them saw.
            Some(first) => {
                self.versions = Some(first.versions);
                Ok(Published {
                    positions: first.positions,
                    items,
                })
            }
            None => Ok(Published {
                positions: self.model.poll().await?,
                items,
            }),
        }
    }
}

/// The latest invests of the users, if their rows have other versions than the last read saw: see the stream of products.
const CHANGED: &str = concat!(
    "
    select changed.invest_id is not null as present,
           ",
    positions_of!("'invest_log'"),
    " as positions,
           to_regclass('invest_log')::oid::bigint as table_oid,
           pg_snapshot_xmin(pg_current_snapshot())::text as since,
           changed.*, product.title
    from (values (1)) as one
    left join (
        select latest.*
        from unnest($4::text[]) as listening (user_id)
        cross join lateral (
            select tableoid as row_table, xmin as row_version, user_id, invest_id, product_id, amount, state, fail_code,
                   fail_detail, accrued_user, accrued_product, requested_at, updated_at
            from invest_log
            where invest_log.user_id = listening.user_id
            order by requested_at desc, invest_id desc limit $5) as latest
        where row_table <> $2::oid or age(row_version) <= age($3::xid8::xid)) as changed on true
    left join invest_log_product as product on product.product_id = changed.product_id"
);
