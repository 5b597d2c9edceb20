//! The table `seals`. What is read there is not trusted before it is checked: see [`proof::seal_chain`].

use chrono::{DateTime, Utc};
use connection_pool::{Connection, Pool};
use ed25519_dalek::Signature;
use event_log::{Hash, Partition, Position};
use proof::key::KeyId;
use proof::seal::{Loss, Seal, SealParseError, Statement};
use proof::seal_chain::SealedTo;
use sha2::{Digest, Sha256};
use sqlx::PgExecutor;
use uuid::Uuid;

/// Seals that are read at once: with full segments some 4 MB.
pub const SEALS_PER_PAGE: i64 = 100;

/// Up to `limit` seals from number `from` on, in order.
pub async fn seals_from(
    executor: impl PgExecutor<'_>,
    from: i64,
    limit: i64,
) -> sqlx::Result<Vec<Result<Seal, SealParseError>>> {
    let rows: Vec<Row> = sqlx::query_as(
        r#"select seal, log, partitions, partition, first, last, head, root, marks,
                  to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, previous, key, signature,
                  lost_first, lost_last
             from seals where seal >= $1 order by seal limit $2"#,
    )
    .bind(from)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(Row::seal).collect())
}

/// The number of the newest seal; 0 without any.
pub async fn last(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("select coalesce(max(seal), 0) from seals")
        .fetch_one(executor)
        .await
}

/// Every seal, page by page.
pub async fn all_seals(pool: &Pool) -> sqlx::Result<Vec<Result<Seal, SealParseError>>> {
    let mut seals = Vec::new();
    let mut from = i64::MIN;
    loop {
        let page = seals_from(pool, from, SEALS_PER_PAGE).await?;
        let full = page.len() == SEALS_PER_PAGE as usize;
        // What follows one that cannot be read is not valid in any case.
        let Some(Ok(last)) = page.last() else {
            seals.extend(page);
            return Ok(seals);
        };
        from = last.statement.seal + 1;
        seals.extend(page);
        if !full {
            return Ok(seals);
        }
    }
}

/// The number of the seal that covers `position` of `partition`; `None` when it is not sealed.
pub async fn covering(
    executor: impl PgExecutor<'_>,
    partition: Partition,
    position: Position,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "select seal from seals
          where partition = $1 and last >= $2 and first <= $2 and lost_first is null
            and not exists (select from seals loss where loss.partition = $1 and loss.lost_first is not null
                                                     and loss.seal > seals.seal and loss.last < seals.last)
          order by last limit 1",
    )
    .bind(partition)
    .bind(position)
    .fetch_optional(executor)
    .await
}

/// The database's time.
pub async fn now(connection: &mut Connection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(connection)
        .await
}

/// Up to `limit` ends of segments of `partition` up to `position`, the last first; those that do not stand are among them.
pub async fn ends_until(
    connection: &mut Connection,
    partition: Partition,
    position: Position,
    limit: i64,
) -> sqlx::Result<Vec<SealedTo>> {
    let ends: Vec<(Position, Vec<u8>)> = sqlx::query_as(
        "select last, head from seals where partition = $1 and last <= $2 and lost_first is null order by last desc limit $3",
    )
    .bind(partition)
    .bind(position)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let end = |(position, head): (Position, Vec<u8>)| {
        Some(SealedTo {
            position,
            head: head.try_into().ok()?,
        })
    };
    Ok(ends.into_iter().filter_map(end).collect())
}

/// The hash prefixes of the newest segment of `partition` that begins at `first`; none when there is no such segment.
pub async fn hash_prefixes_from(
    connection: &mut Connection,
    partition: Partition,
    first: Position,
) -> sqlx::Result<Vec<u8>> {
    let found: Option<Vec<u8>> = sqlx::query_scalar(
        "select marks from seals where partition = $1 and first = $2 and lost_first is null order by seal desc limit 1",
    )
    .bind(partition)
    .bind(first)
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Adds a seal, in the caller's transaction.
pub async fn insert(connection: &mut Connection, seal: &Seal) -> sqlx::Result<()> {
    let statement = &seal.statement;
    sqlx::query(
        "insert into seals (seal, log, partitions, partition, first, last, head, root, marks, at, previous, key, signature,
                            lost_first, lost_last)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(statement.seal)
    .bind(statement.log)
    .bind(statement.partitions)
    .bind(statement.partition)
    .bind(statement.first)
    .bind(statement.last)
    .bind(statement.head.as_slice())
    .bind(statement.loss.map_or(statement.root, |loss| loss.head).as_slice())
    .bind(&seal.hash_prefixes)
    .bind(statement.at)
    .bind(statement.previous.as_slice())
    .bind(seal.key.0.as_slice())
    .bind(seal.signature.to_bytes().as_slice())
    .bind(statement.loss.map(|loss| loss.first))
    .bind(statement.loss.map(|loss| loss.last))
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    seal: i64,
    log: Uuid,
    partitions: i32,
    partition: Partition,
    first: Position,
    last: Position,
    head: Vec<u8>,
    root: Vec<u8>,
    marks: Vec<u8>,
    at: Option<String>,
    previous: Vec<u8>,
    key: Vec<u8>,
    signature: Vec<u8>,
    lost_first: Option<Position>,
    lost_last: Option<Position>,
}

impl Row {
    fn seal(self) -> Result<Seal, SealParseError> {
        let root: Hash = bytes("root", &self.root)?;
        let loss = self
            .lost_first
            .zip(self.lost_last)
            .map(|(first, last)| Loss {
                first,
                last,
                head: root,
            });
        let statement = Statement {
            log: self.log,
            partitions: self.partitions,
            seal: self.seal,
            partition: self.partition,
            first: self.first,
            last: self.last,
            head: bytes("head", &self.head)?,
            root: if loss.is_some() {
                Hash::default()
            } else {
                root
            },
            hash_prefixes_digest: Sha256::digest(&self.marks).into(),
            at: self
                .at
                .as_deref()
                .and_then(proof::time::parse)
                .ok_or_else(|| SealParseError("its at is malformed".into()))?,
            previous: bytes("previous", &self.previous)?,
            loss,
        };
        let signature = Signature::from_bytes(&bytes("signature", &self.signature)?);
        Ok(Seal {
            statement,
            hash_prefixes: self.marks,
            key: KeyId(bytes("key", &self.key)?),
            signature,
        })
    }
}

fn bytes<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], SealParseError> {
    bytes
        .try_into()
        .map_err(|_| SealParseError(format!("its {name} is malformed")))
}
