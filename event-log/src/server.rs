//! Which server a connection leads to. Each new connection is checked: a promoted standby, or another server at the same address, may
//! lack committed events.

use sqlx::{PgConnection, PgExecutor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which server a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
struct Server {
    /// Made by initdb; copies of the data folder and standbys have the same.
    system_identifier: i64,
    /// Grows with every promotion and every recovery to a point in time.
    timeline: i64,
    in_recovery: bool,
}

/// The server that this process's connections lead to; one per process.
#[derive(Debug, Default)]
pub struct ServerWatch {
    known: Mutex<Option<Server>>,
}

/// Why a connection is not used.
#[derive(Debug, thiserror::Error)]
pub enum WrongServerError {
    /// It is not the server that this process began with.
    #[error(
        "this is another server than before (system identifier {found}, it was {known}): if the database was moved on purpose, \
         start this process again"
    )]
    Another {
        /// What it was.
        known: i64,
        /// What it is.
        found: i64,
    },
    /// It is a server that another one has taken over from.
    #[error(
        "this server is on timeline {found}, and {known} was seen: another server has taken over from it"
    )]
    Superseded {
        /// The newest timeline that was seen.
        known: i64,
        /// Its own.
        found: i64,
    },
    /// It is a standby.
    #[error("this server is a standby, which takes no writes: name the primary in DATABASE_URL")]
    Standby,
}

impl ServerWatch {
    /// Makes a new connection fit to write the log: refuses another server than the one that is known, and makes commits wait
    /// for the disk, and for the standbys where the server asks for that, whatever the database or the role have set.
    pub async fn check_writer(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let server = sqlx::query_as(
            "select (select system_identifier from pg_control_system()) as system_identifier,
                    case when pg_is_in_recovery() then 0
                         else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint end as timeline,
                    pg_is_in_recovery() as in_recovery
               from set_config('synchronous_commit',
                               case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end,
                               false)",
        )
        .fetch_one(connection)
        .await?;
        self.compare(server)
            .map_err(|wrong| sqlx::Error::Configuration(wrong.into()))
    }

    fn compare(&self, found: Server) -> Result<(), WrongServerError> {
        let mut known = self.known();
        if found.in_recovery {
            return Err(WrongServerError::Standby);
        }
        match *known {
            Some(known) if known.system_identifier != found.system_identifier => {
                Err(WrongServerError::Another {
                    known: known.system_identifier,
                    found: found.system_identifier,
                })
            }
            Some(known) if known.timeline > found.timeline => Err(WrongServerError::Superseded {
                known: known.timeline,
                found: found.timeline,
            }),
            Some(known) if known == found => Ok(()),
            before => {
                if let Some(before) = before {
                    tracing::warn!(
                        before = before.timeline,
                        now = found.timeline,
                        "the database is on another timeline: a standby took over, or it was recovered to a point in time; \
                         an append goes in only where the event it follows is still there"
                    );
                }
                *known = Some(found);
                Ok(())
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Server>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why this server must not hold a log, in a sentence; `None` when it may. A start asks.
pub async fn durability_problem(database: impl PgExecutor<'_>) -> sqlx::Result<Option<String>> {
    let off: Vec<String> = sqlx::query_scalar(
        "select name from pg_settings where name in ('fsync', 'full_page_writes') and setting <> 'on' order by name",
    )
    .fetch_all(database)
    .await?;
    Ok((!off.is_empty()).then(|| {
        let settings = off.join(" and ");
        format!("the server runs with {settings} off, so a crash may damage or lose what was answered: turn it on and reload")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(system_identifier: i64, timeline: i64) -> Server {
        Server {
            system_identifier,
            timeline,
            in_recovery: false,
        }
    }

    #[test]
    fn a_newer_timeline_is_followed_and_an_older_one_refused() {
        let watch = ServerWatch::default();
        watch.compare(server(7, 1)).unwrap();
        watch.compare(server(7, 3)).unwrap();
        watch.compare(server(7, 3)).unwrap();
        assert!(matches!(
            watch.compare(server(7, 2)),
            Err(WrongServerError::Superseded { known: 3, found: 2 })
        ));
    }

    #[test]
    fn another_server_and_a_standby_are_refused_and_the_known_one_stays() {
        let watch = ServerWatch::default();
        watch.compare(server(7, 1)).unwrap();
        assert!(matches!(
            watch.compare(server(8, 9)),
            Err(WrongServerError::Another { known: 7, found: 8 })
        ));
        let standby = Server {
            in_recovery: true,
            ..server(7, 0)
        };
        assert!(matches!(
            watch.compare(standby),
            Err(WrongServerError::Standby)
        ));
        watch.compare(server(7, 1)).unwrap();
    }
}
