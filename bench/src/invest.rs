//! Accepted invests a second of a Moa that runs already, to look at while it is profiled.

use crate::load::{Users, closed_loop, invest};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The load, and where it goes.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct InvestLoad {
    /// The write listener
    #[arg(long, default_value = "127.0.0.1:8081")]
    write: SocketAddr,
    /// The product; must have room
    #[arg(long)]
    product: i64,
    /// A product that is sold out, asked for with every second request
    #[arg(long)]
    refused: Option<i64>,
    /// How many connections ask at once, 1 to 1000
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// For how many seconds, 1 to 300
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// How many users take their turns
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    users: u64,
    /// Send a fresh Idempotency-Key with each
    #[arg(long)]
    keys: bool,
}

pub(crate) async fn run(load: InvestLoad) -> anyhow::Result<()> {
    // Runs in a row serve different users.
    let first = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64;
    let products = [load.product].into_iter().chain(load.refused).collect();
    let requests = invest(
        load.write,
        products,
        Users {
            count: load.users,
            first,
        },
        load.keys,
    );
    let mut answers = closed_loop(
        &requests,
        load.connections,
        Duration::from_secs(load.seconds),
    )
    .await?;
    println!(
        "{} connections  {:.0} accepted/s  {}  ({} accepted; others: {:?})",
        load.connections,
        answers.rate(),
        answers.accepted.ranked(),
        answers.accepted.count(),
        answers.refused
    );
    Ok(())
}
