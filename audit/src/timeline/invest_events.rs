//! Finds an invest's events in the log itself. It scans the likely ranges first and in the end the whole log, so that no index
//! and no read model has to be trusted.

use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use domain::{InvestId, ProductEvent};
use event_log::{BulkReader, Log, LogError, Position, RecordedEvent};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// An invest id tells when its request came, by the clock of the process that it came to. Its reservation is looked for
/// from so long before.
const MAX_CLOCK_DIFFERENCE: TimeDelta = TimeDelta::seconds(5);
/// And until so long after.
const MAX_RESERVATION_DELAY: TimeDelta = TimeDelta::seconds(30);
/// Positions after a reservation that are looked at first for what became of it; each time four times as many.
const INITIAL_SCAN_EVENTS: Position = 1_000;
/// Scans of a whole log that one process runs at a time.
const MAX_CONCURRENT_SCANS: usize = 1;
static SCAN_PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_SCANS);

/// What the log has of an invest.
pub(super) struct InvestEvents {
    pub(super) reservation: RecordedEvent,
    /// What became of it, in order.
    pub(super) changes: Vec<RecordedEvent>,
}

/// The events of this invest; `None` when it was never reserved.
pub(super) async fn find(
    log: &Log,
    read: &Pool,
    id: InvestId,
) -> Result<Option<InvestEvents>, LogError> {
    let mut reader = log.bulk().await?;
    let Some(reservation) = reservation(log, read, &mut reader, id.0).await? else {
        return Ok(None);
    };
    let changes = changes(log, &mut reader, &reservation, id.0).await?;
    Ok(Some(InvestEvents {
        reservation,
        changes,
    }))
}

async fn reservation(
    log: &Log,
    read: &Pool,
    reader: &mut BulkReader,
    id: Uuid,
) -> Result<Option<RecordedEvent>, LogError> {
    if let Some(at) = requested_at(id) {
        let found = between(
            log,
            reader,
            (at - MAX_CLOCK_DIFFERENCE, at + MAX_RESERVATION_DELAY),
            id,
        )
        .await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    if let Some(at) = hint(read, id).await? {
        let found = between(log, reader, (at - TimeDelta::microseconds(1), at), id).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    // It is never closed.
    let _permit = SCAN_PERMITS.acquire().await.ok();
    let (begin, heads) = (vec![0; log.partitions().count()], log.heads().await?);
    anywhere(reader, &begin, &heads, id).await
}

/// The time in a uuid of version 7, in milliseconds (RFC 9562, 5.7).
pub(super) fn requested_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = id
        .get_timestamp()
        .filter(|_| id.get_version_num() == 7)?
        .to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

/// When the live read model has it reserved. It may be wrong, or not know it; what is found there is found in the log.
async fn hint(read: &Pool, id: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar("select requested_at from invest_log where invest_id = $1")
        .bind(id)
        .fetch_optional(read)
        .await
}

async fn between(
    log: &Log,
    reader: &mut BulkReader,
    (after, upto): (DateTime<Utc>, DateTime<Utc>),
    id: Uuid,
) -> Result<Option<RecordedEvent>, LogError> {
    let (after, upto) = (
        log.positions_at(after).await?,
        log.positions_at(upto).await?,
    );
    anywhere(reader, &after, &upto, id).await
}

/// In any partition after `after` up to and with `upto`.
async fn anywhere(
    reader: &mut BulkReader,
    after: &[Position],
    upto: &[Position],
    id: Uuid,
) -> Result<Option<RecordedEvent>, LogError> {
    for (partition, (after, upto)) in (0..).zip(after.iter().zip(upto)) {
        let mut at = *after;
        while at < *upto {
            let range = (at, (*upto).min(at + BulkReader::MAX_POSITIONS_PER_READ));
            let found = reader
                .of_invest(partition, range, id)
                .await?
                .into_iter()
                .find(is_reservation);
            if found.is_some() {
                return Ok(found);
            }
            at = range.1;
        }
    }
    Ok(None)
}

/// What became of the reservation, in its partition: its fate mostly soon after it, and whether it was given back any time later.
async fn changes(
    log: &Log,
    reader: &mut BulkReader,
    reservation: &RecordedEvent,
    id: Uuid,
) -> Result<Vec<RecordedEvent>, LogError> {
    let head = log
        .heads()
        .await?
        .get(reservation.partition as usize)
        .copied()
        .unwrap_or_default();
    let (mut at, mut step, mut changes) = (reservation.position, INITIAL_SCAN_EVENTS, Vec::new());
    while at < head && !changes.last().is_some_and(is_final) {
        let range = (at, head.min(at + step));
        let found = reader.of_invest(reservation.partition, range, id).await?;
        changes.extend(
            found
                .into_iter()
                .filter(|event| event.product_id == reservation.product_id && is_change(event)),
        );
        (at, step) = (range.1, (step * 4).min(BulkReader::MAX_POSITIONS_PER_READ));
    }
    Ok(changes)
}

fn is_reservation(event: &RecordedEvent) -> bool {
    matches!(event.event, ProductEvent::InvestReserved { .. })
}

fn is_change(event: &RecordedEvent) -> bool {
    match &event.event {
        ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestWithdrawn { .. }
        | ProductEvent::InvestRefunded { .. } => true,
        ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestReserved { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => false,
    }
}

/// Whether nothing can happen to the invest any more.
fn is_final(event: &RecordedEvent) -> bool {
    matches!(
        event.event,
        ProductEvent::InvestFailed { .. } | ProductEvent::InvestRefunded { .. }
    )
}
