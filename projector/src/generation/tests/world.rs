//! A log of two partitions and read models whose rows say which generation they are of.

use crate::generation::switch::{CatchUp, SwitchError, Switched, switch};
use crate::generation::{standby_schema, tables};
use connection_pool::{Connection, Pool};
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use testbed::Database;

pub(super) const PARTITIONS: i32 = 2;

pub(super) struct World {
    pub(super) pool: Pool,
    _database: Database,
}

impl World {
    /// Every read model's generation 1 is live, empty, and has not begun.
    pub(super) async fn fresh() -> Self {
        let database = Database::fresh().await;
        let world = Self {
            pool: database.pool().await,
            _database: database,
        };
        world
            .run(&format!("insert into log_identity (log_id, partitions) values (gen_random_uuid(), {PARTITIONS})"))
            .await;
        world
    }

    /// Generation 1 of `holdings` is live, 2 is ready; each filled, and both at the same positions.
    pub(super) async fn with_two_holdings() -> Self {
        let world = Self::fresh().await;
        world.begin("holdings").await;
        world.fill("public", 1).await;
        world.make("holdings", 2).await;
        world.fill("holdings_2", 2).await;
        world.begin("holdings_2").await;
        world
    }

    /// What is different in every generation: how many holdings kim has, how much of each, and what the products are called.
    async fn fill(&self, schema: &str, generation: i64) {
        self.run(&format!(
            "insert into {schema}.holdings_product
             select id, 'generation {generation}', 1000 from generate_series(1, 5 + {generation}) as id;
             insert into {schema}.holdings
             select 'kim', product_id, {generation}, 'epoch' from {schema}.holdings_product;
             insert into {schema}.holdings_count select 'kim', 0, count(*) from {schema}.holdings"
        ))
        .await;
    }

    /// A generation with its tables and indexes, as a rebuild leaves it.
    pub(super) async fn make(&self, projection: &str, generation: i32) {
        let mut connection = self.connection().await;
        tables::create(&mut connection, projection, generation, 1)
            .await
            .unwrap();
        tables::index(&mut connection, projection, generation, 1)
            .await
            .unwrap();
        self.run(&format!(
            "insert into generations values ('{projection}', {generation}, 1, 'READY')"
        ))
        .await;
    }

    /// The consumer's checkpoints, at position 1.
    pub(super) async fn begin(&self, consumer: &str) {
        self.run(&format!(
            "insert into checkpoints (consumer, partition, position)
             select '{consumer}', n, 1 from generate_series(0, {PARTITIONS} - 1) as n"
        ))
        .await;
    }

    pub(super) async fn run(&self, statements: &str) {
        sqlx::raw_sql(statements).execute(&self.pool).await.unwrap();
    }

    /// The rows of a query, each a text.
    pub(super) async fn says(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(query)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// A connection of its own: dropping it drops its session.
    pub(super) async fn connection(&self) -> Connection {
        let mut connection = self.pool.acquire().await.unwrap();
        connection.close_on_drop();
        connection
    }

    /// Connections as readers have them, with their prepared statements.
    pub(super) fn readers(&self, connections: u32) -> Pool {
        let options = (*self.pool.inner().connect_options()).clone();
        let bounds = [
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "2s"),
        ];
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5));
        Pool::from(pool.connect_lazy_with(options.options(bounds)))
    }

    pub(super) async fn switch(&self, to: i32) -> Result<Switched, SwitchError> {
        self.switch_with(to, &mut ()).await
    }

    pub(super) async fn switch_with(
        &self,
        to: i32,
        catch_up: &mut impl CatchUp,
    ) -> Result<Switched, SwitchError> {
        switch(&mut self.connection().await, "holdings", to, catch_up).await
    }

    /// Whose tables are where with how many rows, which checkpoints stand where, which generation is what.
    pub(super) async fn places(&self) -> Vec<String> {
        let mut places = self
            .says(
                "select format('%s %s', consumer, array_agg(position order by partition))
                   from checkpoints group by consumer order by 1",
            )
            .await;
        let tables = "select format('%s.%s', schemaname, tablename) from pg_tables
                       where tablename ~ '^holdings' order by 1";
        for table in self.says(tables).await {
            places.extend(
                self.says(&format!("select '{table} ' || count(*) from {table}"))
                    .await,
            );
        }
        places.extend(
            self.says(
                "select nspname::text from pg_namespace where nspname ~ '^holdings_' order by 1",
            )
            .await,
        );
        let states = "select format('%s %s', generation, state) from generations where projection = 'holdings' order by 1";
        places.extend(self.says(states).await);
        places
    }

    /// Lets the generation that is not live go one position ahead of the live one, and so the positions tell which it is.
    pub(super) async fn step_ahead(&self, generation: i32) {
        let schema = standby_schema("holdings", generation);
        self.run(&format!(
            "update checkpoints as own set position = live.position + 1 from checkpoints as live
              where own.consumer = '{schema}' and live.consumer = 'holdings' and own.partition = live.partition"
        ))
        .await;
    }
}
