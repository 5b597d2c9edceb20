//! From the answer "accepted" to SUCCESS in the invest log and to a new amount in the holdings.

use crate::http::Connection;
use crate::load::invest_request;
use crate::summary::Latencies;
use anyhow::bail;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long one invest may take to show.
const SEEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between looks, so that looking does not load the machine.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The pause before the next invest: one after another without it would be load, for which consumers take larger steps.
const IDLE_DURATION: Duration = Duration::from_millis(100);
const USER: &str = "bench-seen";

/// From sending an invest.
pub(crate) struct Seen {
    /// Until it is SUCCESS in the invest log.
    pub(crate) in_log: Latencies,
    /// And until it is counted in the holdings.
    in_both: Latencies,
}

pub(crate) async fn run(
    write: SocketAddr,
    read: SocketAddr,
    product: i64,
    times: u32,
) -> anyhow::Result<()> {
    let mut seen = measure(write, read, product, times).await?;
    println!("{times} invests, from sending the request");
    println!("  SUCCESS in the invest log      {}", seen.in_log.ranked());
    println!("  and counted in the holdings    {}", seen.in_both.ranked());
    Ok(())
}

/// One invest at a time, in a Moa that nobody else uses.
pub(crate) async fn measure(
    write: SocketAddr,
    read: SocketAddr,
    product: i64,
    times: u32,
) -> anyhow::Result<Seen> {
    let (mut write, mut read) = (
        Connection::open(write).await?,
        Connection::open(read).await?,
    );
    let (mut in_log, mut in_both) = (Latencies::default(), Latencies::default());
    let mut before = holding(&mut read, product).await?;
    for _ in 0..times {
        let last = newest(&mut read).await?.0;
        let asked = Instant::now();
        write.ask(&invest_request(product, USER)).await?;
        while !matches!(newest(&mut read).await?, (id, result) if id != last && result == "SUCCESS")
        {
            pause(asked).await?;
        }
        in_log.add(asked.elapsed());
        while holding(&mut read, product).await? == before {
            pause(asked).await?;
        }
        in_both.add(asked.elapsed());
        before += 1;
        tokio::time::sleep(IDLE_DURATION).await;
    }
    Ok(Seen { in_log, in_both })
}

async fn pause(since: Instant) -> anyhow::Result<()> {
    if since.elapsed() > SEEN_TIMEOUT {
        bail!("an accepted invest did not show within {SEEN_TIMEOUT:?}");
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    Ok(())
}

/// The id and the result of the newest row of the log.
async fn newest(read: &mut Connection) -> anyhow::Result<(String, String)> {
    let list = list(read, "/api/invest/log?size=1").await?;
    let text = |field: &str| list[0][field].as_str().unwrap_or_default().to_owned();
    Ok((text("investId"), text("investResult")))
}

async fn holding(read: &mut Connection, product: i64) -> anyhow::Result<i64> {
    let list = list(read, "/api/product/my/invest?size=1000").await?;
    let mine = list
        .as_array()
        .and_then(|list| list.iter().find(|item| item["productId"] == product));
    Ok(mine
        .and_then(|item| item["myInvestingAmount"].as_i64())
        .unwrap_or(0))
}

async fn list(read: &mut Connection, path: &str) -> anyhow::Result<Value> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-USER-ID: {USER}\r\n\r\n");
    let answer: Value = serde_json::from_slice(read.ask(request.as_bytes()).await?.body)?;
    Ok(answer["data"]["list"].clone())
}
