//! The time-out of each call to the database.

use crate::outage::POSTGRESQL;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use sqlx::{Error, Result};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// The time-out of the calls on one connection, and what their answers say about it.
#[derive(Debug)]
pub(crate) struct Line {
    /// How long a call waits for an answer.
    timeout: Duration,
    /// Since when the current call waits.
    waiting_since: Option<Instant>,
    /// The connection broke, or a call timed out: it takes no more calls.
    lost: bool,
    /// Something was begun that sqlx cannot end when it is cancelled: a transaction's begin, a COPY.
    pub(crate) unfinished: bool,
}

impl Line {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            waiting_since: None,
            lost: false,
            unfinished: false,
        }
    }

    /// Whether it takes no more calls.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// How much longer a cancelled call may take; `None` when there is none.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.waiting_since
            .map(|since| self.timeout.saturating_sub(since.elapsed()))
    }

    /// The answer to `call`, or an error when it times out.
    pub(crate) async fn hear<T: Send>(&mut self, call: BoxFuture<'_, Result<T>>) -> Result<T> {
        let mut answers = Answers {
            line: self,
            call: stream::once(call).boxed(),
            timer: None,
        };
        answers.next().await.unwrap_or_else(|| Err(no_answer()))
    }

    /// The same within `limit`, if that is shorter: for calls that give the server no work.
    pub(crate) async fn hear_within<T: Send>(
        &mut self,
        limit: Duration,
        call: BoxFuture<'_, Result<T>>,
    ) -> Result<T> {
        let timeout = self.timeout;
        self.timeout = limit.min(timeout);
        let answered = self.hear(call).await;
        self.timeout = timeout;
        answered
    }

    /// The answers to `call`, with the time-out for each item. The time between two polls does not count.
    pub(crate) fn hear_all<'e, T: Send + 'e>(
        &'e mut self,
        call: BoxStream<'e, Result<T>>,
    ) -> BoxStream<'e, Result<T>> {
        Answers {
            line: self,
            call,
            timer: None,
        }
        .boxed()
    }

    fn heard<T>(&mut self, answer: Option<Result<T>>) -> Option<Result<T>> {
        self.waiting_since = None;
        match &answer {
            Some(Err(error)) if is_lost(error) => {
                self.lost = true;
                POSTGRESQL.failed(error);
            }
            Some(_) => POSTGRESQL.answered(),
            None => self.unfinished = false,
        }
        answer
    }
}

/// Whether `error` says that there is no connection any more: it broke, no answer came in time, or the server is going
/// down (57P01 to 57P03).
pub(crate) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => true,
        Error::Database(refused) => refused.code().is_some_and(|code| code.starts_with("57P0")),
        _ => false,
    }
}

pub(crate) fn no_answer() -> Error {
    Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "the database did not answer in time",
    ))
}

struct Answers<'e, T> {
    line: &'e mut Line,
    call: BoxStream<'e, Result<T>>,
    /// Made at the first wait: most answers of a stream are there when they are asked for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Stream for Answers<'_, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.line.lost {
            return Poll::Ready(None);
        }
        if let Poll::Ready(answer) = this.call.poll_next_unpin(cx) {
            return Poll::Ready(this.line.heard(answer));
        }
        let timer = match (&mut this.timer, this.line.waiting_since) {
            (Some(timer), Some(_)) => timer,
            (timer, _) => {
                let now = Instant::now();
                this.line.waiting_since = Some(now);
                let timer = timer.get_or_insert_with(|| Box::pin(sleep(this.line.timeout)));
                timer.as_mut().reset(now + this.line.timeout);
                timer
            }
        };
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let error = no_answer();
        this.line.lost = true;
        POSTGRESQL.failed(&error);
        Poll::Ready(Some(Err(error)))
    }
}
