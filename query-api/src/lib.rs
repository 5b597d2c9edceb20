//! The read side: views of products, holdings and invests, from the read models.
//!
//! Each view has one file with its route's handler, its SQL statement and its answer. No statement here names the table of
//! events. Every answer has a consistency token of exactly the positions that it shows, because its statement reads the
//! checkpoints together with the rows. Products come from the cache (Redis and memory) where it can answer; the answers are
//! the same.
//!
//! The words are in `docs/glossary.md`.

#[macro_use]
mod positions;

pub mod as_of;
mod cache;
mod consistency;
mod cursor;
mod database;
mod holdings;
mod invest;
mod invest_log;
mod investor_summary;
mod page_batcher;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod plans;
mod product;
mod product_list;
mod product_row;
mod product_status;
pub mod reference;
mod restart;
mod shared_answer;
mod single_flight;
mod stream;
mod user_reads;
mod view_rows;

pub use holdings::HoldingItem;
pub use invest::InvestItem;
pub use investor_summary::SummaryItem;
pub use product_row::{PRODUCT_COLUMNS, ProductItem, ProductRow, Terms, TermsItem};
pub use product_status::{ProductState, product_status};
pub use stream::{MAX_STREAMS, MAX_STREAMS_PER_PEER, MAX_STREAMS_PER_USER, StreamLimits};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::routing::get;
use connection_pool::Pool;
use edge::{CallerPolicy, ConnectionPolicy, LogIncarnation, ServiceTime, Times, header};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::Predicate as _;
use tower_http::compression::predicate::{And, NotForContentType, SizeAbove};
use tower_http::set_header::SetResponseHeaderLayer;
use uuid::Uuid;

use cache::Cache;
use consistency::ReadModel;
use holdings::HoldingRow;
use invest::InvestRow;
use page_batcher::PageBatcher;
use product_list::ProductPage;
use shared_answer::Shared;
use single_flight::SingleFlight;
use stream::{InvestStream, ProductStream, Streams};
use user_reads::UserReads;

/// What the views need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A pool of its own, with a short acquire time-out, after which callers get `OVERLOADED`.
    pub pool: Pool,
    /// The Redis with the counters; `None` reads everything from PostgreSQL.
    pub redis: Option<redis::Client>,
    /// The log from which the read models are derived.
    pub log_id: Uuid,
    /// Its incarnation, as far as this process knows.
    pub incarnation: watch::Receiver<i64>,
    /// The number of its partitions, 1 to 64.
    pub partitions: usize,
    /// The time zone of the answers.
    pub time: ServiceTime,
    /// Who may call, and how often.
    pub callers: Arc<CallerPolicy>,
    /// `/livez` and `/readyz`, made by [`edge::health`] of the process.
    pub health: Router,
    /// How many may listen to streams at once.
    pub streams: StreamLimits,
    /// Tells the consumers of this process, if it has any, who reads.
    pub readers: ReaderNotice,
    /// Ends the streams, which would go on for ever.
    pub shutdown: CancellationToken,
}

/// Told which read model is read at a position, with a token or by a stream, so that its consumer is not put off.
#[derive(Clone)]
pub struct ReaderNotice(Arc<dyn Fn(&'static str) + Send + Sync>);

impl ReaderNotice {
    /// `told` is called with the name of a read model, often, and must return at once.
    pub fn new(told: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl Default for ReaderNotice {
    /// Nobody is told: another process keeps the read models.
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for ReaderNotice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReaderNotice")
    }
}

impl Settings {
    fn log(&self) -> WatchedLog {
        WatchedLog {
            log_id: self.log_id,
            incarnation: self.incarnation.clone(),
        }
    }
}

/// The log that tokens are of, whose incarnation may change.
#[derive(Clone, Debug)]
pub(crate) struct WatchedLog {
    log_id: Uuid,
    incarnation: watch::Receiver<i64>,
}

impl WatchedLog {
    fn now(&self) -> LogIncarnation {
        LogIncarnation {
            log_id: self.log_id,
            incarnation: *self.incarnation.borrow(),
        }
    }
}

/// The state of every view.
struct QueryApi {
    /// As PostgreSQL's `generate_series` takes it.
    partitions: i32,
    time: ServiceTime,
    product_list: Arc<ReadModel>,
    holdings: ReadModel,
    holding_pages: Arc<PageBatcher<HoldingRow>>,
    invest_log: Arc<ReadModel>,
    invest_pages: Arc<PageBatcher<InvestRow>>,
    investor_summary: ReadModel,
    cache: Option<Arc<Cache>>,
    product_pages: SingleFlight<ProductPage, Shared>,
    products: SingleFlight<(i64, Times), Shared>,
    product_stream: ProductStream,
    invest_stream: InvestStream,
}

/// A smaller body goes out as it is.
const MIN_COMPRESSED_BYTES: u16 = 1_024;

type Api = State<Arc<QueryApi>>;

/// Every public read, with `/livez` and `/readyz` and with edge's middleware: envelope, correlation, CORS, time limit. Must be
/// called within a runtime: tasks feed the streams and watch Redis.
pub fn router(settings: Settings) -> Router {
    let routes = Router::new()
        .route("/api/product", get(product_list::list))
        .route("/api/product/stream", get(stream::listen_to_products))
        .route("/api/product/{productId}", get(product::one))
        .route("/api/product/my/invest", get(holdings::list))
        .route("/api/product/my/summary", get(investor_summary::one))
        .route("/api/invest/log", get(invest_log::list))
        .route("/api/invest/log/stream", get(stream::listen_to_invests))
        .route("/api/invest/log/{investId}", get(invest::one));
    let api = Arc::new(QueryApi::new(&settings));
    let reference = edge::reference::reference(&reference::LISTENER, &reference::endpoints());
    let zone = HeaderValue::from_static(settings.time.zone_name());
    let zone = SetResponseHeaderLayer::overriding(header::TIME_ZONE, zone);
    let routes = routes
        .with_state(api)
        .layer(zone)
        .merge(settings.health)
        .merge(reference);
    edge::with_middleware(routes.layer(compression()), settings.callers)
}

/// For callers that accept brotli or gzip; a page of products is a fifth of its size. A stream's events must not wait until there is enough to
/// compress.
fn compression() -> CompressionLayer<And<SizeAbove, NotForContentType>> {
    let layer = CompressionLayer::new()
        .br(true)
        .gzip(true)
        .quality(CompressionLevel::Fastest);
    layer.compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES).and(NotForContentType::SSE))
}

/// Serves the reads on `listener` until the settings' `shutdown`; then streams end, and requests in flight may finish, for a bounded time.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    policy: ConnectionPolicy,
) -> io::Result<()> {
    let (streams, shutdown) = (
        settings.streams.within(policy.max_connections()),
        settings.shutdown.clone(),
    );
    edge::serve(
        listener,
        router(Settings {
            streams,
            ..settings
        }),
        policy,
        shutdown,
    )
    .await
}

impl QueryApi {
    fn new(settings: &Settings) -> Self {
        let cache = |client: &redis::Client| {
            Cache::new(
                client.clone(),
                settings.pool.clone(),
                settings.log_id,
                settings.partitions,
            )
        };
        let user_reads = Arc::new(UserReads::within(settings.pool.max_connections()));
        let model = |consumer| ReadModel::new(consumer, settings, user_reads.clone());
        let (product_list, invest_log) = (
            Arc::new(model("product_list")),
            Arc::new(model("invest_log")),
        );
        let streams = Streams::new(
            settings.log(),
            settings.partitions,
            settings.streams,
            settings.shutdown.clone(),
        );
        let partitions = i32::try_from(settings.partitions).unwrap_or(i32::MAX);
        let (pool, reads) = (&settings.pool, &user_reads);
        Self {
            partitions,
            time: settings.time,
            product_stream: ProductStream::start(
                streams.clone(),
                product_list.clone(),
                settings.time,
            ),
            invest_stream: InvestStream::start(streams, invest_log.clone(), settings.time),
            product_list,
            holdings: model("holdings"),
            holding_pages: PageBatcher::new(
                holdings::PAGES,
                pool.clone(),
                partitions,
                reads.clone(),
            ),
            invest_log,
            invest_pages: PageBatcher::new(
                invest_log::PAGES,
                pool.clone(),
                partitions,
                reads.clone(),
            ),
            investor_summary: model("investor_summary"),
            cache: settings.redis.as_ref().map(cache),
            product_pages: SingleFlight::new(),
            products: SingleFlight::new(),
        }
    }
}

/// Counts a read, by view and by source.
fn count_read(view: &'static str, from: &'static str) {
    metrics::counter!("moa_reads_total", "view" => view, "from" => from).increment(1);
}
