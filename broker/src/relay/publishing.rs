//! Publishing one partition under a lease: in rounds, each confirmed as a whole before the next.

use super::RELAY;
use super::progress::{Progress, Waited, wait};
use crate::backoff::Backoff;
use crate::link::{ANSWER_TIMEOUT, answered};
use crate::message::Message;
use crate::{Broker, topology};
use event_log::{Lease, Listener, Log, LogError, Partition, RepeatedFault, StoredEvent};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, PublisherConfirm};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events that one round takes from the log at most.
const ROUND: i64 = 2_000;
/// Messages that are published and not yet confirmed, at most.
const WINDOW: usize = 32;
/// The least time from one round to the next, so that a busy log goes out in few large messages; a lone event never
/// waits.
const PACE: Duration = Duration::from_millis(10);

/// How long nothing may be published until the process is not ready.
const FAILURE_BOUND: Duration = Duration::from_secs(5);

/// Why publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another has the lease, or may have it.
    Lost,
    /// All is to stop; what was confirmed is noted.
    Stopped,
}

/// Why a round does not count. It is published again, from the checkpoint.
#[derive(Debug, thiserror::Error)]
enum NotPublished {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the broker cannot be published to: {0}")]
    Broker(#[from] lapin::Error),
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the broker returned a message ({0}): no queue is bound to it")]
    Returned(ShortString),
    #[error("the broker did not take a message")]
    Refused,
    #[error("the broker did not confirm in time; is its disk or its memory full?")]
    Unanswered,
}

pub(super) struct Publishing<'a> {
    pub(super) log: &'a Log,
    pub(super) broker: &'a Broker,
    pub(super) consumers: &'a [&'static str],
    pub(super) partition: Partition,
    pub(super) lease: &'a Lease,
}

impl Publishing<'_> {
    /// Publishes, and after any fault declares everything again and goes on from the checkpoint, for ever.
    pub(super) async fn run(&self, shutdown: &CancellationToken) -> End {
        let Some(mut head) = self.log.listen(self.partition) else { return End::Stopped };
        let clause = self.log.readiness().clause("relay");
        let fault = RepeatedFault::new("the relay cannot publish", format!("partition {}", self.partition));
        let (mut backoff, mut fault) = (Backoff::new(), fault.failing(clause, FAILURE_BOUND));
        loop {
            match self.publish_on(&mut head, &mut backoff, &mut fault, shutdown).await {
                Ok(end) => return end,
                Err(error) => fault.failed(&error),
            }
            if shutdown.run_until_cancelled(backoff.pause()).await.is_none() {
                return End::Stopped;
            }
        }
    }

    /// Round by round, until the lease is lost, all is to stop, or something does not count.
    async fn publish_on(
        &self,
        head: &mut Listener,
        backoff: &mut Backoff,
        fault: &mut RepeatedFault,
        shutdown: &CancellationToken,
    ) -> Result<End, NotPublished> {
        let Some(channel) = shutdown.run_until_cancelled(self.open()).await else { return Ok(End::Stopped) };
        let channel = channel?;
        let checkpoint = self.lease.position(RELAY, self.partition).await?;
        let mut progress = Progress { checkpoint, confirmed: None };
        while !shutdown.is_cancelled() {
            let paced = Instant::now() + PACE;
            let events = self.log.stored_after(self.partition, progress.at(), ROUND).await?;
            if !events.is_empty() {
                self.publish(&channel, &events).await?;
                progress.confirm(events);
                backoff.reset();
            }
            fault.recovered();
            let is_due = wait(head, &progress, paced, shutdown).await == Waited::Due;
            if is_due && !self.save(&mut progress).await? {
                return Ok(End::Lost);
            }
        }
        Ok(if self.save(&mut progress).await? { End::Stopped } else { End::Lost })
    }

    /// A channel that confirms, with everything declared that is to be there before the first event.
    async fn open(&self) -> lapin::Result<Channel> {
        let channel = self.broker.channel_to_publish().await?;
        topology::declare_exchange(&channel, self.broker.log_id()).await?;
        for consumer in self.consumers {
            self.declare_queue(consumer).await?;
        }
        answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    /// One consumer's queue that cannot be declared must not hold up the others' events.
    async fn declare_queue(&self, consumer: &str) -> lapin::Result<()> {
        // A refusal closes the channel, so it gets one of its own.
        let channel = self.broker.channel_to_publish().await?;
        match topology::declare_queue(&channel, self.broker.log_id(), consumer, self.partition).await {
            Err(error) if topology::is_precondition_failed(&error) => {
                let partition = self.partition;
                tracing::warn!(consumer, partition, %error, "a queue is there with other arguments: delete it, it is made anew");
                Ok(())
            }
            declared => declared.map(drop),
        }
    }

    /// Publishes `events`; they count when this is `Ok`, else none of them does.
    async fn publish(&self, channel: &Channel, events: &[StoredEvent]) -> Result<(), NotPublished> {
        let published = tokio::time::timeout(ANSWER_TIMEOUT, self.publish_in_windows(channel, events)).await;
        published.unwrap_or(Err(NotPublished::Unanswered))?;
        metrics::counter!("moa_relay_published_events_total").increment(events.len() as u64);
        Ok(())
    }

    async fn publish_in_windows(&self, channel: &Channel, events: &[StoredEvent]) -> Result<(), NotPublished> {
        let (mut rest, mut window) = (events, Vec::new());
        while let Some(message) = Message::of(self.broker.log_id(), rest)? {
            rest = &rest[message.events..];
            window.push(self.send(channel, message).await?);
            if window.len() == WINDOW {
                confirmed(std::mem::take(&mut window)).await?;
            }
        }
        confirmed(window).await
    }

    async fn send(&self, channel: &Channel, message: Message) -> lapin::Result<PublisherConfirm> {
        let (exchange, key) = (topology::exchange(self.broker.log_id()), topology::routing_key(self.partition));
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        channel.basic_publish(exchange.into(), key, options, &message.body, message.properties).await
    }

    /// Moves the checkpoint over what was confirmed; says whether the lease is still ours.
    async fn save(&self, progress: &mut Progress) -> Result<bool, NotPublished> {
        let Some((last, _)) = &progress.confirmed else { return Ok(true) };
        if !self.lease.advance(RELAY, progress.checkpoint, last).await? {
            return Ok(false);
        }
        *progress = Progress { checkpoint: last.position, confirmed: None };
        Ok(true)
    }
}

/// Whether all of a window counts. All are waited for before any is believed: a returned message is told with some
/// confirmation of its channel, not always with its own.
async fn confirmed(window: Vec<PublisherConfirm>) -> Result<(), NotPublished> {
    let mut all = Ok(());
    for confirm in window {
        let one = match confirm.await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) => {
                metrics::counter!("moa_relay_returned_messages_total").increment(1);
                Err(NotPublished::Returned(message.reply_text))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => Err(NotPublished::Refused),
        };
        all = all.and(one);
    }
    all
}
