//! A database's clock that a test sets.

use sqlx::postgres::PgConnectOptions;

use crate::TestLog;

impl TestLog {
    /// How a process reaches the database that is to go by a clock which [`Self::set_clock`] sets.
    pub async fn settable_clock(&self) -> PgConnectOptions {
        self.execute(
            "create schema clock;
             create table clock.off (by interval); insert into clock.off values ('0');
             create function clock.clock_timestamp() returns timestamptz language sql as
                 'select pg_catalog.clock_timestamp() + by from clock.off';
             create function clock.statement_timestamp() returns timestamptz language sql as
                 'select pg_catalog.statement_timestamp() + by from clock.off'",
        )
        .await;
        self.options()
            .options([("search_path", "clock,pg_catalog,public")])
    }

    /// From now on that clock is off by `interval`, in PostgreSQL's words.
    pub async fn set_clock(&self, interval: &str) {
        self.execute(&format!("update clock.off set by = '{interval}'"))
            .await;
    }
}
