//! Sending what is chosen, message by message, and going on after a fault.

use super::pace::Pace;
use super::stretch::{Stretch, missing};
use super::{PATIENCE, Progress, Replay, Why};
use crate::Broker;
use crate::backoff::Backoff;
use crate::link::{ANSWER_TIMEOUT, answered};
use crate::message::Message;
use event_log::{Log, Partition, Position};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, ErrorKind};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Events that are read of the log at a time.
const PAGE: i64 = 2_000;
/// How long a connection is waited for, each time.
const REACH: Duration = Duration::from_secs(10);

/// A replay at work.
pub(super) struct Sending<'a> {
    replay: &'a Replay,
    log: &'a Log,
    broker: &'a Broker,
    told: &'a watch::Sender<Progress>,
    shutdown: &'a CancellationToken,
    /// What is not done, in order.
    rest: VecDeque<Stretch>,
    progress: Progress,
    /// When something was last confirmed or passed.
    moved: Instant,
    pace: Pace,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        replay: &'a Replay,
        log: &'a Log,
        broker: &'a Broker,
        told: &'a watch::Sender<Progress>,
        shutdown: &'a CancellationToken,
    ) -> Self {
        let (rest, progress, pace) = (VecDeque::new(), Progress::default(), Pace::new(replay.max_rate));
        Self { replay, log, broker, told, shutdown, rest, progress, moved: Instant::now(), pace }
    }

    /// How far it is, and where each partition that is not done goes on.
    pub(super) fn far(&self) -> (Progress, Vec<(Partition, Position)>) {
        let rest = self.rest.iter().filter(|stretch| stretch.events() > 0);
        (self.progress, rest.map(|stretch| (stretch.partition, stretch.after + 1)).collect())
    }

    /// Sends all, over as many channels as it takes. Before anything was sent no fault is tried again.
    pub(super) async fn run(&mut self) -> Result<(), Why> {
        let mut channel = self.unless_told_to_stop(self.open()).await??;
        self.rest = self.replay.selection.stretches(self.log).await?.into();
        self.progress.of = self.rest.iter().map(Stretch::events).sum();
        self.told.send_replace(self.progress);
        self.moved = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let before = self.progress;
            let Err(why) = self.send_rest(&channel).await else { return Ok(()) };
            if self.progress != before {
                backoff.reset();
            }
            // What it still has under way comes before what follows, or not at all. If it cannot be closed, it is gone.
            answered(channel.close(200, "OK".into())).await.ok();
            channel = self.open_again(why, &mut backoff).await?;
        }
    }

    /// A channel to go on with, unless `why` does not pass or nothing has moved for too long.
    async fn open_again(&self, mut why: Why, backoff: &mut Backoff) -> Result<Channel, Why> {
        if why.may_pass() {
            tracing::warn!(%why, "the replay is held up; it is tried again from what was last confirmed");
        }
        while why.may_pass() && self.moved.elapsed() < PATIENCE {
            self.unless_told_to_stop(backoff.pause()).await?;
            match self.unless_told_to_stop(self.open()).await? {
                Ok(channel) => return Ok(channel),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Only what waits for nothing that is under way may be cut short.
    async fn unless_told_to_stop<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Why> {
        self.shutdown.run_until_cancelled(waiting).await.ok_or(Why::Stopped)
    }

    /// A channel that confirms, once it is known that the queue is there.
    async fn open(&self) -> Result<Channel, Why> {
        let reached = timeout(REACH, self.broker.channel_to_publish()).await;
        let channel = reached.map_err(|_| Why::Unreachable)??;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(self.replay.to.as_str().into(), passive, FieldTable::default());
        answered(found).await.map_err(|error| self.not_found(error))?;
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    fn not_found(&self, error: lapin::Error) -> Why {
        let ErrorKind::ProtocolError(refused) = error.kind() else { return error.into() };
        match refused.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Why::NoQueue(self.replay.to.clone()),
            AMQPErrorKind::Soft(_) => Why::NotForUs(error),
            AMQPErrorKind::Hard(_) => error.into(),
        }
    }

    async fn send_rest(&mut self, channel: &Channel) -> Result<(), Why> {
        while let Some(stretch) = self.rest.front().copied() {
            if stretch.events() == 0 {
                self.rest.pop_front();
            } else {
                self.send_page(channel, stretch).await?;
            }
        }
        Ok(())
    }

    async fn send_page(&mut self, channel: &Channel, stretch: Stretch) -> Result<(), Why> {
        let mut page = self.log.stored_after(stretch.partition, stretch.after, PAGE.min(stretch.events())).await?;
        let last = page.last().map(|event| event.position);
        let last = last.ok_or_else(|| missing(stretch.partition, stretch.after + 1))?;
        page.retain(|event| self.replay.selection.has(event));
        let mut rest = page.as_slice();
        while let Some(message) = Message::replayed(self.broker.log_id(), &rest[..rest.len().min(self.pace.at_once())])?
        {
            let (sent, others) = rest.split_at(message.events);
            self.shutdown.run_until_cancelled(self.pace.wait(sent.len())).await.ok_or(Why::Stopped)?;
            self.press(channel, &message).await?;
            self.pass(sent.last().map_or(stretch.after, |event| event.position), sent.len());
            rest = others;
        }
        self.pass(last, 0);
        Ok(())
    }

    /// Sends one message until the queue takes it: one that is full may be emptied.
    async fn press(&self, channel: &Channel, message: &Message) -> Result<(), Why> {
        let mut backoff = Backoff::new();
        loop {
            match self.send(channel, message).await {
                Err(Why::Full) if self.moved.elapsed() < PATIENCE => self.unless_told_to_stop(backoff.pause()).await?,
                done => return done,
            }
        }
    }

    /// Sends one message and waits until it is confirmed. One at a time: were there more under way, a full queue could
    /// refuse one and take the next, and order would be lost.
    async fn send(&self, channel: &Channel, message: &Message) -> Result<(), Why> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        // The default exchange: from there a message comes to the queue of its routing key, and nowhere else.
        let queue = self.replay.to.as_str().into();
        let published = channel.basic_publish("".into(), queue, options, &message.body, message.properties.clone());
        let confirmed = timeout(ANSWER_TIMEOUT, async { published.await?.await });
        match confirmed.await.map_err(|_| Why::Unanswered)?? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(Why::NoQueue(self.replay.to.clone())),
            Confirmation::Nack(None) | Confirmation::NotRequested => Err(Why::Full),
        }
    }

    /// Everything up to `position` of the partition in hand is done.
    fn pass(&mut self, position: Position, sent: usize) {
        let Some(stretch) = self.rest.front_mut() else { return };
        self.progress.read += position - stretch.after;
        self.progress.sent += sent as u64;
        stretch.after = position;
        self.moved = Instant::now();
        self.told.send_replace(self.progress);
    }
}
