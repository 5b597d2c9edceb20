//! Measures Moa and baselines side by side, on loopback, bounded in connections and time. See `bench/README.md`.

mod as_of;
mod baselines;
mod contest;
mod history;
mod http;
mod idle;
mod invest;
mod load;
mod log_size;
mod models;
mod overload;
mod plan;
mod reads;
mod rebuild;
mod report;
mod rush;
mod seals;
mod search;
mod seen;
mod side_by_side;
mod spread;
mod streams;
mod summary;
mod sustained;
mod verify;
mod verify_export;
mod writers;

use clap::{Parser, Subcommand};
use plan::Plan;
use side_by_side::{Measurement, measure};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "bench",
    about = "Measures Moa and baselines side by side on loopback"
)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One hot product: everybody, with few connections and many
    Rush(Plan),
    /// The same load over 10,000 products
    Spread(Plan),
    /// What is accepted, settled and in all read models for a minute, and latency and lag at 70 % of that
    Sustained(Plan),
    /// Three views beside a handler that answers the same bytes, quiet and during a rush
    Reads(Plan),
    /// One hot product while thousands follow the stream of products, and while nobody does
    Streams(Plan),
    /// Two processes that accept invests of one product, beside one
    Writers(Plan),
    /// Ten times as many invests as a slow database takes
    Overload(Plan),
    /// What a Moa that nobody uses costs, and how soon a single invest is SUCCESS in it
    Idle(Plan),
    /// One hot product on logs of 10,000, a million and ten million events, and how soon the first invest is accepted after a start
    LogSize(Plan),
    /// How fast the log is read in bulk and read models are rebuilt, beside a bare binary COPY of the same rows
    Rebuild {
        #[command(flatten)]
        plan: Plan,
        /// One read model instead of each, and then all together
        #[arg(long)]
        model: Option<String>,
        /// A database with a history; without it one is made
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: Option<String>,
    },
    /// Everything, in one report
    All(Plan),
    /// A baseline, as the others start it
    #[command(hide = true)]
    ServeBaseline(baselines::ServeBaseline),
    /// A Moa that runs already: invests of 1 won in one product, each by another user, as fast as answers come
    Invest(invest::InvestLoad),
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
    /// How soon the first page of a search is there, for every single filter, in both orders
    Search {
        /// How many of each, 1 to 10000
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        times: u32,
        /// A database with a history, and its `event_index`: `bench rebuild --rounds 1 --model event_index` makes it
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
    let done = tokio::select! {
        done = run(Cli::parse().what) => done,
        // Whatever was started ends with the values that hold it.
        signal = ended() => Err(anyhow::anyhow!("ended by {signal}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn ended() -> &'static str {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "Ctrl-C",
        _ = terminated.recv() => "SIGTERM",
    }
}

async fn run(what: What) -> anyhow::Result<()> {
    match what {
        What::Rush(plan) => measure("rush", &plan, &[Measurement::Rush]).await,
        What::Spread(plan) => measure("spread", &plan, &[Measurement::Spread]).await,
        What::Sustained(plan) => measure("sustained", &plan, &[Measurement::Sustained]).await,
        What::Reads(plan) => measure("reads", &plan, &[Measurement::Reads]).await,
        What::Streams(plan) => measure("streams", &plan, &[Measurement::Streams]).await,
        What::Writers(plan) => measure("writers", &plan, &[Measurement::Writers]).await,
        What::Overload(plan) => measure("overload", &plan, &[Measurement::Overload]).await,
        What::Idle(plan) => measure("idle", &plan, &[Measurement::Idle]).await,
        What::LogSize(plan) => measure("log-size", &plan, &[Measurement::LogSize(u64::MAX)]).await,
        What::Rebuild {
            plan,
            model,
            database_url: Some(url),
        } => rebuild::run(plan.rounds(), model.as_deref(), &url)
            .await
            .map(drop),
        What::Rebuild {
            plan,
            model,
            database_url: None,
        } => measure("rebuild", &plan, &[Measurement::Rebuild(model)]).await,
        What::All(plan) => measure("all", &plan, &Measurement::all()).await,
        What::ServeBaseline(settings) => baselines::serve(settings).await,
        What::Invest(load) => invest::run(load).await,
        What::History {
            shape,
            database_url,
        } => history::run(shape, &database_url).await,
        What::Search {
            times,
            database_url,
        } => search::run(times, &database_url).await,
        What::AsOf {
            times,
            database_url,
        } => as_of::run(times, &database_url).await,
        What::Verify {
            times,
            database_url,
        } => verify::run(times, &database_url).await,
        What::Seals {
            seals,
            database_url,
        } => seals::run(seals, &database_url).await,
        What::VerifyExport {
            times,
            database_url,
        } => verify_export::run(times, &database_url).await,
        What::Seen {
            write,
            read,
            product,
            times,
        } => seen::run(write, read, product, times).await,
    }
}
