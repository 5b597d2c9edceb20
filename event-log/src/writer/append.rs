//! Appending a batch: with its keys or without, with the turn or hoping for the best.

use super::*;

impl Writer {
    /// Commits `batch`, decided at `at` on what this writer has seen, and announces it to this process's consumers.
    ///
    /// It goes in only where the event that it follows is still there, with its hash: a database that lost its last commits
    /// is not written on, see [`WriteStop`]. A batch without events still confirms that, and that nobody wrote since, before
    /// its refusals are believed. After
    /// [`LogError::OutcomeUnknown`] take the turn: what is read then is what happened. Not to be cancelled half way; who
    /// does calls [`Writer::forget_connection`].
    pub async fn append(&mut self, batch: Batch, at: DateTime<Utc>) -> Result<Appended, LogError> {
        if let Some(why) = self.stop() {
            return Err(why.into());
        }
        if !self.untold.is_empty() {
            return Ok(Appended::Lost);
        }
        let (rows, recorded) = self.rows(batch.events, at)?;
        let appended = self.try_append(&rows, batch.claims).await;
        match appended {
            Ok(None) => {
                self.has_turn = false;
                self.moved_over(&rows);
                let events: Arc<[RecordedEvent]> = recorded.into();
                self.log.announce(self.partition, events.clone());
                Ok(Appended::Committed(events))
            }
            Ok(Some(other)) => {
                if other == Appended::Lost {
                    self.turns_due = QUIET_TURNS;
                }
                Ok(other)
            }
            Err(error) => {
                self.forget_connection();
                Err(error)
            }
        }
    }

    /// `None` when it is committed.
    async fn try_append(&mut self, rows: &[StoredEvent], claims: Vec<Claim>) -> Result<Option<Appended>, LogError> {
        match (rows.is_empty(), claims.is_empty()) {
            (false, true) if !self.has_turn => self.append_alone(rows).await,
            (true, true) if !self.has_turn => self.confirm().await,
            _ => self.append_in_transaction(rows, claims).await,
        }
    }

    /// The common case: one statement, one round trip, one commit.
    async fn append_alone(&mut self, rows: &[StoredEvent]) -> Result<Option<Appended>, LogError> {
        let (partition, head, asked) = (self.partition, self.head, SteadyInstant::now());
        let connection = self.connection().await?;
        match answer(insert(connection, partition, head, rows, Vec::new())).await {
            Ok(inserted) if !inserted.follows => Err(self.lost_tail()),
            Ok(inserted) => {
                self.log.clock().heard(inserted.received, inserted.said, asked);
                Ok(None)
            }
            Err(error) if is_lost(&error) => Ok(Some(Appended::Lost)),
            Err(error) if answered(&error) => Err(LogError::Unavailable(error)),
            Err(source) => Err(LogError::OutcomeUnknown { first: first(rows), source }),
        }
    }

    async fn append_in_transaction(
        &mut self,
        rows: &[StoredEvent],
        claims: Vec<Claim>,
    ) -> Result<Option<Appended>, LogError> {
        let wanted: Vec<_> = claims.iter().map(|claim| (claim.user_id.clone(), claim.key.clone())).collect();
        if !std::mem::replace(&mut self.has_turn, true) {
            let connection = self.connection().await?;
            answer(sqlx::query("begin").execute(&mut *connection)).await?;
        }
        let (partition, head, asked) = (self.partition, self.head, SteadyInstant::now());
        let connection = self.connection().await?;
        let inserted = match answer(insert(connection, partition, head, rows, claims)).await {
            Ok(inserted) if !inserted.follows => return Err(self.lost_tail()),
            Ok(inserted) => inserted,
            Err(error) if is_lost(&error) => return self.withdraw(Appended::Lost).await,
            Err(error) => return Err(LogError::Unavailable(error)),
        };
        self.log.clock().heard(inserted.received, inserted.said, asked);
        // The statement above holds the turn now, so this one reads what nobody can change any more.
        if rows.is_empty() && self.confirm().await?.is_some() {
            return self.withdraw(Appended::Lost).await;
        }
        if inserted.claimed < wanted.len() as i64 {
            self.give_turn_back().await?;
            let connection = self.connection().await?;
            return Ok(Some(Appended::KeysTaken(answer(keys::stored_answers(connection, &wanted)).await?)));
        }
        self.commit(rows).await
    }

    async fn withdraw(&mut self, outcome: Appended) -> Result<Option<Appended>, LogError> {
        self.give_turn_back().await?;
        Ok(Some(outcome))
    }

    async fn commit(&mut self, rows: &[StoredEvent]) -> Result<Option<Appended>, LogError> {
        let connection = self.connection().await?;
        match answer(sqlx::query("commit").execute(&mut *connection)).await {
            Ok(_) => Ok(None),
            Err(error) if answered(&error) => Err(LogError::Unavailable(error)),
            Err(source) => Err(LogError::OutcomeUnknown { first: first(rows), source }),
        }
    }

    /// Whether the head is still the one that was decided on.
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
        self.log.clock().heard(said, said, asked);
        Ok((head.unwrap_or(0) != known.position).then_some(Appended::Lost))
    }

    fn moved_over(&mut self, rows: &[StoredEvent]) {
        if let Some(last) = rows.last() {
            self.head = Head { position: last.position, hash: last.hash, recorded_at: last.recorded_at };
        }
    }

    pub(super) fn rows(
        &self,
        events: Vec<NewEvent>,
        at: DateTime<Utc>,
    ) -> Result<(Vec<StoredEvent>, Vec<RecordedEvent>), LogError> {
        let recorded_at = storable(at).max(self.head.recorded_at);
        let mut previous = self.head.hash;
        let mut both = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
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
    ) -> Result<StoredEvent, LogError> {
        let json = |error| LogError::Unavailable(sqlx::Error::Encode(Box::new(error)));
        let mut row = StoredEvent {
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
        row.hash = chain::link(previous, &row);
        Ok(row)
    }
}

fn recorded(new: NewEvent, row: &StoredEvent) -> RecordedEvent {
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

fn first(rows: &[StoredEvent]) -> Option<Uuid> {
    rows.first().map(|row| row.event_id)
}

pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().filter(|db| db.is_unique_violation()).and_then(|db| db.constraint());
    matches!(constraint, Some("events_fence" | "events_stream"))
}

/// What the statement below says.
#[derive(sqlx::FromRow)]
pub(super) struct Inserted {
    /// How many keys it got.
    claimed: i64,
    /// Whether the head was there. If not, nothing was done.
    pub(super) follows: bool,
    /// When it was asked, by the database's clock.
    received: DateTime<Utc>,
    /// When it answered, by the same.
    said: DateTime<Utc>,
}

/// Takes the turn and, where `head` is there with its hash, claims the keys that are free and adds the events. That a
/// later head is there shows in the unique key, not in this statement: it reads the snapshot from before it had the turn.
///
/// Keys are claimed in key order, after the turn, so that no two writers can wait for each other.
pub(super) async fn insert(
    connection: &mut PgConnection,
    partition: Partition,
    head: Head,
    rows: &[StoredEvent],
    mut claims: Vec<Claim>,
) -> sqlx::Result<Inserted> {
    claims.sort_by(|a, b| (&a.user_id, &a.key).cmp(&(&b.user_id, &b.key)));
    let column = |of: fn(&StoredEvent) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let claim = |of: fn(&Claim) -> &str| claims.iter().map(of).collect::<Vec<_>>();
    sqlx::query_as(
        "with turn as materialized (select pg_advisory_xact_lock($1, $2)),
              head as materialized (
                  select from turn
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
                statement_timestamp() as received, clock_timestamp() as said",
    )
    .bind(TURN_LOCK)
    .bind(partition)
    .bind(claim(|c| &c.user_id))
    .bind(claim(|c| &c.key))
    .bind(claim(|c| &c.fingerprint))
    .bind(claim(|c| &c.answer))
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
    .fetch_one(connection)
    .await
}
