//! The sum check: what was accepted is in the log, and in everything that is derived from it, no more and no less.

use super::Servers;
use super::contestant::{Contestant, Running};
use super::leftovers::channel;
use anyhow::{Context, bail, ensure};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use sqlx::PgPool;
use std::fmt::Write as _;

/// What each place says was invested, in won; the log, or what stands for it, first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums(Vec<(String, i64)>);

impl Sums {
    pub(super) async fn of(servers: &Servers, running: &Running) -> anyhow::Result<Self> {
        let pool = &running.pool;
        let ask = async |what: &str, statement: &str| {
            anyhow::Ok((what.to_owned(), amount(pool, statement).await?))
        };
        Ok(Self(match running.contestant {
            Contestant::Floor => Vec::new(),
            Contestant::GroupCommit => vec![ask("invest", "select sum(amount) from invest").await?],
            Contestant::SqlUpdate => vec![
                ask("invest", "select sum(amount) from invest").await?,
                ask("product", "select -sum(remaining) from product").await?,
            ],
            Contestant::SeedLock => vec![
                ask("log", "select sum(amount) from product_invest_log").await?,
                ("Redis".into(), taken(servers, running).await?),
                (
                    "RabbitMQ".into(),
                    messages(servers, &running.database).await?,
                ),
            ],
            Contestant::Stock => vec![ask("log", &in_log("InvestReserved")).await?],
            Contestant::MoaAccepting => vec![
                ask("log", &in_log("InvestReserved")).await?,
                // Nothing follows an accept.
                ask(
                    "reserved in the log",
                    &format!(
                        "select ({}) - ({})",
                        in_log("InvestReserved"),
                        in_log("InvestSettled")
                    ),
                )
                .await?,
            ],
            Contestant::Moa | Contestant::MoaWithServers => vec![
                ask("log", &in_log("InvestReserved")).await?,
                ask("settled in the log", &in_log("InvestSettled")).await?,
                ask(
                    "product_list",
                    "select sum(current_amount) from product_list",
                )
                .await?,
                ask("holdings", "select sum(amount) from holdings").await?,
                ask(
                    "invest_log",
                    "select sum(amount) from invest_log where state = 'SETTLED'",
                )
                .await?,
                ask(
                    "investor_summary",
                    "select sum(settled_amount) from investor_summary",
                )
                .await?,
            ],
        }))
    }

    /// An error that names every place whose sum did not grow by what was accepted. Of each invest whose outcome is `unknown` the
    /// log says whether it happened; the others must agree with the log. Amounts are 1 won.
    pub(super) fn check_grown(
        &self,
        before: &Self,
        accepted: u64,
        unknown: u64,
    ) -> anyhow::Result<()> {
        let (accepted, unknown) = (i64::try_from(accepted)?, i64::try_from(unknown)?);
        let grown: Vec<_> = self
            .0
            .iter()
            .zip(&before.0)
            .map(|((place, now), (_, then))| (place, now - then))
            .collect();
        let Some((_, logged)) = grown.first() else {
            return Ok(());
        };
        let mut wrong = String::new();
        if !(accepted..=accepted + unknown).contains(logged) {
            write!(wrong, " the log has {logged};")?;
        }
        for (place, sum) in grown.iter().filter(|(_, sum)| sum != logged) {
            write!(wrong, " {place} has {sum}, the log {logged};")?;
        }
        ensure!(
            wrong.is_empty(),
            "WRONG SUM: {accepted} won were accepted, {unknown} may have been:{wrong}"
        );
        Ok(())
    }

    /// How many places were compared with what was accepted.
    pub(crate) fn places(&self) -> usize {
        self.0.len()
    }
}

fn in_log(event: &str) -> String {
    let amounts = format!("sum((payload -> '{event}' ->> 'amount')::bigint)");
    format!("select coalesce({amounts}, 0) from events where event_type = '{event}'")
}

async fn amount(pool: &PgPool, statement: &str) -> anyhow::Result<i64> {
    let statement = format!("select coalesce(({statement}), 0)::bigint");
    sqlx::query_scalar(&statement)
        .fetch_one(pool)
        .await
        .with_context(|| statement.clone())
}

async fn taken(servers: &Servers, running: &Running) -> anyhow::Result<i64> {
    let redis = servers.redis.as_deref().context("there is no Redis")?;
    let mut redis = redis::Client::open(redis)?
        .get_multiplexed_async_connection()
        .await?;
    let keys: Vec<_> = running
        .products
        .iter()
        .map(|product| format!("{}:taken:{product}", running.database))
        .collect();
    let taken: Vec<Option<i64>> = redis::cmd("MGET").arg(keys).query_async(&mut redis).await?;
    Ok(taken.into_iter().flatten().sum())
}

/// Each has one invest, of 1 won.
async fn messages(servers: &Servers, queue: &str) -> anyhow::Result<i64> {
    let (connection, channel) = channel(servers).await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let Ok(declared) = channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
    else {
        bail!("RabbitMQ has no queue {queue}")
    };
    connection.close(200, "".into()).await?;
    Ok(declared.message_count().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(of: [i64; 3]) -> Sums {
        Sums(
            ["log", "holdings", "product_list"]
                .into_iter()
                .map(str::to_owned)
                .zip(of)
                .collect(),
        )
    }

    #[test]
    fn what_was_accepted_is_everywhere() {
        let before = sums([100, 100, 100]);
        sums([105, 105, 105])
            .check_grown(&before, 5, 0)
            .expect("all agree");
        sums([107, 107, 107])
            .check_grown(&before, 5, 2)
            .expect("two of unknown outcome happened");
        Sums::default()
            .check_grown(&Sums::default(), 5, 0)
            .expect("who keeps nothing has no sums");
    }

    #[test]
    fn a_place_that_differs_is_named() {
        let before = sums([100, 100, 100]);
        for (after, unknown, named) in [
            (sums([104, 104, 104]), 0, "the log has 4"),
            (sums([108, 108, 108]), 2, "the log has 8"),
            (sums([105, 105, 106]), 0, "product_list has 6, the log 5"),
            (sums([105, 104, 105]), 1, "holdings has 4, the log 5"),
        ] {
            let wrong = after
                .check_grown(&before, 5, unknown)
                .expect_err(named)
                .to_string();
            assert!(
                wrong.starts_with("WRONG SUM: 5 won were accepted") && wrong.contains(named),
                "{wrong}"
            );
        }
    }
}
