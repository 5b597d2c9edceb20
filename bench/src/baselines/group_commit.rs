//! `group-commit`: the least that durable accepts cost. One task has what remains of each product in memory, collects the
//! requests that wait, inserts one row for each accepted one in a single statement, which is the commit, and then answers.

use super::ServeBaseline;
use super::server::{Invest, Invests, Outcome};
use anyhow::Context;
use domain::MAX_AMOUNT;
use sqlx::PgPool;
use std::collections::HashMap;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Requests that wait at most; more wait in their connections.
const QUEUE_CAPACITY: usize = 8_192;
/// Requests of one commit at most.
const MAX_BATCH_INVESTS: usize = 1_000;

const TABLE: &str = "
    create table invest (
        id         uuid        primary key,
        product_id bigint      not null,
        user_id    text        not null,
        amount     bigint      not null,
        at         timestamptz not null default now()
    )";

const INSERT: &str = "
    insert into invest (id, product_id, user_id, amount)
    select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[])";

type Responder = oneshot::Sender<Outcome>;

pub(super) struct GroupCommit {
    queue: mpsc::Sender<(Invest, Responder)>,
}

impl GroupCommit {
    pub(super) async fn start(settings: &ServeBaseline) -> anyhow::Result<Self> {
        let pool = settings.pool(1).await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        let remaining = (1..=settings.products)
            .map(|product| (product, MAX_AMOUNT))
            .collect();
        let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(commit_batches(pool, remaining, waiting));
        Ok(Self { queue })
    }
}

impl Invests for GroupCommit {
    async fn invest(&self, invest: Invest) -> anyhow::Result<Outcome> {
        let (responder, outcome) = oneshot::channel();
        self.queue
            .send((invest, responder))
            .await
            .ok()
            .context("the task is gone")?;
        outcome.await.context("the commit failed")
    }
}

async fn commit_batches(
    pool: PgPool,
    mut remaining: HashMap<i64, i64>,
    mut waiting: mpsc::Receiver<(Invest, Responder)>,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH_INVESTS);
    while waiting.recv_many(&mut batch, MAX_BATCH_INVESTS).await > 0 {
        // Without an answer the callers learn that it failed.
        if let Err(error) = commit(&pool, &mut remaining, &mut batch).await {
            eprintln!("a batch was not committed: {error}");
            std::process::exit(1);
        }
    }
}

async fn commit(
    pool: &PgPool,
    remaining: &mut HashMap<i64, i64>,
    batch: &mut Vec<(Invest, Responder)>,
) -> sqlx::Result<()> {
    let (mut ids, mut products, mut users, mut amounts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut accepted = Vec::with_capacity(batch.len());
    for (invest, responder) in batch.drain(..) {
        match remaining.get_mut(&invest.product_id) {
            Some(left) if *left >= invest.amount => {
                *left -= invest.amount;
                ids.push(Uuid::now_v7());
                products.push(invest.product_id);
                users.push(invest.user_id);
                amounts.push(invest.amount);
                accepted.push(responder);
            }
            _ => _ = responder.send(Outcome::SoldOut),
        }
    }
    sqlx::query(INSERT)
        .bind(ids)
        .bind(products)
        .bind(users)
        .bind(amounts)
        .execute(pool)
        .await?;
    for responder in accepted {
        // Who has gone needs no answer.
        responder.send(Outcome::Accepted).ok();
    }
    Ok(())
}
