//! Measures a running Moa over HTTP, on loopback, bounded in connections and time. See `bench/README.md`.

mod as_of;
mod baseline;
mod history;
mod http;
mod invest;
mod models;
mod rebuild;
mod seals;
mod search;
mod seen;
mod summary;
mod verify;
mod verify_export;

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "bench", about = "Measures a running Moa on loopback")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

/// A load: how many ask at once, for how long.
#[derive(Clone, Copy, clap::Args)]
struct Load {
    /// How many connections ask at once, 1 to 1000
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// For how many seconds, 1 to 300
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
}

#[derive(Subcommand)]
enum What {
    /// Invests of 1 won in one product, each by another user, as fast as answers come
    Invest {
        #[command(flatten)]
        load: Load,
        /// The write listener
        #[arg(long, default_value = "127.0.0.1:8081")]
        write: SocketAddr,
        /// The product; must have room
        #[arg(long)]
        product: i64,
        /// How many users take their turns; each after the last one invests again
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
        users: u64,
        /// Send a fresh Idempotency-Key with each
        #[arg(long)]
        keys: bool,
        /// A product that is sold out, asked for with every second request
        #[arg(long)]
        refused: Option<i64>,
    },
    /// The usual way, straight on PostgreSQL without HTTP: a conditional UPDATE and an INSERT in a transaction
    Baseline {
        #[command(flatten)]
        load: Load,
        /// A database to make two tables in, and drop them again
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// Fills an empty database with a long, valid history: products, reservations and their fates
    ///
    /// Four partitions. Products are opened first. Every second brings a commit of 1,000 events in each partition, ending
    /// now: 500 reservations, by users and in products of equal chance, of 10,000 to 1,000,000 won in steps of 10,000,
    /// between the fates of the 500 before: 96 % settled, 4 % failed. At the end every reservation has its fate. The same
    /// numbers make the same history, but for its ids and times.
    History {
        #[command(flatten)]
        shape: history::Shape,
        /// An empty database; the schema is made in it
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// How fast the log is read in bulk and read models are rebuilt, beside a bare binary COPY of the same rows
    Rebuild {
        /// How often, 1 to 100; medians count
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        times: u32,
        /// One read model instead of each, and then all together
        #[arg(long)]
        model: Option<String>,
        /// A database with a history
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// How soon the first page of a search is there, for every single filter, in both orders
    Search {
        /// How many of each, 1 to 10000
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        times: u32,
        /// A database with a history, and its `event_index`: `bench rebuild --times 1 --model event_index` makes it
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// How fast the log is verified in its database, beside a bare binary COPY; replaces the seals of the database
    Verify {
        /// How often, 1 to 100; medians count
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        times: u32,
        /// A database with a history
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// What many seals cost: the start of a sealer with and without its resume marker; replaces the seals of the database
    Seals {
        /// How many, of an event each: 1 to 10000000
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
        seals: i64,
        /// A database with a history
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// How fast the log is written to a file, and the file verified; replaces the seals of the database
    VerifyExport {
        /// How often, 1 to 100; medians count
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        times: u32,
        /// A database with a history
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// How long the audit's questions about the past take: read models and a product as they stood, the timeline of an invest
    AsOf {
        /// How often each, 1 to 100; medians count
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        times: u32,
        /// A database with a history
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// How soon an accepted invest shows as SUCCESS in the invest log and in the holdings
    Seen {
        /// The write listener
        #[arg(long, default_value = "127.0.0.1:8081")]
        write: SocketAddr,
        /// The read listener
        #[arg(long, default_value = "127.0.0.1:8080")]
        read: SocketAddr,
        /// The product; must have room
        #[arg(long)]
        product: i64,
        /// How many invests, one after another
        #[arg(long, default_value_t = 100)]
        times: u32,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().what {
        What::Invest { load, write, product, users, keys, refused } => {
            invest::run(load, write, invest::Wanted { product, users, refused, keys }).await
        }
        What::Baseline { load, database_url } => baseline::run(load, &database_url).await,
        What::History { shape, database_url } => history::run(shape, &database_url).await,
        What::Rebuild { times, model, database_url } => rebuild::run(times, model.as_deref(), &database_url).await,
        What::Search { times, database_url } => search::run(times, &database_url).await,
        What::AsOf { times, database_url } => as_of::run(times, &database_url).await,
        What::Verify { times, database_url } => verify::run(times, &database_url).await,
        What::Seals { seals, database_url } => seals::run(seals, &database_url).await,
        What::VerifyExport { times, database_url } => verify_export::run(times, &database_url).await,
        What::Seen { write, read, product, times } => seen::run(write, read, product, times).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
