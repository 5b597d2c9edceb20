//! The settings of `moa replay`.

use crate::secret::Secret;
use broker::replay::{OutsideQueue, Start};
use chrono::DateTime;
use clap::Args;
use domain::ProductId;
use event_log::search::EVENT_TYPES;
use std::num::NonZeroU32;

/// What is sent again, and where.
#[derive(Clone, Debug, Args)]
pub struct ReplaySettings {
    /// The queue of a consumer outside Moa; it must be there
    #[arg(long, value_name = "QUEUE")]
    pub to: OutsideQueue,
    /// Where to begin in each partition: at a position, or at a time such as 2026-11-22T09:00:00Z
    #[arg(long, value_name = "POSITION|TIME", default_value = "1", value_parser = start)]
    pub from: Start,
    /// Only this partition [default: all, one after the other]
    #[arg(long, conflicts_with = "product")]
    pub partition: Option<i32>,
    /// Only what happened to this product
    #[arg(long, value_name = "ID", value_parser = product)]
    pub product: Option<ProductId>,
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = EVENT_TYPES)]
    pub event_type: Option<String>,
    /// Send at most so many events a second [default: as many as RabbitMQ confirms]
    #[arg(long, value_name = "EVENTS")]
    pub max_rate: Option<NonZeroU32>,
    /// How many were sent, as JSON
    #[arg(long)]
    pub json: bool,
    /// The PostgreSQL that has the log, e.g. postgres://user@host/moa
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// The RabbitMQ that has the queue, e.g. amqp://user:password@host
    #[arg(long, value_name = "URL", env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: Secret,
}

fn start(text: &str) -> Result<Start, String> {
    if let Ok(position @ 1..) = text.parse() {
        return Ok(Start::Position(position));
    }
    const MALFORMED: &str =
        "must be a position from 1, or a time with its offset, such as 2026-11-22T09:00:00Z";
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| MALFORMED.to_owned())?;
    edge::within_bounds(time.to_utc())
        .map(Start::Time)
        .map_err(|error| error.to_string())
}

fn product(text: &str) -> Result<ProductId, String> {
    let id: i64 = text
        .parse()
        .map_err(|_| "must be a product's id".to_owned())?;
    ProductId::try_from(id).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_position_or_a_time_with_its_offset() {
        let nine = "2026-11-22T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("1", Some(Start::Position(1))),
            ("9223372036854775807", Some(Start::Position(i64::MAX))),
            ("2026-11-22T09:00:00+09:00", Some(Start::Time(nine))),
            ("2026-11-22T00:00:00Z", Some(Start::Time(nine))),
            ("0", None),
            ("-1", None),
            ("9223372036854775808", None),
            ("2026-11-22T09:00:00", None),
            ("2026-11-22", None),
            ("yesterday", None),
            ("9999-12-31T23:59:59Z", None),
            ("0000-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(start(text).ok(), expected, "{text}");
        }
    }
}
