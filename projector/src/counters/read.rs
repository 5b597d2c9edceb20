//! Reads `product_list` with its position: rows and checkpoint in one statement, so in one snapshot.

use connection_pool::Pool;
use event_log::{Partition, Position};

/// Products of one partition as `product_list` has them at `position`.
pub(super) struct ProductSnapshot {
    pub(super) position: Position,
    /// The hash of the event at `position`, in hexadecimal digits; empty at 0.
    pub(super) event_hash: String,
    pub(super) products: Vec<Product>,
}

pub(super) struct Product {
    pub(super) id: i64,
    current_amount: i64,
    invest_users: i64,
    /// 0 while it stands, 1 when it is closed, 2 when it was cancelled or has failed.
    ended: i32,
}

impl Product {
    #[cfg(test)]
    pub(super) fn new(id: i64, current_amount: i64, invest_users: i64, ended: i32) -> Self {
        Self {
            id,
            current_amount,
            invest_users,
            ended,
        }
    }

    /// Its counter, as it is in Redis.
    pub(super) fn counter(&self) -> String {
        format!(
            "{}:{}:{}",
            self.current_amount, self.invest_users, self.ended
        )
    }
}

/// A statement of `product_list`'s position at partition `$1`, and the products of a join.
macro_rules! select_with_position {
    ($join:literal) => {
        concat!(
            "select coalesce(position, 0), coalesce(encode(hash, 'hex'), ''),
                    product_id, current_amount, invest_users,
                    case when failed or cancel_reason is not null then 2 when closed then 1 else 0 end
               from (values (1)) as one
               left join checkpoints on consumer = 'product_list' and partition = $1
               left join ",
            $join
        )
    };
}

/// `product_list`'s position at `partition`, and the rows of `products`.
pub(super) async fn read_products(
    pool: &Pool,
    partition: Partition,
    products: &[i64],
) -> sqlx::Result<ProductSnapshot> {
    const PRODUCTS: &str = select_with_position!("product_list on product_id = any($2)");
    snapshot(
        sqlx::query_as(PRODUCTS)
            .bind(partition)
            .bind(products)
            .fetch_all(pool)
            .await?,
    )
}

/// `product_list`'s position at `partition`, and the rows of all its products.
pub(super) async fn read_all(
    pool: &Pool,
    partitions: i32,
    partition: Partition,
) -> sqlx::Result<ProductSnapshot> {
    const ALL: &str = select_with_position!("product_list on product_id % $2 = $1");
    snapshot(
        sqlx::query_as(ALL)
            .bind(partition)
            .bind(partitions)
            .fetch_all(pool)
            .await?,
    )
}

/// `product_list`'s position at `partition`, and the rows of up to `limit` of its products with ids after `after`, in order.
pub(super) async fn read_page(
    pool: &Pool,
    partitions: i32,
    partition: Partition,
    after: i64,
    limit: i64,
) -> sqlx::Result<ProductSnapshot> {
    const PAGE: &str = select_with_position!(
        "(select * from product_list where product_id > $3 and product_id % $2 = $1 order by product_id limit $4) as page on true
          order by product_id"
    );
    let rows = sqlx::query_as(PAGE)
        .bind(partition)
        .bind(partitions)
        .bind(after)
        .bind(limit);
    snapshot(rows.fetch_all(pool).await?)
}

/// A position, its event's hash, and the columns of a product, if there is one.
type Row = (Position, String, Option<i64>, Option<i64>, Option<i64>, i32);

fn snapshot(rows: Vec<Row>) -> sqlx::Result<ProductSnapshot> {
    let (position, event_hash) = rows
        .first()
        .map(|row| (row.0, row.1.clone()))
        .ok_or(sqlx::Error::RowNotFound)?;
    let product = |(_, _, id, current_amount, invest_users, ended): Row| {
        Some(Product {
            id: id?,
            current_amount: current_amount?,
            invest_users: invest_users?,
            ended,
        })
    };
    Ok(ProductSnapshot {
        position,
        event_hash,
        products: rows.into_iter().filter_map(product).collect(),
    })
}
