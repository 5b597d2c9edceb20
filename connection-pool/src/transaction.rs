//! A transaction, or within one a savepoint.

use crate::connection::{Connection, PROBE_TIMEOUT};
use futures::FutureExt as _;
use sqlx::postgres::PgTransactionManager;
use sqlx::{Result, TransactionManager as _};
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

/// A transaction: rolled back when it is dropped, unless it was committed. Calls are made on what it derefs to.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: Held<'c>,
    open: bool,
}

#[derive(Debug)]
enum Held<'c> {
    Own(Connection),
    Lent(&'c mut Connection),
}

impl From<Connection> for Held<'_> {
    fn from(connection: Connection) -> Self {
        Self::Own(connection)
    }
}

impl<'c> From<&'c mut Connection> for Held<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        Self::Lent(connection)
    }
}

impl Connection {
    /// Begins a transaction, or within one a savepoint.
    ///
    /// # Errors
    /// When the database refuses it, or does not answer in time.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        Transaction::on(self, None).await
    }
}

impl<'c> Transaction<'c> {
    /// Begins one with `statement`, or as sqlx does.
    #[expect(private_bounds, reason = "only this crate begins them")]
    pub(crate) async fn on(
        connection: impl Into<Held<'c>>,
        statement: Option<&'static str>,
    ) -> Result<Self> {
        let mut transaction = Self {
            connection: connection.into(),
            open: false,
        };
        let (raw, line) = transaction.parts()?;
        // Given up half way, sqlx would not know that there is one, and hand it to the connection's next user.
        line.unfinished = true;
        let begin = PgTransactionManager::begin(raw, statement.map(Cow::Borrowed));
        line.hear_within(PROBE_TIMEOUT, begin).await?;
        line.unfinished = false;
        transaction.open = true;
        Ok(transaction)
    }

    /// Commits it.
    ///
    /// # Errors
    /// When the database refuses it; or does not answer in time: then it may have been committed.
    pub async fn commit(mut self) -> Result<()> {
        let (raw, line) = self.parts()?;
        line.hear(PgTransactionManager::commit(raw).boxed()).await?;
        self.open = false;
        Ok(())
    }

    /// Rolls it back.
    ///
    /// # Errors
    /// When the database does not answer in time; it is rolled back all the same.
    pub async fn rollback(mut self) -> Result<()> {
        let (raw, line) = self.parts()?;
        line.hear(PgTransactionManager::rollback(raw).boxed())
            .await?;
        self.open = false;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Held::Own(connection) => connection,
            Held::Lent(connection) => connection,
        }
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.connection {
            Held::Own(connection) => connection,
            Held::Lent(connection) => connection,
        }
    }
}

/// The rollback goes out with the connection's next call, or when it is given back.
impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let (true, Ok((raw, _))) = (self.open, self.parts()) {
            PgTransactionManager::start_rollback(raw);
        }
    }
}
