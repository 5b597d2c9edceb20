//! What `product_list` shows, with the position it shows: rows and checkpoint in one statement, so on one snapshot.

use connection_pool::Pool;
use event_log::{Partition, Position};

/// Products of one partition as `product_list` has them at `position`.
pub(super) struct Shown {
    pub(super) position: Position,
    /// Of the event at `position`, in hexadecimal digits; empty at 0.
    pub(super) event_hash: String,
    pub(super) products: Vec<Product>,
}

pub(super) struct Product {
    pub(super) id: i64,
    current_amount: i64,
    invest_users: i64,
    closed: bool,
}

impl Product {
    #[cfg(test)]
    pub(super) fn new(id: i64, current_amount: i64, invest_users: i64, closed: bool) -> Self {
        Self { id, current_amount, invest_users, closed }
    }

    /// Its counter, as Redis holds it.
    pub(super) fn counter(&self) -> String {
        format!("{}:{}:{}", self.current_amount, self.invest_users, u8::from(self.closed))
    }
}

/// `product_list`'s position at `partition`, and those of `products` that it has.
pub(super) async fn read_touched(pool: &Pool, partition: Partition, products: &[i64]) -> sqlx::Result<Shown> {
    let rows = sqlx::query_as(
        "select coalesce(position, 0), coalesce(encode(hash, 'hex'), ''),
                product_id, current_amount, invest_users, closed
           from (values (1)) as one
           left join checkpoints on consumer = 'product_list' and partition = $1
           left join product_list on product_id = any($2)",
    )
    .bind(partition)
    .bind(products)
    .fetch_all(pool)
    .await?;
    shown(rows)
}

/// `product_list`'s position at `partition`, and every product of it.
pub(super) async fn read_all(pool: &Pool, partitions: i32, partition: Partition) -> sqlx::Result<Shown> {
    let rows = sqlx::query_as(
        "select coalesce(position, 0), coalesce(encode(hash, 'hex'), ''),
                product_id, current_amount, invest_users, closed
           from (values (1)) as one
           left join checkpoints on consumer = 'product_list' and partition = $1
           left join product_list on product_id % $2 = $1",
    )
    .bind(partition)
    .bind(partitions)
    .fetch_all(pool)
    .await?;
    shown(rows)
}

/// `product_list`'s position at `partition`, and up to `limit` products of it whose ids follow `after`, in that order.
pub(super) async fn read_page(
    pool: &Pool,
    partitions: i32,
    partition: Partition,
    after: i64,
    limit: i64,
) -> sqlx::Result<Shown> {
    let rows = sqlx::query_as(
        "select coalesce(position, 0), coalesce(encode(hash, 'hex'), ''),
                product_id, current_amount, invest_users, closed
           from (values (1)) as one
           left join checkpoints on consumer = 'product_list' and partition = $1
           left join (select * from product_list where product_id > $3 and product_id % $2 = $1
                       order by product_id limit $4) as page on true
          order by product_id",
    )
    .bind(partition)
    .bind(partitions)
    .bind(after)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    shown(rows)
}

/// A position, its event's hash, and, where there is a product, its columns.
type Row = (Position, String, Option<i64>, Option<i64>, Option<i64>, Option<bool>);

fn shown(rows: Vec<Row>) -> sqlx::Result<Shown> {
    let (position, event_hash) = rows.first().map(|row| (row.0, row.1.clone())).ok_or(sqlx::Error::RowNotFound)?;
    let product = |(_, _, id, current_amount, invest_users, closed): Row| {
        Some(Product { id: id?, current_amount: current_amount?, invest_users: invest_users?, closed: closed? })
    };
    Ok(Shown { position, event_hash, products: rows.into_iter().filter_map(product).collect() })
}
