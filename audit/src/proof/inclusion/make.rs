//! Making a proof from the log and the seals in the database.

use super::super::columns::Columns;
use super::super::hex::hex;
use super::super::merkle;
use super::super::seal::Seal;
use super::super::store;
use super::{BareSeal, FORMAT, Proof, Proved};
use connection_pool::Pool;
use domain::InvestId;
use event_log::search::{Filter, Order, Search};
use event_log::{Hash, Log, LogError, StoredEvent};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum NotProved {
    /// The log has no such invest.
    #[error("no such invest")]
    Unknown,
    /// None of its events is sealed.
    #[error("none of its events is sealed yet: try again in some seconds, or see that a sealer runs")]
    NotSealed,
    /// The log is not what was sealed.
    #[error("the log is not what was sealed: run moa audit verify")]
    Broken,
    /// The database cannot be read.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The proof of all events of `invest` that are sealed.
pub async fn prove(log: &Log, pool: &Pool, invest: InvestId) -> Result<Proof, NotProved> {
    let rows = rows(log, pool, invest).await?;
    if rows.is_empty() {
        return Err(NotProved::Unknown);
    }
    let (mut events, mut seals, mut unsealed) = (Vec::new(), Vec::<BareSeal>::new(), 0);
    for row in &rows {
        let Some(number) = store::covering(pool, row.partition, row.position).await? else {
            unsealed += 1;
            continue;
        };
        let seal = store::seals_from(pool, number, 1).await?.into_iter().next();
        let seal = seal.and_then(Result::ok).ok_or(NotProved::Broken)?;
        events.push(proved(log, row, &seal).await?);
        if !seals.iter().any(|known| known.seal == number) {
            seals.push(BareSeal::of(&seal));
        }
    }
    if events.is_empty() {
        return Err(NotProved::NotSealed);
    }
    let identity = log.identity();
    let (log, partitions, format) = (identity.log_id, identity.partitions, FORMAT.into());
    Ok(Proof { format, log, partitions, invest: invest.0, events, unsealed, seals })
}

async fn rows(log: &Log, pool: &Pool, invest: InvestId) -> Result<Vec<StoredEvent>, LogError> {
    let filter = Filter { invest: Some(invest), ..Filter::default() };
    let mut search = Search::begin(log, pool, filter, Order::Ascending, None).await?;
    let mut rows = Vec::new();
    loop {
        let page = search.page(event_log::search::MAX_PAGE).await?;
        rows.extend(page.events);
        if page.next.is_none() {
            return Ok(rows);
        }
    }
}

async fn proved(log: &Log, row: &StoredEvent, seal: &Seal) -> Result<Proved, NotProved> {
    let said = &seal.statement;
    // With the one before the stretch, for its first event.
    let mut hashes = log.hashes(said.partition, (said.first - 1).max(1), said.last).await?;
    if said.first == 1 {
        hashes.insert(0, log.identity().genesis(said.partition));
    }
    let leaf = usize::try_from(row.position - said.first).map_err(|_| NotProved::Broken)?;
    let (before, leaves) = (hashes.get(leaf).copied(), hashes.get(1..).unwrap_or_default());
    let whole = leaves.get(leaf) == Some(&row.hash) && merkle::root(leaves) == said.root;
    let before: Hash = before.filter(|_| whole).ok_or(NotProved::Broken)?;
    let path = merkle::path(leaves, leaf).iter().map(|hash| hex(hash)).collect();
    Ok(Proved { row: Columns::from(row), before: hex(&before), seal: said.seal, leaf: leaf as u64, path })
}
