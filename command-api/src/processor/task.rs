//! The processor's task: take what is queued, decide it, commit it, respond.

mod loads;

use super::admission::{AdmissionControl, EndedBatch, MAX_BATCH_COMMANDS};
use super::aggregate_cache::AggregateCache;
use super::batch::{DecidedBatch, DecisionContext};
use super::faults::{ProcessorFaults, RETRY_INTERVAL};
use super::responder::{Responder, mark_indeterminate, reject, reject_timed_out, reject_undecided};
use super::rush::RushDetector;
use super::{PendingCommand, trace};
use crate::command_outcome::{CommandError, CommandOutcome};
use crate::recorder::{RecordSink, RefusedInvest};
use crate::refusal_budget::RefusalBudget;
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::outage::POSTGRESQL;
use domain::{ProductId, Refusal};
use event_log::{Appended, Batch, Log, LogError, RecordedEvent, VersionedProduct, Writer};
use loads::{Loads, MAX_COMMANDS_AWAITING_LOAD, PendingLoad, resume_panic};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

/// How often commands that wait for a load are checked for their time-out.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
/// How long the outcome of a lost answer is looked for, before the callers get OUTCOME_UNKNOWN.
const OUTCOME_RESOLUTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before a failed append is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(50);

struct PartitionProcessor {
    log: Log,
    writer: Writer,
    reservation: TimeDelta,
    /// Where refusals are recorded.
    refusals: Option<RecordSink<RefusedInvest>>,
    /// How many refusals may be stored with keys, by all processors of the process.
    keyed_refusals: Arc<RefusalBudget>,
    cache: AggregateCache,
    loads: Loads,
    pending_loads: HashMap<ProductId, PendingLoad>,
    commands_awaiting_load: usize,
    /// Products whose load has not begun.
    queued_loads: VecDeque<ProductId>,
    faults: ProcessorFaults,
}

/// Runs a processor until its queue is closed and empty.
pub(super) async fn run(
    log: Log,
    writer: Writer,
    reservation: Duration,
    (refusals, keyed_refusals): (Option<RecordSink<RefusedInvest>>, Arc<RefusalBudget>),
    mut queue: mpsc::Receiver<PendingCommand>,
    (mut admission, rush): (AdmissionControl, Arc<RushDetector>),
) {
    let mut processor =
        PartitionProcessor::new(log, writer, reservation, (refusals, keyed_refusals));
    let mut arrived = Vec::with_capacity(MAX_BATCH_COMMANDS);
    let (mut is_open, mut retry_at) = (true, Instant::now());
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while is_open || !processor.loads.is_empty() {
        if queue.is_empty() {
            admission.queue_is_empty(Instant::now());
        }
        let pending = tokio::select! {
            first = queue.recv(), if is_open => {
                is_open = first.is_some();
                arrived.extend(first);
                // Only now is it known whether there was a pause.
                let batch_commands = admission.batch_commands(Instant::now());
                while arrived.len() < batch_commands && let Ok(next) = queue.try_recv() {
                    arrived.push(next);
                }
                processor.accept(&mut arrived).await
            }
            Some(ended) = processor.loads.join_next(), if !processor.loads.is_empty() => {
                processor.all_loaded(ended.unwrap_or_else(resume_panic)).await
            }
            () = tokio::time::sleep_until(retry_at), if is_open && processor.faults.is_any() => {
                processor.retry().await;
                retry_at = Instant::now() + RETRY_INTERVAL;
                Vec::new()
            }
            _ = expiry.tick(), if !processor.pending_loads.is_empty() => {
                processor.reject_timed_out_awaiting_load();
                Vec::new()
            }
            else => Vec::new(),
        };
        let (commands, began) = (pending.len(), Instant::now());
        if pending
            .iter()
            .any(|command| command.envelope.invest_id().is_some())
            && rush.is_rush()
        {
            processor.log.note_rush();
        }
        let longest_wait = pending
            .iter()
            .map(|command| command.envelope.waited(began))
            .inspect(record_wait)
            .max();
        processor.process(pending).await;
        if let Some(longest_wait) = longest_wait {
            let batch = EndedBatch {
                commands,
                began,
                ended: Instant::now(),
                longest_wait,
                waiting: queue.len(),
            };
            admission.batch_ended(batch);
        }
    }
}

fn record_wait(waited: &Duration) {
    metrics::histogram!("moa_processor_queue_seconds").record(*waited);
}

impl PartitionProcessor {
    fn new(
        log: Log,
        writer: Writer,
        reservation: Duration,
        (refusals, keyed_refusals): (Option<RecordSink<RefusedInvest>>, Arc<RefusalBudget>),
    ) -> Self {
        let faults = ProcessorFaults::new(&log, writer.partition());
        Self {
            log,
            writer,
            reservation: TimeDelta::from_std(reservation).unwrap_or(TimeDelta::MAX),
            refusals,
            keyed_refusals,
            cache: AggregateCache::default(),
            loads: JoinSet::new(),
            pending_loads: HashMap::new(),
            commands_awaiting_load: 0,
            queued_loads: VecDeque::new(),
            faults,
        }
    }

    /// Whether commands can be decided. After an operator has accepted a loss, the memory from before it is dropped first.
    async fn takes_writes(&mut self) -> bool {
        self.writer.stop().is_none() && (!self.writer.is_outdated() || self.reopen().await)
    }

    /// Drops the memory, which may include lost events, and begins at the head that is in the database.
    async fn reopen(&mut self) -> bool {
        (self.cache, self.loads) = (AggregateCache::default(), JoinSet::new());
        self.queued_loads.clear();
        self.pending_loads
            .drain()
            .flat_map(|(_, load)| load.commands)
            .for_each(reject_undecided);
        self.commands_awaiting_load = 0;
        match Writer::open(self.log.clone(), self.writer.partition()).await {
            Ok(writer) => self.writer = writer,
            Err(error) => {
                tracing::warn!(%error, "the head of a partition cannot be read; it is retried")
            }
        }
        !self.writer.is_outdated()
    }

    /// The arrived commands that can be decided now. While the partition takes no writes, all are rejected.
    async fn accept(&mut self, arrived: &mut Vec<PendingCommand>) -> Vec<PendingCommand> {
        if self.takes_writes().await {
            return self.split_by_cache(arrived);
        }
        arrived.drain(..).for_each(reject_undecided);
        Vec::new()
    }

    /// Returns the commands whose product is cached; the others wait while it is loaded.
    fn split_by_cache(&mut self, arrived: &mut Vec<PendingCommand>) -> Vec<PendingCommand> {
        let mut pending = Vec::with_capacity(arrived.len());
        for command in arrived.drain(..) {
            let id = command.envelope.product_id;
            if self.cache.touch(id) {
                pending.push(command);
            } else if self.commands_awaiting_load >= MAX_COMMANDS_AWAITING_LOAD {
                reject(command, CommandError::Overloaded);
            } else {
                self.wait_for_load(id, command);
            }
        }
        self.start_loads();
        pending
    }

    /// Decides and commits until every command has its response.
    async fn process(&mut self, mut pending: Vec<PendingCommand>) {
        trace::waited(&pending, self.writer.partition(), Instant::now());
        while !pending.is_empty() {
            if let Err(error) = self.commit_batch(&mut pending).await {
                self.faults.cannot_append(&error);
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
        // When this fails nothing is lost: the connection is closed, and the lock released with it.
        if let Err(error) = self.writer.release_append_lock().await
            && !POSTGRESQL.explains_failures()
        {
            tracing::warn!(%error, "the append lock could not be released");
        }
    }

    /// While no commands come: tests whether an append would succeed again, and loads the products that could not be loaded.
    async fn retry(&mut self) {
        if !self.takes_writes().await {
            return;
        }
        if self.faults.appends.is_failing() {
            match self.writer.probe().await {
                Ok(()) => self.faults.appends.recovered(),
                Err(error) => self.faults.cannot_append(&error),
            }
        }
        for id in self.faults.unloaded() {
            if let Entry::Vacant(vacant) = self.pending_loads.entry(id) {
                vacant.insert(PendingLoad::default());
                self.queued_loads.push_back(id);
            }
        }
        self.start_loads();
    }

    /// Decides and commits one batch (group commit). Commands that must be decided again stay in `pending`.
    async fn commit_batch(&mut self, pending: &mut Vec<PendingCommand>) -> Result<(), LogError> {
        reject_timed_out(pending);
        if self.writer.stop().is_some() || self.writer.is_outdated() {
            pending.drain(..).for_each(reject_undecided);
        }
        if !pending.is_empty() && self.writer.is_contested() && !self.writer.holds_append_lock() {
            self.acquire_append_lock().await?;
            reject_timed_out(pending);
        }
        if pending.is_empty() {
            return Ok(());
        }
        let context = self.decision_context();
        let decided = DecidedBatch::decide(pending, &self.cache, &context).await;
        match self.append(pending, decided.batch, context.at).await {
            Ok(Appended::Committed(events)) => {
                self.cache.commit(decided.products);
                self.cache.save_snapshots(&self.log, &events);
                let mut outcomes = decided.outcomes;
                if events.is_empty() {
                    mark_indeterminate(pending, &mut outcomes);
                } else {
                    self.faults.appends.recovered();
                }
                self.responder(context.at)
                    .respond_all(pending, outcomes)
                    .await;
            }
            Ok(Appended::Conflict) => metrics::counter!("moa_append_conflicts_total").increment(1),
            Ok(Appended::KeysTaken(records)) => self.responder(context.at).replay(pending, records),
            Err(LogError::OutcomeUnknown { first, source }) => {
                self.faults
                    .appends
                    .failed(&format_args!("the answer to a commit was lost ({source})"));
                match self.resolve_outcome(first).await {
                    Some(true) => {
                        self.responder(context.at)
                            .respond_all(pending, decided.outcomes)
                            .await
                    }
                    // Until the batch is written its first append may still arrive, however late, if it had any event.
                    Some(false) => pending
                        .iter_mut()
                        .for_each(|command| command.maybe_committed |= first.is_some()),
                    None => pending
                        .drain(..)
                        .for_each(|command| reject(command, CommandError::OutcomeUnknown)),
                }
            }
            // The next batch rejects all.
            Err(LogError::WritesStopped(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn append(
        &mut self,
        pending: &[PendingCommand],
        batch: Batch,
        at: DateTime<Utc>,
    ) -> Result<Appended, LogError> {
        metrics::histogram!("moa_processor_batch_size").record(pending.len() as f64);
        let (span, began, events) = (trace::append(pending), Instant::now(), batch.events.len());
        let appended = self.writer.append(batch, at).await;
        metrics::histogram!("moa_processor_append_seconds").record(began.elapsed());
        if let Some(span) = span {
            trace::appended(span, self.writer.partition(), events, appended.is_err());
        }
        appended
    }

    fn responder(&self, decided_at: DateTime<Utc>) -> Responder<'_> {
        Responder {
            log: &self.log,
            refusals: self.refusals.as_ref(),
            decided_at,
        }
    }

    fn decision_context(&self) -> DecisionContext {
        DecisionContext {
            partition: self.writer.partition(),
            head: self.writer.position(),
            at: self.writer.now(),
            reservation: self.reservation,
            keyed_refusals: self.keyed_refusals.clone(),
        }
    }

    /// Acquires the append lock and applies the missed events.
    async fn acquire_append_lock(&mut self) -> Result<(), LogError> {
        while !self.writer.holds_append_lock() {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Applies missed events and, unless there were many, acquires the append lock.
    async fn catch_up(&mut self) -> Result<Vec<RecordedEvent>, LogError> {
        let missed = self.writer.acquire_append_lock().await?;
        for event in &missed {
            self.cache.apply(event);
            if let Some(load) = self.pending_loads.get_mut(&event.product_id) {
                load.events_since_load.push(event.clone());
            }
        }
        Ok(missed)
    }

    /// Whether the batch that began with `first` was committed; `None` when that is not known in time. Under the append lock the lost
    /// transaction has ended, so its first event is there or never will be.
    async fn resolve_outcome(&mut self, first: Option<Uuid>) -> Option<bool> {
        let until = Instant::now() + OUTCOME_RESOLUTION_TIMEOUT;
        let mut seen = Vec::new();
        while !self.writer.holds_append_lock() {
            match tokio::time::timeout_at(until, self.catch_up()).await {
                Ok(Ok(missed)) => seen.extend(missed.iter().map(|event| event.event_id)),
                Ok(Err(_)) if Instant::now() < until => tokio::time::sleep(RETRY_DELAY).await,
                Ok(Err(_)) | Err(_) => {
                    self.writer.discard_connection();
                    return None;
                }
            }
        }
        Some(first.is_some_and(|first| seen.contains(&first)))
    }
}
