//! The table `act_seals`. What is read there is not trusted before it is checked: see [`proof::act_seal_chain`].

use chrono::{DateTime, Utc};
use connection_pool::{Connection, Pool};
use ed25519_dalek::Signature;
use event_log::Hash;
use proof::act_seal::{ActSeal, ActStatement};
use proof::key::KeyId;
use proof::seal::SealParseError;
use sqlx::PgExecutor;
use uuid::Uuid;

/// Seals of acts that are read at once: with their names some 300 KB.
pub const ACT_SEALS_PER_PAGE: i64 = 1_000;

/// Up to `limit` seals after number `after`, in order.
pub async fn seals_after(
    executor: impl PgExecutor<'_>,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<Result<ActSeal, SealParseError>>> {
    let rows: Vec<Row> = sqlx::query_as(
        r#"select seal, log, act, hash, case when at between '0001-01-01Z' and '9999-12-31Z' then at else 'epoch' end as at,
                  previous, key, signature
             from act_seals where seal > $1 order by seal limit $2"#,
    )
    .bind(after)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(Row::seal).collect())
}

/// Every seal, page by page; where one cannot be read, those before it and that one.
pub async fn all_seals(pool: &Pool) -> sqlx::Result<Vec<Result<ActSeal, SealParseError>>> {
    let (mut seals, mut after) = (Vec::new(), i64::MIN);
    loop {
        let page = seals_after(pool, after, ACT_SEALS_PER_PAGE).await?;
        let is_last = page.len() < ACT_SEALS_PER_PAGE as usize;
        let last = page
            .last()
            .and_then(|seal| seal.as_ref().ok())
            .map(|seal| seal.statement.seal);
        seals.extend(page);
        match last {
            Some(last) if !is_last => after = last,
            _ => return Ok(seals),
        }
    }
}

/// Adds a seal, in the caller's transaction; false where there is one of its number already.
pub async fn insert(connection: &mut Connection, seal: &ActSeal) -> sqlx::Result<bool> {
    let statement = &seal.statement;
    let inserted = sqlx::query(
        "insert into act_seals (seal, log, act, hash, at, previous, key, signature)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
    )
    .bind(statement.seal)
    .bind(statement.log)
    .bind(statement.act)
    .bind(statement.hash.as_slice())
    .bind(statement.at)
    .bind(statement.previous.as_slice())
    .bind(seal.key.0.as_slice())
    .bind(seal.signature.to_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

#[derive(sqlx::FromRow)]
struct Row {
    seal: i64,
    log: Uuid,
    act: i64,
    hash: Vec<u8>,
    at: DateTime<Utc>,
    previous: Vec<u8>,
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl Row {
    fn seal(self) -> Result<ActSeal, SealParseError> {
        let hash =
            |name: &str, bytes: &[u8]| -> Result<Hash, SealParseError> { bytes_of(name, bytes) };
        let statement = ActStatement {
            log: self.log,
            seal: self.seal,
            act: self.act,
            hash: hash("hash", &self.hash)?,
            at: self.at,
            previous: hash("previous", &self.previous)?,
        };
        let signature = Signature::from_bytes(&bytes_of("signature", &self.signature)?);
        Ok(ActSeal {
            statement,
            key: KeyId(bytes_of("key", &self.key)?),
            signature,
        })
    }
}

fn bytes_of<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], SealParseError> {
    bytes
        .try_into()
        .map_err(|_| SealParseError(format!("its {name} is malformed")))
}
