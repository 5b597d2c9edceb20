//! The log as an outsider reads it: the stored rows and their JSON.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct Event {
    pub partition: i32,
    pub position: i64,
    pub product: i64,
    pub sequence: i64,
    pub recorded_at: DateTime<Utc>,
    pub correlation: String,
    pub fact: Fact,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Opened {
        title: String,
        total: i64,
        started_at: DateTime<Utc>,
        finished_at: DateTime<Utc>,
        terms: Value,
    },
    Reserved {
        invest: Uuid,
        user: String,
        amount: i64,
    },
    Settled {
        invest: Uuid,
        user: String,
        amount: i64,
    },
    Failed {
        invest: Uuid,
        user: String,
        amount: i64,
        code: String,
        detail: String,
    },
    Withdrawn {
        invest: Uuid,
        user: String,
        amount: i64,
        settled: bool,
    },
    /// Of a withdrawn invest, or a holding of a product that ended: the money is back with its user.
    Refunded {
        invest: Uuid,
        user: String,
        amount: i64,
        code: String,
    },
    Closed,
    Cancelled {
        reason: String,
    },
    /// It missed its target.
    Missed {
        target: i64,
        reached: i64,
    },
}

impl Fact {
    /// Whether it is the refund of a holding because its product ended, not of a withdrawal.
    pub fn gives_back_a_holding(&self) -> bool {
        matches!(self, Self::Refunded { code, .. } if code != "WITHDRAWN")
    }
}

/// All events, in reading order.
#[derive(Clone)]
pub struct Log {
    pub partitions: i32,
    pub events: Vec<Event>,
}

type Row = (i32, i64, String, i64, DateTime<Utc>, String, String);

impl Log {
    pub async fn read(pool: &PgPool) -> Self {
        let partitions = sqlx::query_scalar("select partitions from log_identity")
            .fetch_one(pool)
            .await
            .unwrap();
        let rows: Vec<Row> = sqlx::query_as(
            "select partition, position, aggregate_id, sequence, recorded_at, payload::text, metadata::text
               from events order by partition, position",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        Self {
            partitions,
            events: rows.into_iter().map(event).collect(),
        }
    }

    /// Each partition's last position.
    pub fn heads(&self) -> Vec<i64> {
        let of = |partition| {
            self.events
                .iter()
                .filter(move |event| event.partition == partition)
        };
        (0..self.partitions)
            .map(|partition| of(partition).map(|event| event.position).max().unwrap_or(0))
            .collect()
    }

    /// Each product's events, in reading order.
    pub fn streams(&self) -> BTreeMap<i64, Vec<&Event>> {
        let mut streams: BTreeMap<i64, Vec<&Event>> = BTreeMap::new();
        self.events
            .iter()
            .for_each(|event| streams.entry(event.product).or_default().push(event));
        streams
    }

    /// Who reserved what, with which event.
    pub fn reservations(&self) -> impl Iterator<Item = (Uuid, &str, i64, &Event)> {
        self.events.iter().filter_map(|event| match &event.fact {
            Fact::Reserved {
                invest,
                user,
                amount,
            } => Some((*invest, user.as_str(), *amount, event)),
            _ => None,
        })
    }
}

fn event(
    (partition, position, aggregate_id, sequence, recorded_at, payload, metadata): Row,
) -> Event {
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let product = aggregate_id.parse().unwrap();
    let correlation = metadata["correlationId"].as_str().unwrap().to_owned();
    Event {
        partition,
        position,
        product,
        sequence,
        recorded_at,
        correlation,
        fact: fact(&payload),
    }
}

fn fact(payload: &str) -> Fact {
    let payload: Value = serde_json::from_str(payload).unwrap();
    let (name, fields) = payload.as_object().unwrap().iter().next().unwrap();
    let text = |name: &str| fields[name].as_str().unwrap().to_owned();
    let time = |name: &str| text(name).parse().unwrap();
    let (invest, user, amount) = (
        || text("investId").parse().unwrap(),
        || text("userId"),
        || fields["amount"].as_i64().unwrap(),
    );
    match name.as_str() {
        "ProductOpened" => Fact::Opened {
            title: text("title"),
            total: fields["totalInvestingAmount"].as_i64().unwrap(),
            started_at: time("startedAt"),
            finished_at: time("finishedAt"),
            terms: fields["terms"].clone(),
        },
        "InvestReserved" => Fact::Reserved {
            invest: invest(),
            user: user(),
            amount: amount(),
        },
        "InvestSettled" => Fact::Settled {
            invest: invest(),
            user: user(),
            amount: amount(),
        },
        "InvestFailed" => Fact::Failed {
            invest: invest(),
            user: user(),
            amount: amount(),
            code: text("code"),
            detail: text("detail"),
        },
        "InvestWithdrawn" => {
            let settled = fields["settled"].as_bool().expect("settled");
            Fact::Withdrawn {
                invest: invest(),
                user: user(),
                amount: amount(),
                settled,
            }
        }
        "InvestRefunded" => Fact::Refunded {
            invest: invest(),
            user: user(),
            amount: amount(),
            code: text("code"),
        },
        "ProductClosed" => Fact::Closed,
        "ProductCancelled" => Fact::Cancelled {
            reason: text("reason"),
        },
        "ProductFailed" => {
            let won = |name: &str| fields[name].as_i64().unwrap();
            Fact::Missed {
                target: won("targetAmount"),
                reached: won("reachedAmount"),
            }
        }
        other => panic!("an event that no outsider was told of: {other}"),
    }
}
