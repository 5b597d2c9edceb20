//! Trying whether an append would be taken, without one.

use super::*;

/// The probe's size, in bytes: about three events of the usual kind, so that it needs room where a batch does.
const PROBE_BYTES: usize = 1_500;

impl Writer {
    /// Writes a row where the next event goes, and takes it back: what an append would be refused for, it is refused for,
    /// be it that the database is read-only, that its disk is full, or a right. Nobody ever sees the row.
    ///
    /// For a writer whose appends fail and who has nothing to append. Not to be cancelled half way; who does calls
    /// [`Writer::forget_connection`].
    pub async fn probe(&mut self) -> Result<(), LogError> {
        let probed = self.try_probe().await;
        if probed.is_err() {
            self.forget_connection();
        }
        probed
    }

    async fn try_probe(&mut self) -> Result<(), LogError> {
        self.give_turn_back().await?;
        let (rows, _) = self.rows(vec![self.probing_event()?], self.now())?;
        let (partition, head) = (self.partition, self.head);
        self.has_turn = true;
        let connection = self.connection().await?;
        answer(sqlx::query("begin").execute(&mut *connection)).await?;
        match answer(append::insert(connection, partition, head, &rows, Vec::new())).await {
            Ok(inserted) if !inserted.follows => Err(self.lost_tail()),
            // That another has written meanwhile says the same.
            Err(error) if !append::is_lost(&error) => Err(error.into()),
            Ok(_) | Err(_) => self.give_turn_back().await,
        }
    }

    /// Of a product of this partition that there cannot be: its id is past any that the sequence gives.
    fn probing_event(&self) -> Result<NewEvent, LogError> {
        let partitions = i64::from(self.log.identity().partitions);
        let id = (i64::MAX / partitions - 1) * partitions + i64::from(self.partition);
        let product_id = ProductId::try_from(id).map_err(|error| LogError::Mismatch(error.to_string()))?;
        let metadata = Metadata { correlation_id: "probe".repeat(PROBE_BYTES / 5), ..Metadata::default() };
        Ok(NewEvent { product_id, sequence: 1, event: ProductEvent::ProductClosed {}, metadata })
    }
}
