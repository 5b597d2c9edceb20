//! PostgreSQL, as the login that Moa would use sees it.

mod log;
mod rights;

use super::Finding;
use crate::complaint;
use crate::database::Database;
use crate::settings::DoctorSettings;
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use event_log::{Log, MIGRATIONS};
use std::collections::HashMap;

/// The oldest version that Moa runs on, as PostgreSQL counts them.
const MIN_VERSION: i32 = 150_000;
/// Less WAL between checkpoints makes PostgreSQL write whole pages all the time.
const MIN_WAL_MIB: i64 = 256;
/// How far the database's clock may be from this machine's.
const CLOCK_MARGIN: TimeDelta = TimeDelta::seconds(1);
/// Beyond this a certificate or a user's token that is good here is none there.
const MAX_CLOCK_ERROR: TimeDelta = TimeDelta::seconds(60);

/// What is found; and the log, where there is one that can be read.
pub(super) async fn check(settings: &DoctorSettings) -> (Vec<Finding>, Option<Log>) {
    const CHECK: &str = "postgresql";
    let opened = match Database::existing(&settings.database) {
        Ok(database) => database.doctor_pool().await,
        Err(error) => Err(error),
    };
    let pool = match opened {
        Ok(pool) => pool,
        Err(error) => {
            return (
                vec![Finding::wrong(
                    CHECK,
                    complaint::causes(&error),
                    "until then nothing else is checked there",
                )],
                None,
            );
        }
    };
    let mut findings = Vec::new();
    keep(&mut findings, CHECK, version(&pool).await);
    keep(&mut findings, "durability", durability(&pool).await);
    keep(&mut findings, "wal", wal(&pool).await);
    keep(&mut findings, "schema", schema(&pool).await);
    keep(
        &mut findings,
        "rights",
        rights::check(&pool, settings.service).await,
    );
    keep(&mut findings, "clock", clock(&pool).await);
    let log = open_log(&pool).await.unwrap_or_else(|error| {
        findings.push(Finding::wrong(
            "log",
            complaint::causes(&error),
            "see the rights and the schema above",
        ));
        None
    });
    let partitions = log.as_ref().map(|log| log.identity().partitions);
    keep(
        &mut findings,
        "connections",
        log::connections(&pool, settings.service, partitions).await,
    );
    match &log {
        Some(log) => findings.extend(log::lag(log).await),
        None => findings.push(Finding::ok(
            "log",
            "none is read: the first start makes one",
        )),
    }
    (findings, log)
}

/// The log, where there is one.
async fn open_log(pool: &Pool) -> anyhow::Result<Option<Log>> {
    let there: bool = sqlx::query_scalar("select to_regclass('log_identity') is not null")
        .fetch_one(pool)
        .await?;
    let partitions = if there {
        Log::partitions_of(pool).await?
    } else {
        None
    };
    match partitions {
        Some(partitions) => Ok(Some(Log::open(pool.clone(), partitions).await?)),
        None => Ok(None),
    }
}

/// Keeps what was found, or that it could not be asked for.
fn keep(findings: &mut Vec<Finding>, check: &'static str, found: sqlx::Result<Finding>) {
    findings.push(found.unwrap_or_else(|error| {
        Finding::wrong(
            check,
            format!("cannot be asked: {}", complaint::text(&error)),
            "see the rights",
        )
    }));
}

async fn version(pool: &Pool) -> sqlx::Result<Finding> {
    const CHECK: &str = "postgresql";
    let (number, version): (i32, String) = sqlx::query_as(
        "select current_setting('server_version_num')::integer, current_setting('server_version')",
    )
    .fetch_one(pool)
    .await?;
    Ok(match number >= MIN_VERSION {
        true => Finding::ok(CHECK, version),
        false => Finding::wrong(CHECK, version, "Moa needs 15 or later"),
    })
}

/// What each is set to, for this database and this login.
async fn server_settings(pool: &Pool, names: &[&str]) -> sqlx::Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select name, setting from pg_settings where name = any ($1)")
            .bind(names)
            .fetch_all(pool)
            .await?;
    Ok(rows.into_iter().collect())
}

async fn durability(pool: &Pool) -> sqlx::Result<Finding> {
    const CHECK: &str = "durability";
    let set = server_settings(pool, &["fsync", "full_page_writes", "synchronous_commit"]).await?;
    let is_off = |name: &&str| set.get(*name).is_some_and(|value| value == "off");
    let off: Vec<_> = ["fsync", "full_page_writes"]
        .into_iter()
        .filter(is_off)
        .collect();
    Ok(if !off.is_empty() {
        Finding::wrong(
            CHECK,
            format!(
                "the server runs with {} off, and Moa does not start",
                off.join(" and ")
            ),
            "a crash may lose what was answered: alter system set fsync = on, full_page_writes likewise; then select pg_reload_conf()",
        )
    } else if is_off(&"synchronous_commit") {
        Finding::warn(
            CHECK,
            "synchronous_commit is off for this database, this login or the server",
            "Moa sets it on where it appends to the log; set it on for whatever else writes there: alter database NAME reset \
             synchronous_commit",
        )
    } else {
        let commit = set.get("synchronous_commit").map_or("-", String::as_str);
        Finding::ok(
            CHECK,
            format!("fsync and full_page_writes are on, synchronous_commit is {commit}"),
        )
    })
}

async fn wal(pool: &Pool) -> sqlx::Result<Finding> {
    const CHECK: &str = "wal";
    let set = server_settings(pool, &["wal_compression", "max_wal_size"]).await?;
    let compression = set.get("wal_compression").map_or("off", String::as_str);
    let mib: i64 = set
        .get("max_wal_size")
        .and_then(|mib| mib.parse().ok())
        .unwrap_or_default();
    let found = format!("wal_compression is {compression}, max_wal_size {mib} MB");
    Ok(if mib < MIN_WAL_MIB {
        Finding::warn(
            CHECK,
            found,
            "checkpoints come often: alter system set max_wal_size = '1GB'",
        )
    } else if compression == "off" {
        Finding::warn(
            CHECK,
            found,
            "pages are written whole: alter system set wal_compression = on; it is less to write",
        )
    } else {
        Finding::ok(CHECK, found)
    })
}

/// This release's migrations beside those that were applied.
async fn schema(pool: &Pool) -> sqlx::Result<Finding> {
    const CHECK: &str = "schema";
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(pool)
        .await?;
    let applied: Vec<(i64, Vec<u8>)> = match there {
        true => {
            sqlx::query_as("select version, checksum from _sqlx_migrations where success")
                .fetch_all(pool)
                .await?
        }
        false => Vec::new(),
    };
    let known: HashMap<_, _> = MIGRATIONS
        .iter()
        .map(|known| (known.version, known.checksum.as_ref()))
        .collect();
    let newer = applied
        .iter()
        .map(|(version, _)| *version)
        .filter(|version| !known.contains_key(version))
        .max();
    let changed = applied
        .iter()
        .find(|(version, checksum)| known.get(version).is_some_and(|known| known != checksum));
    let missing = known
        .keys()
        .filter(|version| !applied.iter().any(|(applied, _)| applied == *version))
        .count();
    Ok(match (newer, changed, missing) {
        (Some(newer), ..) => Finding::wrong(
            CHECK,
            format!("it has migration {newer}, which this release does not know"),
            "run the release that migrated it, or a later one",
        ),
        (_, Some((version, _)), _) => Finding::wrong(
            CHECK,
            format!("migration {version} was not applied as this release has it"),
            "another build of Moa migrated it: run that one, or restore a backup",
        ),
        (.., 0) => Finding::ok(
            CHECK,
            format!("all {} migrations of this release", known.len()),
        ),
        (.., missing) => Finding::wrong(
            CHECK,
            format!("it lacks {missing} migrations of this release"),
            "run `moa migrate` as its owner",
        ),
    })
}

async fn clock(pool: &Pool) -> sqlx::Result<Finding> {
    let asked = Utc::now();
    let said: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(pool)
        .await?;
    let answered = Utc::now();
    Ok(judge_clock(asked, said, answered))
}

/// What was said between two times of this machine.
fn judge_clock(asked: DateTime<Utc>, said: DateTime<Utc>, answered: DateTime<Utc>) -> Finding {
    const CHECK: &str = "clock";
    let off = (asked - said).max(said - answered).max(TimeDelta::zero());
    let found = format!(
        "the database's and this machine's differ by {:.1} s",
        off.as_seconds_f64()
    );
    let mend =
        "set both by NTP: Moa goes by the database's, certificates and users' tokens by this one";
    match off {
        off if off > MAX_CLOCK_ERROR => Finding::wrong(CHECK, found, mend),
        off if off > CLOCK_MARGIN => Finding::warn(CHECK, found, mend),
        _ => Finding::ok(CHECK, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Ok, Warn, Wrong};
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_no_delay_explains() {
        let asked = DateTime::UNIX_EPOCH;
        let answered = asked + TimeDelta::seconds(2);
        for (said_ms, verdict) in [
            (0, Ok),
            (2_000, Ok),
            (2_900, Ok),
            (-900, Ok),
            (3_100, Warn),
            (-1_100, Warn),
            (-61_000, Wrong),
            (63_000, Wrong),
        ] {
            let said = asked + TimeDelta::milliseconds(said_ms);
            assert_eq!(
                judge_clock(asked, said, answered).verdict,
                verdict,
                "{said_ms}"
            );
        }
    }
}
