//! What Moa is measured against: the same promise kept in other ways, each as one would write it who knows it well. Each is an
//! axum server behind the same `POST /api/invest`, and runs as a process of its own, so that its CPU time can be told apart.

mod floor;
mod group_commit;
mod recorded;
mod seed_lock;
mod server;
mod sql_update;
mod stock;

use anyhow::Context;
use clap::ValueEnum;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr as _;
use tokio::net::TcpListener;

/// Connections to PostgreSQL of a baseline that uses several.
const POOL_SIZE: u32 = 16;

/// How the line begins in which a baseline says where it listens.
pub(crate) const LISTENING: &str = "listening on ";

/// A way to keep the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Baseline {
    /// Parses and answers, and keeps nothing
    Floor,
    /// One task collects requests; one row an invest, one multi-row insert a batch
    GroupCommit,
    /// A conditional UPDATE of the product and an INSERT of the invest in one transaction
    SqlUpdate,
    /// A lock in Redis on the product, a log row in PostgreSQL, a message to RabbitMQ
    SeedLock,
    /// cqrs-es and postgres-es as they come, tried again on a conflict
    Stock,
    /// Answers every GET with the bytes of a file
    Recorded,
}

/// How a baseline is started: by the bench itself, as a child process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeBaseline {
    /// Which
    name: Baseline,
    /// An empty database of its own; it makes its tables
    #[arg(long)]
    database_url: Option<String>,
    /// The Redis that has the locks and the amounts
    #[arg(long)]
    redis_url: Option<String>,
    /// The RabbitMQ that takes the messages
    #[arg(long)]
    amqp_url: Option<String>,
    /// What its keys in Redis and its queue in RabbitMQ begin with
    #[arg(long, default_value = "bench")]
    prefix: String,
    /// How many products there are, from 1
    #[arg(long, default_value_t = 1)]
    products: i64,
    /// The answer over HTTP that `recorded` gives, head and body
    #[arg(long)]
    answer: Option<PathBuf>,
}

/// Serves on a free port of loopback, prints where, and ends with its standard input: with whoever started it.
pub(crate) async fn serve(settings: ServeBaseline) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let routes = match settings.name {
        Baseline::Floor => server::routes(floor::Floor),
        Baseline::GroupCommit => server::routes(group_commit::GroupCommit::start(&settings).await?),
        Baseline::SqlUpdate => server::routes(sql_update::SqlUpdate::start(&settings).await?),
        Baseline::SeedLock => server::routes(seed_lock::SeedLock::start(&settings).await?),
        Baseline::Stock => server::routes(stock::Stock::start(&settings).await?),
        Baseline::Recorded => recorded::routes(&settings)?,
    };
    println!("{LISTENING}{}", listener.local_addr()?);
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
    server::serve(listener, routes).await
}

impl ServeBaseline {
    async fn pool(&self, connections: u32) -> anyhow::Result<PgPool> {
        let url = self
            .database_url
            .as_deref()
            .context("it needs --database-url")?;
        // As Moa reads a URL of this machine that says nothing of TLS.
        let options = PgConnectOptions::from_str(url)?.ssl_mode(PgSslMode::Disable);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .connect_with(options)
            .await;
        pool.context("cannot reach the database")
    }
}
