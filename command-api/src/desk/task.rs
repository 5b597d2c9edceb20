//! The desk itself: take what waits, decide it, commit it, answer; and load cold products aside.

use super::answers::{Teller, answer, doubt, drop_expired, give, leave_undecided, repeat_stored};
use super::batch::{Decided, Terms};
use super::shelf::Shelf;
use super::trouble::{RETRY_INTERVAL, Trouble};
use super::{Answer, NoVerdict, Request, Verdict, Waiting};
use crate::recorder::{Pen, Refused};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ProductId, Refusal};
use event_log::{Appended, Log, LogError, RecordedEvent, VersionedProduct, Writer};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

/// Orders decided and committed together at most.
const BATCH: usize = 1_000;
/// Products loaded at once; more wait for their turn.
const LOADS: usize = 8;
/// Orders that may wait for their products to be loaded; one more is refused as overloaded.
const ASIDE: usize = 2_048;
/// How often it is looked for commands whose time is over while their product is still being loaded.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
/// How long the truth about a lost answer is looked for before the callers are told that it is not known.
const FIND_OUT: Duration = Duration::from_secs(2);
/// The pause before the database is tried again.
const PAUSE: Duration = Duration::from_millis(50);

type Loads = JoinSet<(ProductId, Result<VersionedProduct, LogError>)>;

struct Desk {
    log: Log,
    writer: Writer,
    reservation: TimeDelta,
    /// Where refusals are noted.
    refusals: Option<Pen<Refused>>,
    shelf: Shelf,
    loads: Loads,
    aside: HashMap<ProductId, Aside>,
    aside_orders: usize,
    /// Products whose load has not begun.
    queued: VecDeque<ProductId>,
    trouble: Trouble,
}

/// What waits for a cold product.
#[derive(Default)]
struct Aside {
    waiting: Vec<Waiting>,
    /// How many of them were there when the load began: for those that came later it may have read too early.
    asked: usize,
    /// What others appended to it since its load began.
    missed: Vec<RecordedEvent>,
}

/// Runs a desk until its queue is closed and empty.
pub(super) async fn run(
    log: Log,
    writer: Writer,
    reservation: Duration,
    refusals: Option<Pen<Refused>>,
    mut queue: mpsc::Receiver<Waiting>,
) {
    let reservation = TimeDelta::from_std(reservation).unwrap_or(TimeDelta::MAX);
    let trouble = Trouble::of(&log, writer.partition());
    let mut desk = Desk {
        log,
        writer,
        reservation,
        refusals,
        shelf: Shelf::default(),
        loads: JoinSet::new(),
        aside: HashMap::new(),
        aside_orders: 0,
        queued: VecDeque::new(),
        trouble,
    };
    let mut arrived = Vec::with_capacity(BATCH);
    let (mut open, mut try_again_at) = (true, Instant::now());
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while open || !desk.loads.is_empty() {
        let ready = tokio::select! {
            taken = queue.recv_many(&mut arrived, BATCH), if open => {
                open = taken > 0;
                desk.take_up(&mut arrived).await
            }
            Some(ended) = desk.loads.join_next(), if !desk.loads.is_empty() => match ended {
                Ok((id, loaded)) => desk.loaded(id, loaded).await,
                Err(error) => broken_down(error),
            },
            () = tokio::time::sleep_until(try_again_at), if open && desk.trouble.is_there() => {
                desk.try_again().await;
                try_again_at = Instant::now() + RETRY_INTERVAL;
                Vec::new()
            }
            _ = expiry.tick(), if !desk.aside.is_empty() => {
                desk.drop_expired_aside();
                Vec::new()
            }
            else => Vec::new(),
        };
        desk.serve(ready).await;
    }
}

/// A load that panicked takes the processor along: its product would wait for it for ever.
fn broken_down(error: JoinError) -> Vec<Waiting> {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Vec::new(),
    }
}

impl Desk {
    /// Whether commands can be decided here. What was known before an operator agreed to a loss is dropped first.
    async fn may_write(&mut self) -> bool {
        self.writer.stop().is_none() && (!self.writer.is_outdated() || self.begin_again().await)
    }

    /// Drops what is in memory, which may be what was lost, and begins at the head as it is in the database.
    async fn begin_again(&mut self) -> bool {
        (self.shelf, self.loads) = (Shelf::default(), JoinSet::new());
        self.queued.clear();
        self.aside.drain().flat_map(|(_, aside)| aside.waiting).for_each(leave_undecided);
        self.aside_orders = 0;
        match Writer::open(self.log.clone(), self.writer.partition()).await {
            Ok(writer) => self.writer = writer,
            Err(error) => tracing::warn!(%error, "the head of a partition cannot be read; trying on"),
        }
        !self.writer.is_outdated()
    }

    /// What can be decided now of what arrived; nothing, and all are told so, while no writes are taken.
    async fn take_up(&mut self, arrived: &mut Vec<Waiting>) -> Vec<Waiting> {
        if self.may_write().await {
            return self.sort(arrived);
        }
        arrived.drain(..).for_each(leave_undecided);
        Vec::new()
    }

    /// Keeps the orders whose product is at hand; the others wait aside while it is loaded.
    fn sort(&mut self, arrived: &mut Vec<Waiting>) -> Vec<Waiting> {
        let mut ready = Vec::with_capacity(arrived.len());
        for waiting in arrived.drain(..) {
            let id = waiting.order.product_id;
            if self.shelf.holds(id) {
                ready.push(waiting);
            } else if self.aside_orders >= ASIDE {
                answer(waiting, Err(NoVerdict::Overloaded));
            } else {
                self.put_aside(id, waiting);
            }
        }
        self.start_loads();
        ready
    }

    fn put_aside(&mut self, id: ProductId, waiting: Waiting) {
        self.aside_orders += 1;
        let queued = &mut self.queued;
        let aside = self.aside.entry(id).or_insert_with(|| {
            queued.push_back(id);
            Aside::default()
        });
        aside.waiting.push(waiting);
    }

    fn start_loads(&mut self) {
        while self.loads.len() < LOADS
            && let Some(id) = self.queued.pop_front()
        {
            if let Some(aside) = self.aside.get_mut(&id) {
                aside.asked = aside.waiting.len();
            }
            let log = self.log.clone();
            self.loads.spawn(async move { (id, log.load_product(id).await) });
        }
    }

    /// Commands end in their time, however long their product's load takes. The load goes on: a long stream would else never
    /// be loaded.
    fn drop_expired_aside(&mut self) {
        for aside in self.aside.values_mut() {
            let mut later = aside.waiting.split_off(aside.asked.min(aside.waiting.len()));
            drop_expired(&mut aside.waiting);
            aside.asked = aside.waiting.len();
            drop_expired(&mut later);
            aside.waiting.append(&mut later);
        }
        self.aside_orders = self.aside.values().map(|aside| aside.waiting.len()).sum();
    }

    /// A product arrived: the orders that waited for it are ready, or get their answer.
    async fn loaded(&mut self, id: ProductId, loaded: Result<VersionedProduct, LogError>) -> Vec<Waiting> {
        let Aside { waiting, asked, missed } = self.aside.remove(&id).unwrap_or_default();
        self.aside_orders -= waiting.len();
        self.start_loads();
        match loaded {
            Ok(mut loaded) => {
                self.trouble.has_loaded(id);
                missed.iter().for_each(|event| loaded.apply(event));
                self.shelve(id, loaded, waiting, asked).await
            }
            Err(error) => {
                self.trouble.cannot_load(id, &error);
                let no =
                    if matches!(error, LogError::Broken { .. }) { NoVerdict::Broken } else { NoVerdict::Overloaded };
                waiting.into_iter().for_each(|waiting| answer(waiting, Err(no)));
                Vec::new()
            }
        }
    }

    /// Only products that exist, or are about to, take room on the shelf.
    async fn shelve(
        &mut self,
        id: ProductId,
        loaded: VersionedProduct,
        mut waiting: Vec<Waiting>,
        asked: usize,
    ) -> Vec<Waiting> {
        let opens = |waiting: &Waiting| matches!(waiting.order.request, Request::Open { .. });
        if loaded.product.is_opened() || waiting.iter().any(opens) {
            self.shelf.put(id, loaded);
            return waiting;
        }
        let later = waiting.split_off(asked.min(waiting.len()));
        later.into_iter().for_each(|waiting| self.put_aside(id, waiting));
        self.start_loads();
        let position = (self.log.partition_of(id), self.writer.position());
        let refused = |waiting: &Waiting| Verdict {
            answer: Answer::Refused(Refusal::NotExist),
            product_id: id,
            invest_id: waiting.order.invest_id(),
            position,
            replayed: false,
        };
        let verdicts = waiting.iter().map(|waiting| Ok(refused(waiting))).collect();
        give(&self.teller(self.writer.now()), &mut waiting, verdicts).await;
        Vec::new()
    }

    /// Decides and commits until every order has its answer.
    async fn serve(&mut self, mut ready: Vec<Waiting>) {
        while !ready.is_empty() {
            if let Err(error) = self.round(&mut ready).await {
                self.trouble.cannot_append(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
        // Nothing is lost when this fails: the connection is gone then, and the turn with it.
        if let Err(error) = self.writer.release_append_lock().await {
            tracing::warn!(%error, "the turn could not be given back");
        }
    }

    /// While nobody asks: whether an append would be taken again, and whether products can be loaded again.
    async fn try_again(&mut self) {
        if !self.may_write().await {
            return;
        }
        if self.trouble.appends.is_failing() {
            match self.writer.probe().await {
                Ok(()) => self.trouble.appends.recovered(),
                Err(error) => self.trouble.cannot_append(&error),
            }
        }
        for id in self.trouble.unloaded() {
            if let Entry::Vacant(place) = self.aside.entry(id) {
                place.insert(Aside::default());
                self.queued.push_back(id);
            }
        }
        self.start_loads();
    }

    /// One attempt: decides what waits and commits it. Leaves those in `ready` that must be decided again.
    async fn round(&mut self, ready: &mut Vec<Waiting>) -> Result<(), LogError> {
        drop_expired(ready);
        if self.writer.stop().is_some() || self.writer.is_outdated() {
            ready.drain(..).for_each(leave_undecided);
        }
        if !ready.is_empty() && self.writer.is_contested() && !self.writer.holds_append_lock() {
            self.acquire_append_lock().await?;
            drop_expired(ready);
        }
        if ready.is_empty() {
            return Ok(());
        }
        let terms = self.terms();
        let decided = Decided::decide(ready, &self.shelf, &terms).await;
        metrics::histogram!("moa_desk_batch_size").record(ready.len() as f64);
        let began = Instant::now();
        let appended = self.writer.append(decided.batch, terms.at).await;
        metrics::histogram!("moa_desk_append_seconds").record(began.elapsed());
        match appended {
            Ok(Appended::Committed(events)) => {
                self.shelf.take_over(decided.products);
                self.shelf.keep_snapshots(&self.log, &events);
                let mut verdicts = decided.verdicts;
                if events.is_empty() {
                    doubt(ready, &mut verdicts);
                } else {
                    self.trouble.appends.recovered();
                }
                give(&self.teller(terms.at), ready, verdicts).await;
            }
            Ok(Appended::Conflict) => metrics::counter!("moa_desk_lost_total").increment(1),
            Ok(Appended::KeysTaken(stored)) => repeat_stored(&self.teller(terms.at), ready, &stored),
            Err(LogError::OutcomeUnknown { first, source }) => {
                self.trouble.appends.failed(&format_args!("the answer to a commit was lost ({source})"));
                match self.find_out(first).await {
                    Some(true) => give(&self.teller(terms.at), ready, decided.verdicts).await,
                    // Until the batch is written its first try may still arrive, however late, if it had any event.
                    Some(false) => ready.iter_mut().for_each(|waiting| waiting.in_doubt |= first.is_some()),
                    None => ready.drain(..).for_each(|waiting| answer(waiting, Err(NoVerdict::OutcomeUnknown))),
                }
            }
            // The next round refuses all.
            Err(LogError::WritesStopped(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn teller(&self, decided_at: DateTime<Utc>) -> Teller<'_> {
        Teller { log: &self.log, refusals: self.refusals.as_ref(), decided_at }
    }

    fn terms(&self) -> Terms {
        Terms {
            partition: self.writer.partition(),
            head: self.writer.position(),
            at: self.writer.now(),
            reservation: self.reservation,
        }
    }

    /// Takes the turn and takes over what others wrote before it came.
    async fn acquire_append_lock(&mut self) -> Result<(), LogError> {
        while !self.writer.holds_append_lock() {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Takes over what others wrote and, unless that was much, the turn.
    async fn catch_up(&mut self) -> Result<Vec<RecordedEvent>, LogError> {
        let missed = self.writer.acquire_append_lock().await?;
        for event in &missed {
            self.shelf.follow(event);
            if let Some(aside) = self.aside.get_mut(&event.product_id) {
                aside.missed.push(event.clone());
            }
        }
        Ok(missed)
    }

    /// Whether the batch that began with `first` was committed; `None` when it cannot be found out in time.
    async fn find_out(&mut self, first: Option<Uuid>) -> Option<bool> {
        let until = Instant::now() + FIND_OUT;
        let mut seen = Vec::new();
        while !self.writer.holds_append_lock() {
            match tokio::time::timeout_at(until, self.catch_up()).await {
                Ok(Ok(missed)) => seen.extend(missed.iter().map(|event| event.event_id)),
                Ok(Err(_)) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Ok(Err(_)) | Err(_) => {
                    self.writer.discard_connection();
                    return None;
                }
            }
        }
        Some(first.is_some_and(|first| seen.contains(&first)))
    }
}
