//! The append lock as an outsider sees it, holds it, and ends those who have it.

use event_log::Partition;
use sqlx::{ConnectOptions as _, PgConnection};

use crate::{TestLog, until};

/// The class of the append lock's advisory locks, as docs/log-format.md gives it; the other half of the key is the partition.
const APPEND_LOCK_CLASS: i32 = 0x004d_6f61;

/// Holds a partition's append lock, as long as it likes: nobody can append there.
#[derive(Debug)]
pub struct AppendLockHolder(PgConnection);

impl AppendLockHolder {
    /// Lets the next one have it.
    pub async fn release(mut self) {
        sqlx::query("select pg_advisory_unlock_all()")
            .execute(&mut self.0)
            .await
            .expect("released");
    }
}

impl TestLog {
    /// Holds the append lock of a partition from now on.
    pub async fn hold_append_lock(&self, partition: Partition) -> AppendLockHolder {
        let mut connection = self.options().connect().await.expect("a connection");
        let lock = sqlx::query("select pg_advisory_lock($1, $2)")
            .bind(APPEND_LOCK_CLASS)
            .bind(partition);
        lock.execute(&mut connection).await.expect("the lock");
        AppendLockHolder(connection)
    }

    /// How many sessions wait for an append lock.
    pub async fn waiting_for_append_lock(&self) -> i64 {
        self.count(&append_locks("not granted")).await
    }

    /// Polls until so many sessions, or more, wait for an append lock.
    pub async fn until_waiting_for_append_lock(&self, sessions: i64) {
        until("sessions wait for the append lock", async || {
            self.waiting_for_append_lock().await >= sessions
        })
        .await;
    }

    /// Ends the one session that holds the append lock, or that waits for it.
    pub async fn kill_session_of_append_lock(&self, holds: bool) {
        let pids = format!(
            "select pg_terminate_backend(pid) from {}",
            append_locks(&format!("granted = {holds}"))
        );
        assert_eq!(
            self.count(&format!("({pids}) as killed")).await,
            1,
            "exactly one session was to be killed"
        );
    }
}

fn append_locks(which: &str) -> String {
    format!(
        "pg_locks where locktype = 'advisory' and {which}
            and database = (select oid from pg_database where datname = current_database())"
    )
}
