//! `sql-update`: the usual way. A transaction takes the amount from the product's row, if that much remains, and inserts the
//! invest. The row's lock is held until the commit is on the disk.

use super::server::{Invest, Invests, Outcome};
use super::{POOL_SIZE, ServeBaseline};
use domain::MAX_AMOUNT;
use sqlx::PgPool;
use uuid::Uuid;

const TABLES: &str = "
    create table product (id bigint primary key, remaining bigint not null check (remaining >= 0))
        with (fillfactor = 50);
    create table invest (
        id         uuid        primary key,
        product_id bigint      not null,
        user_id    text        not null,
        amount     bigint      not null,
        at         timestamptz not null default now()
    )";

const PRODUCTS: &str = "insert into product select id, $2 from generate_series(1, $1) as id";

const TAKE: &str =
    "update product set remaining = remaining - $2 where id = $1 and remaining >= $2";

const INSERT: &str = "insert into invest (id, product_id, user_id, amount) values ($1, $2, $3, $4)";

pub(super) struct SqlUpdate {
    pool: PgPool,
}

impl SqlUpdate {
    pub(super) async fn start(settings: &ServeBaseline) -> anyhow::Result<Self> {
        let pool = settings.pool(POOL_SIZE).await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        sqlx::query(PRODUCTS)
            .bind(settings.products)
            .bind(MAX_AMOUNT)
            .execute(&pool)
            .await?;
        Ok(Self { pool })
    }
}

impl Invests for SqlUpdate {
    async fn invest(&self, invest: Invest) -> anyhow::Result<Outcome> {
        let mut transaction = self.pool.begin().await?;
        let taken = sqlx::query(TAKE)
            .bind(invest.product_id)
            .bind(invest.amount)
            .execute(&mut *transaction)
            .await?;
        if taken.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(Outcome::SoldOut);
        }
        sqlx::query(INSERT)
            .bind(Uuid::now_v7())
            .bind(invest.product_id)
            .bind(invest.user_id)
            .bind(invest.amount)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Outcome::Accepted)
    }
}
