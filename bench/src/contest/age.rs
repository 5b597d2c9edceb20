//! How old the amount of a product is that readers are shown, while it takes invests.

use crate::http::Connection;
use crate::load::Requests;
use crate::summary::Latencies;
use anyhow::Context;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often what was accepted is written down: the resolution of an age.
const COUNT_INTERVAL: Duration = Duration::from_millis(2);
/// The pause between two reads.
const READ_INTERVAL: Duration = Duration::from_millis(20);

/// How much was accepted by when.
type Accepted = Arc<Mutex<Vec<(Instant, i64)>>>;

/// Reads the product until `end`, and compares each answer with what had been accepted by then. An amount's age is the time from
/// the first answer that accepted more than it shows to the read's answer.
pub(super) async fn watch(
    read: SocketAddr,
    product: i64,
    requests: Requests,
    end: CancellationToken,
) -> anyhow::Result<Latencies> {
    let (mut connection, mut ages) = (Connection::open(read).await?, Latencies::default());
    let before = amount(&mut connection, product).await?;
    let accepted = Accepted::default();
    let ticking = tokio::spawn(
        end.clone()
            .run_until_cancelled_owned(write_down(requests, accepted.clone())),
    );
    while end
        .run_until_cancelled(tokio::time::sleep(READ_INTERVAL))
        .await
        .is_some()
    {
        let shown = amount(&mut connection, product).await? - before;
        ages.add(age(
            &accepted.lock().unwrap_or_else(PoisonError::into_inner),
            shown,
            Instant::now(),
        ));
    }
    ticking.await?;
    Ok(ages)
}

async fn write_down(requests: Requests, accepted: Accepted) {
    let mut tick = tokio::time::interval(COUNT_INTERVAL);
    loop {
        tick.tick().await;
        let now = (Instant::now(), requests.accepted() as i64);
        accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(now);
    }
}

fn age(accepted: &[(Instant, i64)], shown: i64, read: Instant) -> Duration {
    let overtaken = accepted.partition_point(|(_, amount)| *amount <= shown);
    accepted
        .get(overtaken)
        .map_or(Duration::ZERO, |(since, _)| {
            read.saturating_duration_since(*since)
        })
}

async fn amount(connection: &mut Connection, product: i64) -> anyhow::Result<i64> {
    let request = format!("GET /api/product/{product} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer: Value = serde_json::from_slice(connection.ask(request.as_bytes()).await?.body)?;
    answer["data"]["currentInvestingAmount"]
        .as_i64()
        .with_context(|| format!("no amount: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_as_old_as_the_first_answer_that_it_does_not_show() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let accepted = [(at(0), 0), (at(10), 5), (at(20), 9), (at(30), 9)];
        for (shown, expected) in [(0, 90), (4, 90), (5, 80), (8, 80), (9, 0), (12, 0)] {
            assert_eq!(
                age(&accepted, shown, at(100)),
                Duration::from_millis(expected),
                "{shown}"
            );
        }
    }
}
