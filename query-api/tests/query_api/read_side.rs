//! A router on a database of its own, and sentences to fill the read models with.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use connection_pool::Pool;
use edge::{ConsistencyToken, LogIncarnation};
use http_body_util::BodyExt as _;
use query_api::{ReaderNotice, Settings, StreamLimits};
use sqlx::postgres::PgPoolOptions;
use testbed::http::{Answer, success};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

pub const LOG: Uuid = Uuid::from_u128(0x0192_d3a0_0000_7000_8000_0000_0000_0001);
pub const PARTITIONS: usize = 4;

pub struct ReadSide {
    _database: Option<testbed::Database>,
    pub pool: Pool,
    router: Router,
}

/// Everything from PostgreSQL.
pub fn settings(pool: Pool) -> Settings {
    let time = "Asia/Seoul".parse().unwrap();
    let (callers, health) = (std::sync::Arc::default(), edge::health(async || vec![]));
    let (streams, shutdown) = (StreamLimits::default(), CancellationToken::new());
    let (_, incarnation) = watch::channel(1);
    Settings {
        pool,
        redis: None,
        log_id: LOG,
        incarnation,
        partitions: PARTITIONS,
        time,
        callers,
        health,
        streams,
        readers: ReaderNotice::default(),
        shutdown,
    }
}

/// A token of our log at these positions.
pub fn token(positions: [i64; PARTITIONS]) -> String {
    ConsistencyToken::new(LogIncarnation::first(LOG), positions.to_vec()).to_string()
}

/// A success with a list.
pub fn list(total_count: i64, items: &[&str]) -> String {
    success(&format!(
        r#"{{"totalCount":{total_count},"list":[{}]}}"#,
        items.join(",")
    ))
}

impl ReadSide {
    pub async fn new() -> Self {
        let database = testbed::Database::fresh().await;
        let pool = database.pool().await;
        let router = query_api::router(settings(pool.clone()));
        Self {
            _database: Some(database),
            pool,
            router,
        }
    }

    /// No database at all: for what must be refused before one is asked.
    pub fn without_database() -> Self {
        let pool = PgPoolOptions::new()
            .connect_lazy("postgres://nobody@127.0.0.1:1/none")
            .map(Pool::from)
            .unwrap();
        let router = query_api::router(settings(pool.clone()));
        Self {
            _database: None,
            pool,
            router,
        }
    }

    /// The same database, under other settings.
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self {
            _database: None,
            pool: settings.pool.clone(),
            router: query_api::router(settings),
        }
    }

    /// The same, under other settings from now on.
    pub fn again(self, settings: Settings) -> Self {
        Self {
            router: query_api::router(settings),
            ..self
        }
    }

    /// The same database, reached through another pool.
    pub fn with_pool(&self, pool: Pool) -> Self {
        self.with_settings(settings(pool))
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        testbed::http::call(&self.router, method, path, headers).await
    }

    /// The headers and the bytes of an answer that may be no text.
    pub async fn bytes(&self, path: &str, headers: &[(&str, &str)]) -> (HeaderMap, Vec<u8>) {
        let request = headers
            .iter()
            .fold(Request::get(path), |request, (name, value)| {
                request.header(*name, *value)
            });
        let answer = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (parts, body) = answer.into_parts();
        (
            parts.headers,
            body.collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[]).await
    }

    pub async fn get_as(&self, user: &str, path: &str) -> Answer {
        self.call("GET", path, &[("X-USER-ID", user)]).await
    }

    /// Asserts that the user is shown this list, whole.
    pub async fn shows(&self, user: &str, path: &str, total_count: i64, items: &[&str]) {
        let answer = self.get_as(user, path).await;
        assert_eq!(
            (answer.status, answer.body),
            (200, list(total_count, items))
        );
    }

    /// Runs one statement without values.
    pub async fn sql(&self, sql: &str) {
        sqlx::query(sql).execute(&self.pool).await.unwrap();
    }

    /// A product whose window is `window`, in the words of PostgreSQL: two intervals from now.
    pub async fn product(&self, product_id: i64, total: i64, taken: i64, window: (&str, &str)) {
        let insert = "insert into product_list
                      values ($1, 'product' || $1, $2, $3, least($3, 3), now() + $4::interval, now() + $5::interval)";
        let insert = sqlx::query(insert)
            .bind(product_id)
            .bind(total)
            .bind(taken)
            .bind(window.0)
            .bind(window.1);
        insert.execute(&self.pool).await.unwrap();
    }

    pub async fn checkpoint(&self, consumer: &str, partition: i32, position: i64) {
        let upsert = "insert into checkpoints (consumer, partition, position) values ($1, $2, $3)
                      on conflict (consumer, partition) do update set position = excluded.position";
        sqlx::query(upsert)
            .bind(consumer)
            .bind(partition)
            .bind(position)
            .execute(&self.pool)
            .await
            .unwrap();
    }
}
