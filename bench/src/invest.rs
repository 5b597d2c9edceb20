//! Accepted invests a second, on one hot product.

use crate::Load;
use crate::http::Connection;
use crate::summary::Latencies;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

#[derive(Default)]
struct Answer {
    accepted: Latencies,
    refused: u64,
}

/// Which products are asked for, and how.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) product: i64,
    /// Those who ask, one after another.
    pub(crate) users: u64,
    /// Asked for every second time.
    pub(crate) refused: Option<i64>,
    pub(crate) keys: bool,
}

pub(crate) async fn run(load: Load, write: SocketAddr, wanted: Wanted) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(load.seconds);
    let run = wanted.keys.then(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    let mut clients = JoinSet::new();
    // Each run begins with another user, so that runs in a row do not serve the same ones only.
    let tickets =
        Arc::new(AtomicU64::new(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64));
    for _ in 0..load.connections {
        clients.spawn(client(write, wanted, tickets.clone(), run, until));
    }
    let mut told = Answer::default();
    for client in clients.join_all().await {
        let client = client?;
        told.accepted.merge(client.accepted);
        told.refused += client.refused;
    }
    let rate = told.accepted.count() as f64 / load.seconds as f64;
    println!(
        "{} connections  {rate:.0} accepted/s  {}  ({} accepted, {} not)",
        load.connections,
        told.accepted.ranked(),
        told.accepted.count(),
        told.refused
    );
    Ok(())
}

async fn client(
    write: SocketAddr,
    wanted: Wanted,
    tickets: Arc<AtomicU64>,
    run: Option<u128>,
    until: Instant,
) -> anyhow::Result<Answer> {
    let mut connection = Connection::open(write).await?;
    let mut told = Answer::default();
    for number in 0_u64.. {
        let asked = Instant::now();
        if asked >= until {
            break;
        }
        let ticket = tickets.fetch_add(1, Ordering::Relaxed);
        let user = format!("bench{}", user_of(ticket, wanted.users));
        let key = run.map(|run| format!("Idempotency-Key: {run}-{ticket}\r\n")).unwrap_or_default();
        let product = wanted.refused.filter(|_| number % 2 == 1).unwrap_or(wanted.product);
        let body = connection.ask(request(product, user, &key).as_bytes()).await?;
        if body.windows(11).any(|window| window == br#""code":"01""#) {
            told.accepted.add(asked.elapsed());
        } else {
            told.refused += 1;
        }
    }
    Ok(told)
}

/// The user of a ticket: each once before any comes again, neighbours far apart. The factor is prime.
fn user_of(ticket: u64, users: u64) -> u64 {
    ticket % users * 2_147_483_647 % users
}

pub(crate) fn request(product: i64, user: impl std::fmt::Display, headers: &str) -> String {
    let body = format!(r#"{{"investAmount": 1, "productId": {product}}}"#);
    format!(
        "POST /api/invest HTTP/1.1\r\nHost: localhost\r\nX-USER-ID: {user}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
