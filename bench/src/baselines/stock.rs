//! `stock`: Moa's own aggregate under cqrs-es and postgres-es as they come, with the plain event store: each command loads the
//! product's stream and appends an event, and is tried again when another one was first.

use super::server::{Invest, Invests, Outcome};
use super::{POOL_SIZE, ServeBaseline};
use anyhow::Context;
use chrono::{TimeDelta, Utc};
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateError, CqrsFramework};
use domain::{
    Amount, InvestId, MAX_AMOUNT, Product, ProductCommand, ProductId, Refusal, Terms, Title,
    UserId, Window,
};
use postgres_es::{PostgresEventRepository, postgres_cqrs};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a command is tried before it is given up, as Moa gives up those that wait.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a product takes invests.
const OPEN_FOR: TimeDelta = TimeDelta::days(365);
/// How long a reservation stands.
const RESERVED_FOR: TimeDelta = TimeDelta::minutes(10);

/// As postgres-es has it.
const TABLE: &str = "
    create table events (
        aggregate_type text   not null,
        aggregate_id   text   not null,
        sequence       bigint not null check (sequence >= 0),
        event_type     text   not null,
        event_version  text   not null,
        payload        json   not null,
        metadata       json   not null,
        primary key (aggregate_type, aggregate_id, sequence)
    )";

pub(super) struct Stock {
    framework: CqrsFramework<Product, PersistedEventStore<PostgresEventRepository, Product>>,
}

impl Stock {
    pub(super) async fn start(settings: &ServeBaseline) -> anyhow::Result<Self> {
        let pool = settings.pool(POOL_SIZE).await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        let framework = postgres_cqrs(pool, Vec::new(), ());
        for product in 1..=settings.products {
            let (now, product_id) = (Utc::now(), ProductId::try_from(product)?);
            let window = Window::new(now, now + OPEN_FOR)
                .ok()
                .context("a window of no time")?;
            let (title, total) = (
                Title::try_from(format!("product{product}"))?,
                Amount::try_from(MAX_AMOUNT)?,
            );
            let open = ProductCommand::OpenProduct {
                product_id,
                title,
                total,
                window,
                terms: Terms::default(),
            };
            framework.execute(&product.to_string(), open).await?;
        }
        Ok(Self { framework })
    }
}

impl Invests for Stock {
    async fn invest(&self, invest: Invest) -> anyhow::Result<Outcome> {
        let (began, aggregate_id) = (Instant::now(), invest.product_id.to_string());
        let (user_id, amount) = (
            UserId::try_from(invest.user_id)?,
            Amount::try_from(invest.amount)?,
        );
        let invest_id = InvestId(Uuid::now_v7());
        while began.elapsed() < CONFLICT_TIMEOUT {
            let (at, user_id) = (Utc::now(), user_id.clone());
            let expires_at = at + RESERVED_FOR;
            let requested = ProductCommand::InvestRequested {
                invest_id,
                user_id,
                amount,
                at,
                expires_at,
            };
            match self.framework.execute(&aggregate_id, requested).await {
                Ok(()) => return Ok(Outcome::Accepted),
                Err(AggregateError::AggregateConflict) => {}
                Err(AggregateError::UserError(Refusal::SoldOut { .. })) => {
                    return Ok(Outcome::SoldOut);
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(Outcome::Overloaded)
    }
}
