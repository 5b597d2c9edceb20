//! The views: what has become of products, holdings and invests, read from the read models.
//!
//! One file per view holds its route's handler, its one SQL statement and its answer. The log itself is out of sight: no
//! statement here names the table of events. Every answer carries a consistency token of exactly the state it shows,
//! because the statement that reads the rows reads the checkpoints with them. Products come from the cache, where there is
//! one and it can: the same answers, by another way.
//!
//! Words are in `docs/glossary.md`.

pub mod as_of;
mod cache;
mod consistency;
mod database;
mod holdings;
mod invest;
mod invest_log;
mod investor_summary;
mod product;
mod product_list;
mod product_status;
mod shown;

pub use product_status::{ProductFacts, product_status};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use connection_pool::Pool;
use edge::{AllowedOrigin, ConnectionPolicy, ServiceTime};
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use cache::Cache;
use consistency::ReadModel;

/// What the views need from outside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A pool of their own, with a short acquire time-out: past it callers get `OVERLOADED`.
    pub pool: Pool,
    /// Where counters are shown fast; `None` reads everything from PostgreSQL.
    pub redis: Option<redis::Client>,
    /// Which log the read models come from.
    pub log_id: Uuid,
    /// Into how many partitions that log is cut, 1 to 64.
    pub partitions: usize,
    /// The zone times are shown in.
    pub time: ServiceTime,
    /// Whose pages may call from a browser; none means no CORS headers.
    pub allowed_origins: Vec<AllowedOrigin>,
    /// `/livez` and `/readyz`, made by [`edge::health`]: what ready means is for who runs the process.
    pub health: Router,
}

/// What every view works with.
struct QueryApi {
    /// For `generate_series`, which counts in PostgreSQL's integers.
    partitions: i32,
    time: ServiceTime,
    product_list: ReadModel,
    holdings: ReadModel,
    invest_log: ReadModel,
    investor_summary: ReadModel,
    cache: Option<Arc<Cache>>,
}

type Api = State<Arc<QueryApi>>;

/// Every public read, with `/livez` and `/readyz`, finished: envelope, correlation, CORS, time limit. To be called within
/// a runtime when there is a Redis.
pub fn router(settings: Settings) -> Router {
    let routes = Router::new()
        .route("/api/product", get(product_list::list))
        .route("/api/product/{productId}", get(product::one))
        .route("/api/product/my/invest", get(holdings::list))
        .route("/api/product/my/summary", get(investor_summary::one))
        .route("/api/invest/log", get(invest_log::list))
        .route("/api/invest/log/{investId}", get(invest::one));
    let api = Arc::new(QueryApi::new(&settings));
    edge::with_middleware(routes.with_state(api).merge(settings.health), &settings.allowed_origins)
}

/// Serves the reads on `listener` until `shutdown`, then lets requests in flight finish, bounded.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    policy: ConnectionPolicy,
    shutdown: CancellationToken,
) -> io::Result<()> {
    edge::serve(listener, router(settings), policy, shutdown).await
}

impl QueryApi {
    fn new(settings: &Settings) -> Self {
        let cache = |client: &redis::Client| {
            Cache::new(client.clone(), settings.pool.clone(), settings.log_id, settings.partitions)
        };
        let model = |consumer| ReadModel::new(consumer, settings.pool.clone(), settings.log_id, settings.partitions);
        Self {
            partitions: i32::try_from(settings.partitions).unwrap_or(i32::MAX),
            time: settings.time,
            product_list: model("product_list"),
            holdings: model("holdings"),
            invest_log: model("invest_log"),
            investor_summary: model("investor_summary"),
            cache: settings.redis.as_ref().map(cache),
        }
    }
}

/// Counts a read, by what was shown and where it came from.
fn count_read(view: &'static str, from: &'static str) {
    metrics::counter!("moa_reads_total", "view" => view, "from" => from).increment(1);
}
