//! A closed loop: each connection sends its next request once the last one is answered.

use super::{Answers, Requests};
use crate::http::Connection;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often a connection in a row may break before the load is given up.
const MAX_BREAKS_IN_A_ROW: u32 = 50;
/// The pause before a broken connection is opened again.
const REOPEN_DELAY: Duration = Duration::from_millis(20);

/// As fast as answers come, for `time`; what was sent by then is waited for.
pub(crate) async fn closed_loop(
    requests: &Requests,
    connections: u16,
    time: Duration,
) -> anyhow::Result<Answers> {
    let mut clients = JoinSet::new();
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Client::open(requests.clone()).await?);
    }
    let began = Instant::now();
    for client in open {
        clients.spawn(client.ask_until(began + time));
    }
    let mut all = Answers::default();
    while let Some(answers) = clients.join_next().await {
        all.merge(answers??);
    }
    all.took = began.elapsed();
    Ok(all)
}

/// One connection and what it was answered.
pub(super) struct Client {
    requests: Requests,
    connection: Connection,
    buffer: Vec<u8>,
    breaks: u32,
    pub(super) answers: Answers,
}

impl Client {
    pub(super) async fn open(requests: Requests) -> anyhow::Result<Self> {
        let connection = Connection::open(requests.to).await?;
        Ok(Self {
            requests,
            connection,
            buffer: Vec::new(),
            breaks: 0,
            answers: Answers::default(),
        })
    }

    async fn ask_until(mut self, end: Instant) -> anyhow::Result<Answers> {
        loop {
            let sent = Instant::now();
            if sent >= end {
                return Ok(self.answers);
            }
            let ticket = self.requests.ticket();
            self.ask(ticket, sent).await?;
        }
    }

    /// Sends one request. Its latency counts from `since`.
    pub(super) async fn ask(&mut self, ticket: u64, since: Instant) -> anyhow::Result<()> {
        self.requests.write(ticket, &mut self.buffer);
        match self.connection.ask(&self.buffer).await {
            Ok(answer) => {
                self.breaks = 0;
                if self.answers.count(answer, since.elapsed()) {
                    self.requests.count_accepted();
                }
                Ok(())
            }
            Err(broken) => self.reopen(broken).await,
        }
    }

    async fn reopen(&mut self, broken: anyhow::Error) -> anyhow::Result<()> {
        self.answers.count_broken();
        self.breaks += 1;
        if self.breaks > MAX_BREAKS_IN_A_ROW {
            return Err(broken.context("connections break again and again"));
        }
        tokio::time::sleep(REOPEN_DELAY).await;
        self.connection = Connection::open(self.requests.to).await?;
        Ok(())
    }
}
