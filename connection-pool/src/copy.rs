//! COPY from and to the server.

use crate::Connection;
use crate::answer::Line;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::BoxStream;
use sqlx::Result;
use sqlx::postgres::{PgConnection, PgCopyIn};
use std::ops::Deref;

impl Connection {
    /// What a `copy … to stdout` sends, message by message. Unless it is read to its end, the
    /// connection is closed when it is dropped.
    ///
    /// # Errors
    /// When the database refuses it, or does not answer in time.
    pub async fn copy_out_raw(&mut self, statement: &str) -> Result<BoxStream<'_, Result<Bytes>>> {
        let (raw, line) = self.parts()?;
        line.unfinished = true;
        let rows = line.hear(raw.copy_out_raw(statement).boxed()).await?;
        Ok(line.hear_all(rows))
    }

    /// Begins a `copy … from stdin`.
    ///
    /// # Errors
    /// When the database refuses it, or does not answer in time.
    pub async fn copy_in_raw(&mut self, statement: &str) -> Result<CopyIn<'_>> {
        let (raw, line) = self.parts()?;
        line.unfinished = true;
        let copying = line.hear(raw.copy_in_raw(statement).boxed()).await?;
        Ok(CopyIn { copying, line })
    }
}

/// A `copy … from stdin` that was begun. Unless it is finished, the connection is closed when it is dropped.
pub struct CopyIn<'c> {
    copying: PgCopyIn<&'c mut PgConnection>,
    line: &'c mut Line,
}

impl CopyIn<'_> {
    /// Sends data.
    ///
    /// # Errors
    /// When it cannot be sent in time.
    pub async fn send(&mut self, data: impl Deref<Target = [u8]> + Send) -> Result<()> {
        let sending = self.copying.send(data).map(|sent| sent.map(drop));
        self.line.hear(sending.boxed()).await
    }

    /// Ends it; says how many rows there were.
    ///
    /// # Errors
    /// When the database refuses what was sent, or does not answer in time.
    pub async fn finish(self) -> Result<u64> {
        let rows = self.line.hear(self.copying.finish().boxed()).await?;
        self.line.unfinished = false;
        Ok(rows)
    }
}
