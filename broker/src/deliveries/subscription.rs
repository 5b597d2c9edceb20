//! The subscription to a queue, in the background and for ever: it declares the queue, consumes from it, and starts over
//! when the connection, the channel or the queue is gone.

use super::{GAP_TIMEOUT, MAX_UNACKNOWLEDGED_MESSAGES};
use crate::supervise::spawn_supervised;
use crate::supervised_connection::{backoff, within_timeout};
use crate::{Broker, topology};
use event_log::{Backoff, Partition};
use futures::StreamExt as _;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The least time between two declarations of a queue that delivers nothing: it may have been unbound, or deleted without
/// notice. No gap is known sooner.
const REDECLARE_INTERVAL: Duration = GAP_TIMEOUT;
/// After so many declarations in a row without a message, the queue is subscribed to again, whatever the server says.
const MAX_SILENT_CHECKS: u32 = 10;

/// A subscription. Dropping it closes the channel, and the server gives unacknowledged messages to the next consumer.
pub(super) struct QueueSubscription {
    pub(super) incoming: mpsc::Receiver<Delivery>,
    /// Whether the queue is consumed from.
    pub(super) is_consuming: watch::Receiver<bool>,
    redeclared_at: Option<Instant>,
    redeclare: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl QueueSubscription {
    pub(super) fn start(broker: Broker, consumer: &'static str, partition: Partition) -> Self {
        // Twice the bound: after a new channel, messages of the old one may still be here.
        let (received, incoming) = mpsc::channel(2 * usize::from(MAX_UNACKNOWLEDGED_MESSAGES));
        let (consuming, is_consuming) = watch::channel(false);
        let redeclare = Arc::new(Notify::new());
        let queue = Queue {
            broker,
            consumer,
            partition,
            received,
            consuming,
            redeclare: redeclare.clone(),
        };
        let task = spawn_supervised("a consumer's queue", move || {
            queue.clone().consume_for_ever()
        });
        Self {
            incoming,
            is_consuming,
            redeclared_at: None,
            redeclare,
            _task: task,
        }
    }

    /// Declares and binds the queue again, because the log has events that it did not deliver; unless that was just done.
    pub(super) fn redeclare_queue(&mut self) {
        if self
            .redeclared_at
            .is_none_or(|before| before.elapsed() >= REDECLARE_INTERVAL)
        {
            self.redeclared_at = Some(Instant::now());
            self.redeclare.notify_one();
        }
    }
}

#[derive(Clone)]
struct Queue {
    broker: Broker,
    consumer: &'static str,
    partition: Partition,
    received: mpsc::Sender<Delivery>,
    consuming: watch::Sender<bool>,
    redeclare: Arc<Notify>,
}

impl Queue {
    async fn consume_for_ever(self) {
        let (mut backoff, mut last_reported) = (backoff(), String::new());
        loop {
            let ended = self.consume(&mut backoff, &mut last_reported).await;
            self.consuming.send_replace(false);
            if let Err(error) = ended {
                self.report(&error, &mut last_reported);
            }
            backoff.wait().await;
        }
    }

    /// Receives messages until the queue, the channel or the connection is gone.
    async fn consume(
        &self,
        backoff: &mut Backoff,
        last_reported: &mut String,
    ) -> lapin::Result<()> {
        let channel = self.broker.channel_to_consume().await?;
        self.declare(&channel).await?;
        within_timeout(channel.basic_qos(MAX_UNACKNOWLEDGED_MESSAGES, BasicQosOptions::default()))
            .await?;
        let queue = topology::queue(self.broker.log_id(), self.consumer, self.partition).into();
        let consuming = channel.basic_consume(
            queue,
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut messages = within_timeout(consuming).await?;
        self.consuming.send_replace(true);
        backoff.reset();
        last_reported.clear();
        let mut silent_checks = 0;
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        silent_checks = 0;
                        // The receiver lives as long as this task.
                        drop(self.received.send(message?).await);
                    }
                    None => return Ok(()),
                },
                () = self.redeclare.notified() => {
                    silent_checks += 1;
                    // The server does not always report that it removed our consumer: when the queue was deleted and
                    // declared again at the same moment, by the relay for one.
                    if self.declare(&channel).await? == 0 || silent_checks == MAX_SILENT_CHECKS {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Returns how many consumers the queue has.
    async fn declare(&self, channel: &Channel) -> lapin::Result<u32> {
        topology::declare_exchange(channel, self.broker.log_id()).await?;
        topology::declare_queue(channel, self.broker.log_id(), self.consumer, self.partition).await
    }

    /// Logs, once, an error that needs an operator. A lost connection is logged by its supervisor.
    fn report(&self, error: &lapin::Error, last_reported: &mut String) {
        let text = error.to_string();
        if text == *last_reported || !error.is_amqp_soft_error() {
            return;
        }
        let (consumer, partition) = (self.consumer, self.partition);
        if topology::is_precondition_failed(error) {
            tracing::error!(
                consumer, partition, %error,
                "the queue or the exchange exists with other arguments: delete it, and it is declared again; until then this \
                 consumer reads the log"
            );
        } else {
            tracing::warn!(consumer, partition, %error, "the queue cannot be consumed from; retrying");
        }
        *last_reported = text;
    }
}
