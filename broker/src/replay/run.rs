//! A running replay: sends the selection message by message, and continues after transient faults.

use super::rate_limiter::RateLimiter;
use super::selection::{PositionRange, missing};
use super::{Progress, REPLAY_STALL_TIMEOUT, Replay, ReplayError};
use crate::Broker;
use crate::message::Message;
use crate::supervised_connection::{REPLY_TIMEOUT, backoff, within_timeout};
use event_log::{Backoff, Log, Partition, Position};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, ErrorKind};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The most events that are read from the log at once.
const EVENTS_PER_READ: i64 = 2_000;
/// How long each attempt waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A running replay.
pub(super) struct ReplayRun<'a> {
    replay: &'a Replay,
    log: &'a Log,
    broker: &'a Broker,
    progress_sender: &'a watch::Sender<Progress>,
    shutdown: &'a CancellationToken,
    /// What is not sent yet, in order.
    rest: VecDeque<PositionRange>,
    progress: Progress,
    /// When it last advanced: a message was confirmed, or unselected events were skipped.
    advanced_at: Instant,
    rate_limiter: RateLimiter,
}

impl<'a> ReplayRun<'a> {
    pub(super) fn new(
        replay: &'a Replay,
        log: &'a Log,
        broker: &'a Broker,
        progress_sender: &'a watch::Sender<Progress>,
        shutdown: &'a CancellationToken,
    ) -> Self {
        let (rest, progress, rate_limiter) = (
            VecDeque::new(),
            Progress::default(),
            RateLimiter::new(replay.max_rate),
        );
        Self {
            replay,
            log,
            broker,
            progress_sender,
            shutdown,
            rest,
            progress,
            advanced_at: Instant::now(),
            rate_limiter,
        }
    }

    /// How far it is, and the position from which each partition that is not done continues.
    pub(super) fn progress(&self) -> (Progress, Vec<(Partition, Position)>) {
        let rest = self.rest.iter().filter(|range| range.events() > 0);
        (
            self.progress,
            rest.map(|range| (range.partition, range.after + 1))
                .collect(),
        )
    }

    /// Sends everything, over as many channels as it takes. Until it has started to send, no fault is retried.
    pub(super) async fn run(&mut self) -> Result<(), ReplayError> {
        let mut channel = self.unless_stopped(self.open()).await??;
        self.rest = self.replay.selection.ranges(self.log).await?.into();
        self.progress.total = self.rest.iter().map(PositionRange::events).sum();
        self.progress_sender.send_replace(self.progress);
        self.advanced_at = Instant::now();
        let mut backoff = backoff();
        loop {
            let before = self.progress;
            let Err(error) = self.send_rest(&channel).await else {
                return Ok(());
            };
            if self.progress != before {
                backoff.reset();
            }
            // Messages in flight arrive before those that follow, or not at all. A channel that cannot be closed is gone.
            within_timeout(channel.close(200, "OK".into())).await.ok();
            channel = self.reopen(error, &mut backoff).await?;
        }
    }

    /// Another channel, unless `error` is not transient or the replay has stalled for too long.
    async fn reopen(
        &self,
        mut error: ReplayError,
        backoff: &mut Backoff,
    ) -> Result<Channel, ReplayError> {
        if error.is_transient() {
            tracing::warn!(%error, "the replay is interrupted; it continues from the last confirmed message");
        }
        while error.is_transient() && self.advanced_at.elapsed() < REPLAY_STALL_TIMEOUT {
            self.unless_stopped(backoff.wait()).await?;
            match self.unless_stopped(self.open()).await? {
                Ok(channel) => return Ok(channel),
                Err(another) => error = another,
            }
        }
        Err(error)
    }

    /// Only for waits while nothing is in flight: they may be cut short.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Result<T, ReplayError> {
        self.shutdown
            .run_until_cancelled(waiting)
            .await
            .ok_or(ReplayError::Stopped)
    }

    /// A channel with publisher confirms, after the queue was found.
    async fn open(&self) -> Result<Channel, ReplayError> {
        let reached = timeout(CONNECT_TIMEOUT, self.broker.channel_to_publish()).await;
        let channel = reached.map_err(|_| ReplayError::Unreachable)??;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = channel.queue_declare(
            self.replay.to.as_str().into(),
            passive,
            FieldTable::default(),
        );
        within_timeout(found)
            .await
            .map_err(|error| self.queue_error(error))?;
        within_timeout(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    fn queue_error(&self, error: lapin::Error) -> ReplayError {
        let ErrorKind::ProtocolError(refused) = error.kind() else {
            return error.into();
        };
        match refused.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
                ReplayError::QueueNotFound(self.replay.to.clone())
            }
            AMQPErrorKind::Soft(_) => ReplayError::QueueForbidden(error),
            AMQPErrorKind::Hard(_) => error.into(),
        }
    }

    async fn send_rest(&mut self, channel: &Channel) -> Result<(), ReplayError> {
        while let Some(range) = self.rest.front().copied() {
            if range.events() == 0 {
                self.rest.pop_front();
            } else {
                self.send_page(channel, range).await?;
            }
        }
        Ok(())
    }

    async fn send_page(
        &mut self,
        channel: &Channel,
        range: PositionRange,
    ) -> Result<(), ReplayError> {
        let mut page = self
            .log
            .raw_after(
                range.partition,
                range.after,
                EVENTS_PER_READ.min(range.events()),
            )
            .await?;
        let last = page.last().map(|event| event.position);
        let last = last.ok_or_else(|| missing(range.partition, range.after + 1))?;
        let forks = self.log.read_forks().await?;
        page.retain(|event| self.replay.selection.matches(event));
        let mut rest = page.as_slice();
        while let Some(message) = Message::replayed(
            self.broker.log_id(),
            &forks,
            &rest[..rest.len().min(self.rate_limiter.max_burst())],
        )? {
            let (sent, others) = rest.split_at(message.events);
            self.shutdown
                .run_until_cancelled(self.rate_limiter.wait(sent.len()))
                .await
                .ok_or(ReplayError::Stopped)?;
            self.send_until_accepted(channel, &message).await?;
            self.advance(
                sent.last().map_or(range.after, |event| event.position),
                sent.len(),
            );
            rest = others;
        }
        self.advance(last, 0);
        Ok(())
    }

    /// Sends one message, and retries while the queue is full: a consumer may empty it.
    async fn send_until_accepted(
        &self,
        channel: &Channel,
        message: &Message,
    ) -> Result<(), ReplayError> {
        let mut backoff = backoff();
        loop {
            match self.send(channel, message).await {
                Err(ReplayError::QueueFull)
                    if self.advanced_at.elapsed() < REPLAY_STALL_TIMEOUT =>
                {
                    self.unless_stopped(backoff.wait()).await?
                }
                done => return done,
            }
        }
    }

    /// Sends one message and waits for its confirm. One at a time: with more in flight, a full queue could reject one and
    /// accept the next, and the order would be lost.
    async fn send(&self, channel: &Channel, message: &Message) -> Result<(), ReplayError> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        // The default exchange routes a message to the queue named by its routing key, and nowhere else.
        let queue = self.replay.to.as_str().into();
        let published = channel.basic_publish(
            "".into(),
            queue,
            options,
            &message.body,
            message.properties.clone(),
        );
        let confirmed = timeout(REPLY_TIMEOUT, async { published.await?.await });
        match confirmed.await.map_err(|_| ReplayError::ConfirmTimeout)?? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(ReplayError::QueueNotFound(self.replay.to.clone()))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => Err(ReplayError::QueueFull),
        }
    }

    /// Everything up to `position` of the current partition is done.
    fn advance(&mut self, position: Position, sent: usize) {
        let Some(range) = self.rest.front_mut() else {
            return;
        };
        self.progress.read += position - range.after;
        self.progress.sent += sent as u64;
        range.after = position;
        self.advanced_at = Instant::now();
        self.progress_sender.send_replace(self.progress);
    }
}
