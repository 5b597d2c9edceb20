//! Appends a batch, with or without idempotency keys. Its statement acquires the append lock itself, or the writer holds it already, as after a
//! conflict.

use super::*;
use crate::append_hint::{self, APPEND_CHANNEL};
use tokio::time::Instant;

impl Writer {
    /// Commits `batch`, decided at `at` on the events this writer has seen, and passes it to this process's consumers.
    ///
    /// It is inserted only if the event that it follows is still there, with its hash: a database that has lost its last
    /// commits takes no writes, see [`WriteStop`]. A batch without events confirms the same, and that nobody has written since,
    /// before its refusals count. After [`LogError::OutcomeUnknown`], acquire the append lock: the events read then tell what
    /// happened. Do not cancel it; a caller that does must call [`Writer::discard_connection`].
    pub async fn append(&mut self, batch: Batch, at: DateTime<Utc>) -> Result<Appended, LogError> {
        if let Some(why) = self.stop() {
            return Err(why.into());
        }
        if !self.unreported_events.is_empty() {
            return Ok(Appended::Conflict);
        }
        let (rows, recorded) = self.rows(batch.events, at)?;
        let appended = self.try_append(&rows, batch.keys).await;
        match appended {
            Ok(None) => {
                self.holds_append_lock = false;
                self.advance_head(&rows);
                let events: Arc<[RecordedEvent]> = recorded.into();
                self.log
                    .notify_local_consumers(self.partition, events.clone());
                Ok(Appended::Committed(events))
            }
            Ok(Some(other)) => {
                if other == Appended::Conflict {
                    self.locked_appends_left = QUIET_APPENDS;
                }
                Ok(other)
            }
            Err(error) => {
                self.discard_connection();
                Err(error)
            }
        }
    }

    /// `None` when the batch is committed.
    async fn try_append(
        &mut self,
        rows: &[RawEvent],
        keys: Vec<IdempotencyRecord>,
    ) -> Result<Option<Appended>, LogError> {
        match (rows.is_empty(), keys.is_empty()) {
            (false, true) if !self.holds_append_lock => self.append_in_one_statement(rows).await,
            (true, true) if !self.holds_append_lock => self.confirm().await,
            _ => self.append_in_transaction(rows, keys).await,
        }
    }

    /// The common case: one statement, one round trip, one commit.
    async fn append_in_one_statement(
        &mut self,
        rows: &[RawEvent],
    ) -> Result<Option<Appended>, LogError> {
        let (partition, head, asked) = (self.partition, self.head, SteadyInstant::now());
        let hint = self.hint(rows);
        let connection = self.connection().await?;
        match answer(insert(connection, partition, head, rows, Vec::new(), hint)).await {
            Ok(inserted) if !inserted.follows => Err(self.lost_tail()),
            Ok(inserted) => {
                self.log
                    .clock()
                    .observe(inserted.received, inserted.said, asked);
                Ok(None)
            }
            Err(error) if is_conflict(&error) => Ok(Some(Appended::Conflict)),
            Err(error) if answered(&error) => Err(LogError::Unavailable(error)),
            Err(source) => Err(LogError::OutcomeUnknown {
                first: first(rows),
                source,
            }),
        }
    }

    async fn append_in_transaction(
        &mut self,
        rows: &[RawEvent],
        keys: Vec<IdempotencyRecord>,
    ) -> Result<Option<Appended>, LogError> {
        let claimed_keys: Vec<_> = keys
            .iter()
            .map(|record| (record.user_id.clone(), record.key.clone()))
            .collect();
        if !std::mem::replace(&mut self.holds_append_lock, true) {
            let connection = self.connection().await?;
            answer(sqlx::query("begin").execute(&mut *connection)).await?;
        }
        let (partition, head, asked) = (self.partition, self.head, SteadyInstant::now());
        let hint = self.hint(rows);
        let connection = self.connection().await?;
        let inserted = match answer(insert(connection, partition, head, rows, keys, hint)).await {
            Ok(inserted) if !inserted.follows => return Err(self.lost_tail()),
            Ok(inserted) => inserted,
            Err(error) if is_conflict(&error) => return self.withdraw(Appended::Conflict).await,
            Err(error) => return Err(LogError::Unavailable(error)),
        };
        self.log
            .clock()
            .observe(inserted.received, inserted.said, asked);
        // The statement above holds the append lock, so nobody can change what this one reads.
        if rows.is_empty() && self.confirm().await?.is_some() {
            return self.withdraw(Appended::Conflict).await;
        }
        if inserted.claimed < claimed_keys.len() as i64 {
            self.release_append_lock().await?;
            let connection = self.connection().await?;
            return Ok(Some(Appended::KeysTaken(
                answer(idempotency::records(connection, &claimed_keys)).await?,
            )));
        }
        self.commit(rows).await
    }

    /// What this append tells other processes, unless it has told enough.
    fn hint(&mut self, rows: &[RawEvent]) -> Option<String> {
        let last = rows.last()?;
        self.hints
            .take(Instant::now())
            .then(|| append_hint::payload(last.partition, last.position))
    }

    async fn withdraw(&mut self, outcome: Appended) -> Result<Option<Appended>, LogError> {
        self.release_append_lock().await?;
        Ok(Some(outcome))
    }

    async fn commit(&mut self, rows: &[RawEvent]) -> Result<Option<Appended>, LogError> {
        let connection = self.connection().await?;
        match answer(sqlx::query("commit").execute(&mut *connection)).await {
            Ok(_) => Ok(None),
            Err(error) if answered(&error) => Err(LogError::Unavailable(error)),
            Err(source) => Err(LogError::OutcomeUnknown {
                first: first(rows),
                source,
            }),
        }
    }

    /// Whether the head is still the one that the batch was decided on.
    async fn confirm(&mut self) -> Result<Option<Appended>, LogError> {
        let (partition, known, asked) = (self.partition, self.head, SteadyInstant::now());
        let head = sqlx::query_as::<_, (Option<Position>, Option<Vec<u8>>, DateTime<Utc>)>(
            "select (select position from events where partition = $1 order by position desc limit 1),
                    (select hash from events where partition = $1 and position = $2), clock_timestamp()",
        )
        .bind(partition)
        .bind(known.position);
        let (head, hash, said) = answer(head.fetch_one(self.connection().await?)).await?;
        if known.position > 0 && hash.as_deref() != Some(known.hash.as_slice()) {
            return Err(self.lost_tail());
        }
        self.log.clock().observe(said, said, asked);
        Ok((head.unwrap_or(0) != known.position).then_some(Appended::Conflict))
    }

    fn advance_head(&mut self, rows: &[RawEvent]) {
        if let Some(last) = rows.last() {
            self.head = Head {
                position: last.position,
                hash: last.hash,
                recorded_at: last.recorded_at,
            };
        }
    }

    pub(super) fn rows(
        &self,
        events: Vec<NewEvent>,
        at: DateTime<Utc>,
    ) -> Result<(Vec<RawEvent>, Vec<RecordedEvent>), LogError> {
        let recorded_at = storable(at).max(self.head.recorded_at);
        let mut previous = self.head.hash;
        let mut both = (
            Vec::with_capacity(events.len()),
            Vec::with_capacity(events.len()),
        );
        for (position, event) in (self.head.position + 1..).zip(events) {
            let row = self.row(&event, position, recorded_at, &previous)?;
            previous = row.hash;
            both.1.push(recorded(event, &row));
            both.0.push(row);
        }
        Ok(both)
    }

    fn row(
        &self,
        new: &NewEvent,
        position: Position,
        recorded_at: DateTime<Utc>,
        previous: &Hash,
    ) -> Result<RawEvent, LogError> {
        let json = |error| LogError::Unavailable(sqlx::Error::Encode(Box::new(error)));
        let mut row = RawEvent {
            aggregate_type: "product".into(),
            aggregate_id: new.product_id.to_string(),
            sequence: new.sequence,
            event_type: new.event.name().into(),
            event_version: new.event.version().into(),
            payload: serde_json::to_string(&new.event).map_err(json)?,
            metadata: serde_json::to_string(&new.metadata).map_err(json)?,
            partition: self.partition,
            position,
            event_id: Uuid::now_v7(),
            recorded_at,
            hash: Hash::default(),
        };
        row.hash = RawEventRef::from(&row).chain_hash(previous);
        Ok(row)
    }
}

fn recorded(new: NewEvent, row: &RawEvent) -> RecordedEvent {
    RecordedEvent {
        partition: row.partition,
        position: row.position,
        event_id: row.event_id,
        product_id: new.product_id,
        sequence: new.sequence,
        event: new.event,
        metadata: new.metadata,
        recorded_at: row.recorded_at,
        hash: row.hash,
    }
}

fn first(rows: &[RawEvent]) -> Option<Uuid> {
    rows.first().map(|row| row.event_id)
}

pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    let constraint = error
        .as_database_error()
        .filter(|db| db.is_unique_violation())
        .and_then(|db| db.constraint());
    matches!(constraint, Some("events_fence" | "events_stream"))
}

/// The result of [`insert`].
#[derive(sqlx::FromRow)]
pub(super) struct Inserted {
    /// Keys that were free and are claimed now.
    claimed: i64,
    /// Whether the head's event is there. If not, nothing was written.
    pub(super) follows: bool,
    /// When the statement began, by the database's clock.
    received: DateTime<Utc>,
    /// When it ended, by the same clock.
    said: DateTime<Utc>,
}

/// Acquires the append lock and, if `head` is there with its hash, claims those idempotency keys that are free and inserts the events. A later head shows
/// as a violation of the unique key, not in this statement's reads: its snapshot is older than the lock.
///
/// Where there is a `hint`, listeners get it with the commit.
///
/// The insert is the check: nobody looks a key up before. It claims them in the order of the keys, after the lock, so that two writers cannot deadlock.
pub(super) async fn insert(
    connection: &mut PgConnection,
    partition: Partition,
    head: Head,
    rows: &[RawEvent],
    mut keys: Vec<IdempotencyRecord>,
    hint: Option<String>,
) -> sqlx::Result<Inserted> {
    keys.sort_by(|a, b| (&a.user_id, &a.key).cmp(&(&b.user_id, &b.key)));
    let column = |of: fn(&RawEvent) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let key_column = |of: fn(&IdempotencyRecord) -> &str| keys.iter().map(of).collect::<Vec<_>>();
    sqlx::query_as(
        "with append_lock as materialized (select pg_advisory_xact_lock($1, $2)),
              head as materialized (
                  select from append_lock
                   where $17 = 0 or exists (select from events where partition = $2 and position = $17 and hash = $18)),
              claimed as (
                  insert into idempotency_keys (user_id, key, fingerprint, answer)
                  select c.user_id, c.key, c.fingerprint, c.answer::json
                    from head, unnest($3::text[], $4::text[], $5::text[], $6::text[])
                                   as c (user_id, key, fingerprint, answer)
                      on conflict do nothing returning 1),
              added as (
                  insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                      metadata, partition, position, event_id, recorded_at, hash)
                  select 'product', e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::json,
                         e.metadata::json, $2, e.position, e.event_id, e.recorded_at, e.hash
                    from head, unnest($7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[],
                                      $13::bigint[], $14::uuid[], $15::timestamptz[], $16::bytea[])
                                   as e (aggregate_id, sequence, event_type, event_version, payload, metadata,
                                         position, event_id, recorded_at, hash))
         select (select count(*) from claimed) as claimed, (select count(*) from head) > 0 as follows,
                statement_timestamp() as received, clock_timestamp() as said,
                case when $19::text is not null then pg_notify($20, $19) end",
    )
    .bind(APPEND_LOCK_CLASS)
    .bind(partition)
    .bind(key_column(|record| &record.user_id))
    .bind(key_column(|record| &record.key))
    .bind(key_column(|record| &record.fingerprint))
    .bind(key_column(|record| &record.answer))
    .bind(column(|row| &row.aggregate_id))
    .bind(rows.iter().map(|row| row.sequence).collect::<Vec<_>>())
    .bind(column(|row| &row.event_type))
    .bind(column(|row| &row.event_version))
    .bind(column(|row| &row.payload))
    .bind(column(|row| &row.metadata))
    .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.recorded_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.hash.as_slice()).collect::<Vec<_>>())
    .bind(head.position)
    .bind(head.hash.as_slice())
    .bind(hint)
    .bind(APPEND_CHANNEL)
    .fetch_one(connection)
    .await
}
