//! What Moa is measured against: the same promise kept the usual way.

use crate::Load;
use crate::summary::Latencies;
use anyhow::Context;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Connections that a PostgreSQL with its default settings has to give beside a running Moa.
const MAX_CONNECTIONS: u32 = 60;

pub(crate) async fn run(load: Load, database_url: &str) -> anyhow::Result<()> {
    let connections = u32::from(load.connections).min(MAX_CONNECTIONS);
    let pool = PgPoolOptions::new().max_connections(connections).connect(database_url).await;
    let pool = pool.context("cannot reach the database")?;
    make_tables(&pool).await?;
    let measured = measure(load, &pool).await;
    sqlx::raw_sql("drop table bench_invest; drop table bench_product").execute(&pool).await?;
    let mut accepted = measured?;
    let rate = accepted.count() as f64 / load.seconds as f64;
    println!("{} clients  {rate:.0} accepted/s  {}", load.connections, accepted.ranked());
    Ok(())
}

async fn make_tables(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::raw_sql(
        "create table bench_product (id bigint primary key, taken bigint not null, total bigint not null);
         create table bench_invest (id bigint generated always as identity primary key, product_id bigint not null,
                                    user_id text not null, amount bigint not null, at timestamptz not null default now());
         insert into bench_product values (1, 0, 1000000000000)",
    )
    .execute(pool)
    .await?;
    Ok(())
}

async fn measure(load: Load, pool: &PgPool) -> anyhow::Result<Latencies> {
    let until = Instant::now() + Duration::from_secs(load.seconds);
    let mut clients = JoinSet::new();
    for user in 0..load.connections {
        clients.spawn(client(pool.clone(), format!("bench{user}"), until));
    }
    let mut accepted = Latencies::default();
    for client in clients.join_all().await {
        accepted.merge(client?);
    }
    Ok(accepted)
}

async fn client(pool: PgPool, user: String, until: Instant) -> anyhow::Result<Latencies> {
    let mut accepted = Latencies::default();
    while Instant::now() < until {
        let asked = Instant::now();
        let mut transaction = pool.begin().await?;
        let taken = sqlx::query("update bench_product set taken = taken + 1 where id = 1 and taken + 1 <= total");
        anyhow::ensure!(taken.execute(&mut *transaction).await?.rows_affected() == 1, "the product is full");
        sqlx::query("insert into bench_invest (product_id, user_id, amount) values (1, $1, 1)")
            .bind(&user)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        accepted.add(asked.elapsed());
    }
    Ok(accepted)
}
