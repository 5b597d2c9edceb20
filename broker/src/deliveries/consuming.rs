//! Consuming from a queue, in the background and for ever: declares it, takes what comes, and starts over when the
//! connection, the channel or the queue is gone.

use super::PREFETCH;
use crate::backoff::Backoff;
use crate::kept_up::kept_up;
use crate::link::answered;
use crate::{Broker, topology};
use event_log::Partition;
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

/// How often a queue that brings nothing is declared and bound again at most: somebody may have unbound it, or deleted it
/// unnoticed. As soon as it can be known that something is missing.
const LOOK_AFTER: Duration = super::HEAL;
/// So many looks at the queue in a row, and nothing came: it is consumed from anew, whatever the server says.
const IN_VAIN: u32 = 10;

/// What is consumed. Dropping it closes the channel, and the server gives what is not acknowledged to the next.
pub(super) struct Consuming {
    pub(super) incoming: mpsc::Receiver<Delivery>,
    /// Whether the queue is consumed from.
    pub(super) state: watch::Receiver<bool>,
    looked_after: Option<Instant>,
    look: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Consuming {
    pub(super) fn start(broker: Broker, consumer: &'static str, partition: Partition) -> Self {
        // Twice: after a new channel, what the old one brought may still lie here.
        let (taken, incoming) = mpsc::channel(2 * usize::from(PREFETCH));
        let (consumed, state) = watch::channel(false);
        let look = Arc::new(Notify::new());
        let queue = Queue { broker, consumer, partition, taken, consumed, look: look.clone() };
        let task = kept_up("a consumer's queue", move || queue.clone().keep_consuming());
        Self { incoming, state, looked_after: None, look, _task: task }
    }

    /// The log has what the queue did not bring: declares and binds it again, unless that was just done.
    pub(super) fn look_after_the_queue(&mut self) {
        if self.looked_after.is_none_or(|before| before.elapsed() >= LOOK_AFTER) {
            self.looked_after = Some(Instant::now());
            self.look.notify_one();
        }
    }
}

#[derive(Clone)]
struct Queue {
    broker: Broker,
    consumer: &'static str,
    partition: Partition,
    taken: mpsc::Sender<Delivery>,
    consumed: watch::Sender<bool>,
    look: Arc<Notify>,
}

impl Queue {
    async fn keep_consuming(self) {
        let (mut backoff, mut complaint) = (Backoff::new(), String::new());
        loop {
            let ended = self.consume(&mut backoff, &mut complaint).await;
            self.consumed.send_replace(false);
            if let Err(error) = ended {
                self.complain(&error, &mut complaint);
            }
            backoff.pause().await;
        }
    }

    /// Takes what comes until the queue, the channel or the connection is gone.
    async fn consume(&self, backoff: &mut Backoff, complaint: &mut String) -> lapin::Result<()> {
        let channel = self.broker.channel_to_consume().await?;
        self.declare(&channel).await?;
        answered(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let queue = topology::queue(self.broker.log_id(), self.consumer, self.partition).into();
        let consuming = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut messages = answered(consuming).await?;
        self.consumed.send_replace(true);
        backoff.reset();
        complaint.clear();
        let mut looked = 0;
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        looked = 0;
                        // The receiver lives as long as this task.
                        drop(self.taken.send(message?).await);
                    }
                    None => return Ok(()),
                },
                () = self.look.notified() => {
                    looked += 1;
                    // The server does not always say that it took our consumer away: when the queue was deleted and
                    // declared again, by the relay for one, at the same moment.
                    if self.declare(&channel).await? == 0 || looked == IN_VAIN {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Says how many consume from the queue.
    async fn declare(&self, channel: &Channel) -> lapin::Result<u32> {
        topology::declare_exchange(channel, self.broker.log_id()).await?;
        topology::declare_queue(channel, self.broker.log_id(), self.consumer, self.partition).await
    }

    /// Says what is wrong, once, where it will not mend itself; a lost connection has its own line.
    fn complain(&self, error: &lapin::Error, complaint: &mut String) {
        let said = error.to_string();
        if said == *complaint || !error.is_amqp_soft_error() {
            return;
        }
        let (consumer, partition) = (self.consumer, self.partition);
        if topology::is_precondition_failed(error) {
            tracing::error!(
                consumer, partition, %error,
                "the queue or the exchange is there with other arguments: delete it, it is made anew; until then this \
                 consumer goes on from the log"
            );
        } else {
            tracing::warn!(consumer, partition, %error, "the queue cannot be consumed from; it is tried again");
        }
        *complaint = said;
    }
}
