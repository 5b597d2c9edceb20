//! A database that was set back, once an operator accepted that: the seals that only the file has come back into it, and a loss seal
//! says of each partition what is lost. Then sealing goes on.

use super::super::seal_store::{self, SEALS_PER_PAGE};
use super::begin::read_lines;
use super::{SealError, Sealer};
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use event_log::{Log, Partition, Position};
use proof::seal::{HASH_PREFIX_BYTES, Loss, MAX_EVENTS_PER_SEAL, Seal, SealParseError, Statement};
use proof::seal_chain::{SealChain, SealedTo};
use proof::seals_file::Lines;
use sha2::{Digest, Sha256};
use sqlx::Executor as _;
use tokio_util::sync::CancellationToken;

impl Sealer {
    /// Takes the seals that the database lost from the file, `page` and then `lines`, and says what is lost: all in one transaction, so
    /// that a start in between finds the database as it was. A conflict unless an operator accepted a loss after the last of these seals
    /// was made: an acceptance from before is of another loss.
    pub(super) async fn accept_loss(
        &mut self,
        page: Vec<Result<Seal, SealParseError>>,
        lines: Option<Lines>,
    ) -> Result<(), SealError> {
        let sealed = self.seal_loss(page, lines).await;
        if sealed.is_err() {
            // So that whoever tries next need not wait; if it fails, the lease expires.
            self.release_lease().await.ok();
        }
        sealed
    }

    async fn seal_loss(
        &mut self,
        mut page: Vec<Result<Seal, SealParseError>>,
        mut lines: Option<Lines>,
    ) -> Result<(), SealError> {
        let set_back = self.set_back();
        let accepted = self
            .log
            .loss_accepted_at()
            .await?
            .ok_or_else(|| SealError::Conflict(set_back.clone()))?;
        if !self.holds_lease().await? {
            return Err(SealError::Unavailable(
                "another instance seals the loss".into(),
            ));
        }
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let mut transaction = self.pool.begin().await?;
        transaction
            .execute("set local synchronous_commit = on")
            .await?;
        if !lease.verify_held(&mut transaction).await? {
            return Err(SealError::Unavailable(
                "another instance seals the loss".into(),
            ));
        }
        let mut chain = self.chain.clone();
        while !page.is_empty() {
            take_back(&mut transaction, &mut chain, page, accepted)
                .await?
                .ok_or_else(|| SealError::Conflict(set_back.clone()))?;
            (page, lines) = read_lines(lines, SEALS_PER_PAGE as usize).await?;
        }
        let mut losses = Vec::new();
        for partition in self.log.partitions() {
            let Some(statement) = loss_of(&self.log, &mut transaction, &chain, partition).await?
            else {
                continue;
            };
            let seal = statement.seal(Vec::new(), &self.key);
            chain
                .append(&seal)
                .map_err(|why| SealError::Conflict(format!("the loss cannot be sealed: {why}")))?;
            seal_store::insert(&mut transaction, &seal).await?;
            losses.push(seal);
        }
        transaction.commit().await?;
        losses.iter().for_each(tell);
        self.chain = chain;
        self.write(losses).await
    }

    fn set_back(&self) -> String {
        let last = self.chain.seals();
        format!(
            "the file has seal {}, and the database ends at seal {last}: the database was set back",
            last + 1
        )
    }
}

/// Waits until an operator accepts a loss that is newer than `known`, and gives its time; `None` on shutdown.
pub(super) async fn accepted_after(
    log: &Log,
    known: Option<DateTime<Utc>>,
    shutdown: &CancellationToken,
) -> Option<DateTime<Utc>> {
    loop {
        if let Ok(Some(accepted)) = log.loss_accepted_at().await
            && known.is_none_or(|known| accepted > known)
        {
            return Some(accepted);
        }
        shutdown
            .run_until_cancelled(tokio::time::sleep(super::SEAL_INTERVAL))
            .await?;
    }
}

fn tell(seal: &Seal) {
    let Some(loss) = &seal.statement.loss else {
        return;
    };
    let (seal, partition) = (seal.statement.seal, seal.statement.partition);
    tracing::warn!(
        seal,
        partition,
        first = loss.first,
        last = loss.last,
        "sealed that these events are lost"
    );
}

/// Puts seals of the file into the database again; `None` when one was made after the loss was accepted.
async fn take_back(
    transaction: &mut Connection,
    chain: &mut SealChain,
    page: Vec<Result<Seal, SealParseError>>,
    accepted: DateTime<Utc>,
) -> Result<Option<()>, SealError> {
    for seal in page {
        let number = chain.seals() + 1;
        let invalid = |why: String| {
            SealError::Conflict(format!("seal {number} in the file is not valid: {why}"))
        };
        let seal = seal.map_err(|error| invalid(error.to_string()))?;
        chain
            .append(&seal)
            .map_err(|why| invalid(why.to_string()))?;
        if seal.statement.at >= accepted {
            return Ok(None);
        }
        seal_store::insert(transaction, &seal).await?;
    }
    Ok(Some(()))
}

/// What a loss seal says of `partition`; `None` when the log still has what was sealed last.
async fn loss_of(
    log: &Log,
    transaction: &mut Connection,
    chain: &SealChain,
    partition: Partition,
) -> Result<Option<Statement>, SealError> {
    let Some(end) = chain.sealed_to(partition).filter(|end| end.position > 0) else {
        return Ok(None);
    };
    if log.has_event(partition, end.position, &end.head).await? {
        return Ok(None);
    }
    let identity = log.identity();
    let kept = last_kept(log, transaction, partition, end.position - 1).await?;
    let first = first_lost(log, transaction, partition, kept.position + 1)
        .await?
        .min(end.position);
    Ok(Some(Statement {
        log: identity.log_id,
        partitions: identity.partitions,
        seal: chain.seals() + 1,
        partition,
        first: kept.position + 1,
        last: kept.position,
        head: kept.head,
        root: [0; 32],
        hash_prefixes_digest: Sha256::digest([]).into(),
        at: seal_store::now(transaction).await?,
        previous: chain.digest(),
        loss: Some(Loss {
            first,
            last: end.position,
            head: end.head,
        }),
    }))
}

/// The last end of a segment up to `position` that the log still has, and with it everything before: the chain says so.
async fn last_kept(
    log: &Log,
    transaction: &mut Connection,
    partition: Partition,
    position: Position,
) -> Result<SealedTo, SealError> {
    let heads = log.heads().await?;
    let head = usize::try_from(partition)
        .ok()
        .and_then(|partition| heads.get(partition).copied());
    let mut until = position.min(head.unwrap_or(0));
    loop {
        let ends = seal_store::ends_until(transaction, partition, until, SEALS_PER_PAGE).await?;
        for end in &ends {
            if log.has_event(partition, end.position, &end.head).await? {
                return Ok(*end);
            }
        }
        match ends.last() {
            Some(end) => until = end.position - 1,
            None => {
                return Ok(SealedTo {
                    position: 0,
                    head: log.identity().genesis(partition),
                });
            }
        }
    }
}

/// The first position from `first` on at which the log does not have what the segment that begins there was sealed with.
async fn first_lost(
    log: &Log,
    transaction: &mut Connection,
    partition: Partition,
    first: Position,
) -> Result<Position, SealError> {
    let sealed = seal_store::hash_prefixes_from(transaction, partition, first).await?;
    let hashes = log
        .hashes(partition, first, first + MAX_EVENTS_PER_SEAL - 1)
        .await?;
    let same = hashes
        .iter()
        .zip(sealed.chunks_exact(HASH_PREFIX_BYTES))
        .take_while(|(hash, prefix)| hash.starts_with(prefix));
    Ok(first + same.count() as Position)
}
