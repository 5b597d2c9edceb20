//! Tests whether the database would accept an append, without appending.

use super::*;

/// Size of the probe's row: about three usual events, so that it fails where a batch would find no space.
const PROBE_BYTES: usize = 1_500;

impl Writer {
    /// Inserts a row at the next position and rolls it back. It fails where an append would: on a read-only database, a full
    /// disk, a missing right. Nobody ever sees the row.
    ///
    /// For a writer whose appends fail and that has nothing to append. Do not cancel it; a caller that does must call
    /// [`Writer::discard_connection`].
    pub async fn probe(&mut self) -> Result<(), LogError> {
        let probed = self.try_probe().await;
        if probed.is_err() {
            self.discard_connection();
        }
        probed
    }

    async fn try_probe(&mut self) -> Result<(), LogError> {
        self.release_append_lock().await?;
        let (rows, _) = self.rows(vec![self.probing_event()?], self.now())?;
        let (partition, head) = (self.partition, self.head);
        self.holds_append_lock = true;
        let connection = self.connection().await?;
        answer(sqlx::query("begin").execute(&mut *connection)).await?;
        match answer(append::insert(
            connection,
            partition,
            head,
            &rows,
            Vec::new(),
            None,
        ))
        .await
        {
            Ok(inserted) if !inserted.follows => Err(self.lost_tail()),
            // A conflict proves it as well: another writer has just appended.
            Err(error) if !append::is_conflict(&error) => Err(error.into()),
            Ok(_) | Err(_) => self.release_append_lock().await,
        }
    }

    /// An event of a product that cannot exist: its id is past any that the sequence gives.
    fn probing_event(&self) -> Result<NewEvent, LogError> {
        let partitions = i64::from(self.log.identity().partitions);
        let id = (i64::MAX / partitions - 1) * partitions + i64::from(self.partition);
        let product_id =
            ProductId::try_from(id).map_err(|error| LogError::Mismatch(error.to_string()))?;
        let metadata = Metadata {
            correlation_id: "probe".repeat(PROBE_BYTES / 5),
            ..Metadata::default()
        };
        Ok(NewEvent {
            product_id,
            sequence: 1,
            event: ProductEvent::ProductClosed {},
            metadata,
        })
    }
}
