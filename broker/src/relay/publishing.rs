//! Publishes one partition under a lease, in rounds: a round is confirmed as a whole before the next one starts.

use super::RELAY;
use super::progress::{Progress, Wakeup, wait};
use super::trace;
use crate::message::Message;
use crate::published_mark::Marker;
use crate::supervised_connection::{REPLY_TIMEOUT, backoff, within_timeout};
use crate::{Broker, topology};
use connection_pool::outage::{POSTGRESQL, RABBITMQ};
use event_log::consume::Pace;
use event_log::{
    Backoff, Lease, LocalSubscription, Log, LogError, Partition, Position, RawEvent, RepeatedFault,
};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, PublisherConfirm};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most events that one round reads from the log.
const MAX_EVENTS_PER_ROUND: i64 = 2_000;
/// The most messages that are published and not yet confirmed.
const MAX_UNCONFIRMED_MESSAGES: usize = 32;
/// The least time between two rounds under load, so that a busy log is published in few large messages: each goes to every queue. A single
/// event never waits.
const ROUND_LINGER_DELAY: Duration = Duration::from_millis(20);

/// How long publishing may fail before the process reports that it is not ready.
const UNREADY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another relay has the lease, or may have it.
    LeaseLost,
    /// The process shuts down; the checkpoint has passed everything that was confirmed.
    Stopped,
}

/// Why a round failed. It is published again, from the checkpoint.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the broker cannot be published to: {0}")]
    Broker(#[from] lapin::Error),
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the broker returned a message ({0}): no queue is bound to it")]
    Unroutable(ShortString),
    #[error("the broker did not accept a message")]
    Rejected,
    #[error("the broker did not confirm in time; is its disk or its memory full?")]
    ConfirmTimeout,
}

impl PublishError {
    /// It may be noticed here before the connection's own supervisor polls its state.
    fn report_outage(&self) {
        if let Self::Broker(error) = self
            && !error.is_amqp_soft_error()
        {
            RABBITMQ.failed(error);
        }
    }
}

pub(super) struct Publishing<'a> {
    pub(super) log: &'a Log,
    pub(super) broker: &'a Broker,
    pub(super) consumers: &'a [&'static str],
    pub(super) partition: Partition,
    pub(super) lease: &'a Lease,
}

impl Publishing<'_> {
    /// Publishes. After any fault it declares everything again and continues from the checkpoint, for ever.
    pub(super) async fn run(&self, shutdown: &CancellationToken) -> End {
        let Some(mut head) = self.log.subscribe(self.partition) else {
            return End::Stopped;
        };
        let clause = self.log.readiness().clause("relay");
        let fault = RepeatedFault::new(
            "the relay cannot publish",
            format!("partition {}", self.partition),
        );
        let fault = fault.needing(vec![&POSTGRESQL, &RABBITMQ]);
        let (mut backoff, mut fault) = (backoff(), fault.failing(clause, UNREADY_TIMEOUT));
        loop {
            match self
                .publish_rounds(&mut head, &mut backoff, &mut fault, shutdown)
                .await
            {
                Ok(end) => return end,
                Err(error) => {
                    error.report_outage();
                    fault.failed(&error);
                }
            }
            if shutdown.run_until_cancelled(backoff.wait()).await.is_none() {
                return End::Stopped;
            }
        }
    }

    /// Publishes round by round, until the lease is lost, the process shuts down, or a round fails.
    async fn publish_rounds(
        &self,
        head: &mut LocalSubscription,
        backoff: &mut Backoff,
        fault: &mut RepeatedFault,
        shutdown: &CancellationToken,
    ) -> Result<End, PublishError> {
        let Some(channel) = shutdown.run_until_cancelled(self.open_channel()).await else {
            return Ok(End::Stopped);
        };
        let channel = channel?;
        RABBITMQ.answered();
        let marker = Marker::open(&channel, self.broker, self.partition).await?;
        let checkpoint = self.lease.position(RELAY, self.partition).await?;
        if marker.is_missing() {
            self.mark_checkpoint((&channel, &marker), checkpoint)
                .await?;
        }
        let (mut progress, mut pace) = (
            Progress {
                checkpoint,
                confirmed: None,
            },
            Pace::of(ROUND_LINGER_DELAY),
        );
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let events = self
                .log
                .raw_after(self.partition, progress.position(), MAX_EVENTS_PER_ROUND)
                .await?;
            if !events.is_empty() {
                self.publish(&channel, &events).await?;
                progress.confirm(events);
                backoff.reset();
            }
            fault.recovered();
            let not_before = pace.next_step_at(began, progress.position());
            while wait(head, &progress, not_before, shutdown).await == Wakeup::CheckpointDue {
                if !self
                    .save_checkpoint((&channel, &marker), &mut progress)
                    .await?
                {
                    return Ok(End::LeaseLost);
                }
            }
        }
        Ok(
            if self
                .save_checkpoint((&channel, &marker), &mut progress)
                .await?
            {
                End::Stopped
            } else {
                End::LeaseLost
            },
        )
    }

    /// A channel with publisher confirms, after the exchange and the consumers' queues are declared.
    async fn open_channel(&self) -> lapin::Result<Channel> {
        let channel = self.broker.channel_to_publish().await?;
        topology::declare_exchange(&channel, self.broker.log_id()).await?;
        for consumer in self.consumers {
            self.declare_queue(consumer).await?;
        }
        within_timeout(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    /// A queue that cannot be declared must not block the events of other consumers.
    async fn declare_queue(&self, consumer: &str) -> lapin::Result<()> {
        // A refusal closes the channel, so the declaration has one of its own.
        let channel = self.broker.channel_to_publish().await?;
        match topology::declare_queue(&channel, self.broker.log_id(), consumer, self.partition)
            .await
        {
            Err(error) if topology::is_precondition_failed(&error) => {
                let partition = self.partition;
                tracing::warn!(consumer, partition, %error, "a queue exists with other arguments: delete it, and it is declared again");
                Ok(())
            }
            declared => declared.map(drop),
        }
    }

    /// Publishes `events`; `Ok` means that the broker confirmed all of them.
    async fn publish(&self, channel: &Channel, events: &[RawEvent]) -> Result<(), PublishError> {
        let span = trace::send(events);
        let published =
            tokio::time::timeout(REPLY_TIMEOUT, self.publish_messages(channel, events)).await;
        published.unwrap_or(Err(PublishError::ConfirmTimeout))?;
        RABBITMQ.answered();
        if let Some(span) = span {
            trace::sent(span, self.broker.log_id(), self.partition, events.len());
        }
        metrics::counter!("moa_relay_published_events_total").increment(events.len() as u64);
        Ok(())
    }

    async fn publish_messages(
        &self,
        channel: &Channel,
        events: &[RawEvent],
    ) -> Result<(), PublishError> {
        // Forks are read after the events, so none that precedes them is missing.
        let forks = self.log.read_forks().await?;
        let (mut rest, mut window) = (events, Vec::new());
        while let Some(message) = Message::of(self.broker.log_id(), &forks, rest)? {
            rest = &rest[message.events..];
            window.push(self.send(channel, message).await?);
            if window.len() == MAX_UNCONFIRMED_MESSAGES {
                await_confirms(std::mem::take(&mut window)).await?;
            }
        }
        await_confirms(window).await
    }

    async fn send(&self, channel: &Channel, message: Message) -> lapin::Result<PublisherConfirm> {
        let (exchange, key) = (
            topology::exchange(self.broker.log_id()),
            topology::routing_key(self.partition),
        );
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        channel
            .basic_publish(
                exchange.into(),
                key,
                options,
                &message.body,
                message.properties,
            )
            .await
    }

    /// RabbitMQ keeps how far this partition is published.
    async fn mark(
        &self,
        (channel, marker): (&Channel, &Marker),
        last: &RawEvent,
    ) -> Result<(), PublishError> {
        let incarnation = *self.log.incarnation().borrow();
        let marked = marker
            .publish(channel, self.broker, incarnation, last)
            .await?;
        let confirmed =
            tokio::time::timeout(REPLY_TIMEOUT, await_confirms(marked.into_iter().collect())).await;
        confirmed.unwrap_or(Err(PublishError::ConfirmTimeout))
    }

    /// Writes the mark of the stored checkpoint, where RabbitMQ has none: at the first start, or after its queue was deleted.
    async fn mark_checkpoint(
        &self,
        to: (&Channel, &Marker),
        checkpoint: Position,
    ) -> Result<(), PublishError> {
        let found = self
            .log
            .raw_after(self.partition, checkpoint - 1, 1)
            .await?;
        match found.first().filter(|last| last.position == checkpoint) {
            Some(last) => self.mark(to, last).await,
            None => Ok(()),
        }
    }

    /// Moves the checkpoint over what was confirmed; returns whether the lease is still held.
    async fn save_checkpoint(
        &self,
        (channel, marker): (&Channel, &Marker),
        progress: &mut Progress,
    ) -> Result<bool, PublishError> {
        let Some((last, _)) = &progress.confirmed else {
            return Ok(true);
        };
        if !self.lease.advance(RELAY, progress.checkpoint, last).await? {
            return Ok(false);
        }
        self.mark((channel, marker), last).await?;
        *progress = Progress {
            checkpoint: last.position,
            confirmed: None,
        };
        Ok(true)
    }
}

/// Whether the whole window is confirmed. Waits for every confirm before it trusts any: the broker reports a returned message
/// with some confirm of its channel, not always with its own.
async fn await_confirms(window: Vec<PublisherConfirm>) -> Result<(), PublishError> {
    let mut all = Ok(());
    for confirm in window {
        let one = match confirm.await? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) => {
                metrics::counter!("moa_relay_returned_messages_total").increment(1);
                Err(PublishError::Unroutable(message.reply_text))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => Err(PublishError::Rejected),
        };
        all = all.and(one);
    }
    all
}
