//! Making inclusion proofs from the log and the seals in the database.

use super::seal_store;
use connection_pool::Pool;
use domain::InvestId;
use event_log::search::{Filter, Order, Search};
use event_log::{Log, LogError, RawEvent};
use proof::inclusion::{Proof, ProvedEvent};
use proof::seal::Seal;

/// There is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log has no such invest.
    #[error("no such invest")]
    Unknown,
    /// None of its events is sealed.
    #[error(
        "none of its events is sealed yet: try again in some seconds, or see that a sealer runs"
    )]
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
pub async fn prove(log: &Log, pool: &Pool, invest: InvestId) -> Result<Proof, ProveError> {
    let rows = rows(log, pool, invest).await?;
    if rows.is_empty() {
        return Err(ProveError::Unknown);
    }
    let (mut events, mut seals, mut unsealed) = (Vec::new(), Vec::<Seal>::new(), 0);
    for row in &rows {
        let Some(number) = seal_store::covering(pool, row.partition, row.position).await? else {
            unsealed += 1;
            continue;
        };
        let seal = seal_store::seals_from(pool, number, 1)
            .await?
            .into_iter()
            .next();
        let seal = seal.and_then(Result::ok).ok_or(ProveError::Broken)?;
        events.push(proved(log, row, &seal).await?);
        if !seals.iter().any(|known| known.statement.seal == number) {
            seals.push(seal);
        }
    }
    if events.is_empty() {
        return Err(ProveError::NotSealed);
    }
    Ok(Proof::new(
        log.identity(),
        invest.0,
        events,
        &seals,
        unsealed,
    ))
}

async fn rows(log: &Log, pool: &Pool, invest: InvestId) -> Result<Vec<RawEvent>, LogError> {
    let filter = Filter {
        invest: Some(invest),
        ..Filter::default()
    };
    let mut search = Search::begin(log, pool, filter, Order::Ascending, None).await?;
    let mut rows = Vec::new();
    loop {
        let page = search.page(event_log::search::MAX_PAGE_EVENTS).await?;
        rows.extend(page.events);
        if page.next.is_none() {
            return Ok(rows);
        }
    }
}

async fn proved(log: &Log, row: &RawEvent, seal: &Seal) -> Result<ProvedEvent, ProveError> {
    let statement = &seal.statement;
    // With the hash before the segment, for its first event.
    let mut hashes = log
        .hashes(
            statement.partition,
            (statement.first - 1).max(1),
            statement.last,
        )
        .await?;
    if statement.first == 1 {
        hashes.insert(0, log.identity().genesis(statement.partition));
    }
    ProvedEvent::new(row, seal, &hashes).ok_or(ProveError::Broken)
}
