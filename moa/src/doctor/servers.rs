//! RabbitMQ and Redis, where they are set.

use super::Finding;
use crate::secret::Secret;
use crate::serve::{consumers, redis_client};
use crate::settings::DoctorSettings;
use crate::{complaint, trust};
use broker::Address;
use broker::inspect::{Inspection, inspect};
use event_log::Log;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

/// How long RabbitMQ may take for everything: it answers for each queue.
const RABBITMQ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long Redis may take.
const REDIS_TIMEOUT: Duration = Duration::from_secs(5);
/// The oldest versions that Moa runs on.
const MIN_RABBITMQ: [u32; 2] = [3, 10];
const MIN_REDIS: [u32; 2] = [7, 0];

pub(super) async fn check(settings: &DoctorSettings, log: Option<Log>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(url) = &settings.broker.amqp_url {
        findings.extend(rabbitmq(url, log).await);
    }
    if let Some(url) = &settings.cache.redis_url {
        findings.extend(redis(url).await.unwrap_or_else(|error| {
            let mend = "start it, or set REDIS_URL right; until then reads come from PostgreSQL";
            vec![Finding::wrong("redis", complaint::causes(&error), mend)]
        }));
    }
    findings
}

async fn rabbitmq(url: &Secret, log: Option<Log>) -> Vec<Finding> {
    const CHECK: &str = "rabbitmq";
    let address = match Address::parse(url.reveal(), trust::of_process()) {
        Ok(address) => address,
        Err(error) => {
            return vec![Finding::wrong(
                CHECK,
                error.to_string(),
                "set AMQP_URL right",
            )];
        }
    };
    // Without a log there is no queue yet.
    let (log_id, partitions) = log
        .map(|log| (log.identity().log_id, log.identity().partitions))
        .unwrap_or_default();
    let inspected = timeout(
        RABBITMQ_TIMEOUT,
        inspect(&address, log_id, &consumers(), partitions),
    )
    .await;
    match inspected.unwrap_or_else(|_| Err("it does not answer in time".into())) {
        Ok(found) => vec![rabbitmq_version(&found), queues(&found)],
        Err(error) => {
            let mend = "start it, or set AMQP_URL right; until then events are read from the log";
            vec![Finding::wrong(CHECK, error, mend)]
        }
    }
}

fn rabbitmq_version(found: &Inspection) -> Finding {
    const CHECK: &str = "rabbitmq";
    match &found.version {
        Some(version) if is_at_least(version, MIN_RABBITMQ) => Finding::ok(CHECK, version),
        Some(version) => Finding::wrong(CHECK, version, "Moa needs 3.10 or later"),
        None => Finding::warn(
            CHECK,
            "it does not say its version",
            "Moa needs RabbitMQ 3.10 or later",
        ),
    }
}

fn queues(found: &Inspection) -> Finding {
    const CHECK: &str = "queues";
    let Inspection {
        declared,
        missing,
        different,
        ..
    } = found;
    match (different.first(), missing.len()) {
        (Some((name, why)), _) => Finding::wrong(
            CHECK,
            format!(
                "{} have other arguments than this release declares; {name}: {why}",
                different.len()
            ),
            "delete them: the projector and the relay declare them again, and what was in them is read from the log",
        ),
        (None, 0) => Finding::ok(
            CHECK,
            format!("{declared} are declared as this release does"),
        ),
        (None, missing) => Finding::ok(
            CHECK,
            format!("{missing} are still to be declared, by whoever consumes them"),
        ),
    }
}

async fn redis(url: &Secret) -> anyhow::Result<Vec<Finding>> {
    const CHECK: &str = "redis";
    let client = redis_client(url)?;
    let asked = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        redis::RedisResult::Ok(info)
    };
    let info = timeout(REDIS_TIMEOUT, asked)
        .await
        .map_err(|_| anyhow::anyhow!("it does not answer in time"))?;
    let info = info.map_err(|error| {
        anyhow::anyhow!(tls::explain(&error).unwrap_or_else(|| error.to_string()))
    })?;
    let fields: HashMap<_, _> = info
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or("-");
    let version = field("redis_version");
    let version = match is_at_least(version, MIN_REDIS) {
        true => Finding::ok(CHECK, version),
        false => Finding::wrong(CHECK, version, "Moa needs 7 or later"),
    };
    Ok(vec![
        version,
        eviction(field("maxmemory"), field("maxmemory_policy")),
    ])
}

fn eviction(maxmemory: &str, policy: &str) -> Finding {
    const CHECK: &str = "eviction";
    let found = format!("maxmemory is {maxmemory} bytes, maxmemory-policy {policy}");
    match (maxmemory, policy) {
        ("0", _) => Finding::warn(
            CHECK,
            found,
            "bound it: config set maxmemory 256mb, with maxmemory-policy noeviction",
        ),
        (_, "noeviction") => Finding::ok(CHECK, found),
        _ => Finding::wrong(
            CHECK,
            found,
            "counters are evicted, and loaded again each time: config set maxmemory-policy noeviction",
        ),
    }
}

/// Whether a version such as 3.10.8 is this one or a later one.
fn is_at_least(version: &str, least: [u32; 2]) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, is_enough) in [
            ("3.10.8", true),
            ("3.9.29", false),
            ("4.0.2", true),
            ("3.10", true),
            ("2.11", false),
            ("-", false),
        ] {
            assert_eq!(is_at_least(version, MIN_RABBITMQ), is_enough, "{version}");
        }
    }
}
