//! Measures a running Moa over HTTP, on loopback, bounded in connections and time. See `bench/README.md`.

mod baseline;
mod history;
mod http;
mod invest;
mod models;
mod rebuild;
mod seen;
mod summary;

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
    /// Invests of 1 won in one product, each connection another user, as fast as answers come
    Invest {
        #[command(flatten)]
        load: Load,
        /// The write listener
        #[arg(long, default_value = "127.0.0.1:8081")]
        write: SocketAddr,
        /// The product; must have room
        #[arg(long)]
        product: i64,
        /// Send a fresh Idempotency-Key with each
        #[arg(long)]
        keys: bool,
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
    /// How fast the log is read in bulk and read models are made anew, beside a bare binary COPY of the same rows
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
        What::Invest { load, write, product, keys } => invest::run(load, write, product, keys).await,
        What::Baseline { load, database_url } => baseline::run(load, &database_url).await,
        What::History { shape, database_url } => history::run(shape, &database_url).await,
        What::Rebuild { times, model, database_url } => rebuild::run(times, model.as_deref(), &database_url).await,
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
