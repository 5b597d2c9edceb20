//! Accepted invests a second, on one hot product.

use crate::Load;
use crate::http::Connection;
use crate::summary::Waits;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

#[derive(Default)]
struct Told {
    accepted: Waits,
    refused: u64,
}

/// Which products are asked for, and how.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) product: i64,
    /// Asked for every second time.
    pub(crate) refused: Option<i64>,
    pub(crate) keys: bool,
}

pub(crate) async fn run(load: Load, write: SocketAddr, wanted: Wanted) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(load.seconds);
    let run = wanted.keys.then(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    let mut clients = JoinSet::new();
    for user in 0..load.connections {
        clients.spawn(client(write, wanted, user, run, until));
    }
    let mut told = Told::default();
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
    user: u16,
    run: Option<u128>,
    until: Instant,
) -> anyhow::Result<Told> {
    let mut connection = Connection::open(write).await?;
    let mut told = Told::default();
    for number in 0_u64.. {
        let asked = Instant::now();
        if asked >= until {
            break;
        }
        let key = run.map(|run| format!("Idempotency-Key: {run}-{number}\r\n")).unwrap_or_default();
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

pub(crate) fn request(product: i64, user: u16, headers: &str) -> String {
    let body = format!(r#"{{"investAmount": 1, "productId": {product}}}"#);
    format!(
        "POST /api/invest HTTP/1.1\r\nHost: localhost\r\nX-USER-ID: bench{user}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
