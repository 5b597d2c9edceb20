//! An open loop: requests are due at a fixed rate, whatever became of those before.

use super::closed::Client;
use super::{Answers, Requests};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// `rate` requests a second for `time`, over at most `connections`. Latency counts from the moment a request was due, also where
/// all connections were busy then: no coordinated omission. A request is sent up to a millisecond after it was due, the
/// resolution of the timer, which counts too.
pub(crate) async fn open_loop(
    requests: &Requests,
    connections: u16,
    rate: f64,
    time: Duration,
) -> anyhow::Result<Answers> {
    anyhow::ensure!(
        rate.is_finite() && rate > 0.0,
        "a rate of {rate} a second is none"
    );
    let due_in_all = (rate * time.as_secs_f64()) as u64;
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Client::open(requests.clone()).await?);
    }
    let (began, mut clients) = (Instant::now(), JoinSet::new());
    for client in open {
        clients.spawn(ask_when_due(
            client,
            requests.clone(),
            began,
            rate,
            due_in_all,
        ));
    }
    let mut all = Answers::default();
    while let Some(answers) = clients.join_next().await {
        all.merge(answers??);
    }
    all.took = began.elapsed();
    Ok(all)
}

async fn ask_when_due(
    mut client: Client,
    requests: Requests,
    began: Instant,
    rate: f64,
    due_in_all: u64,
) -> anyhow::Result<Answers> {
    loop {
        let ticket = requests.ticket();
        if ticket >= due_in_all {
            return Ok(client.answers);
        }
        let due = began + Duration::from_secs_f64(ticket as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        client.ask(ticket, due).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Users, get};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Steps: a server answers its first request after 300 ms and all others at once; one connection, a request due every
    /// 10 ms. Those that were due meanwhile have waited too.
    #[tokio::test]
    async fn requests_that_are_due_behind_a_slow_answer_count_their_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("a client");
            let (mut buffer, mut first) = ([0; 1_024], true);
            while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if std::mem::take(&mut first) {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let body = br#"{"result":true,"code":"01"}"#;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                client
                    .write_all(&[head.as_bytes(), body].concat())
                    .await
                    .expect("a client that reads");
            }
        });
        let requests = get(
            to,
            "/",
            Some(Users {
                count: 10,
                first: 0,
            }),
        );
        let mut answers = open_loop(&requests, 1, 100.0, Duration::from_millis(400))
            .await
            .expect("answers");
        assert_eq!(answers.requests(), 40);
        assert!(
            answers.accepted.at(0.5) > Duration::from_millis(50),
            "{}",
            answers.accepted.ranked()
        );
    }
}
