//! What is written down beside the log, best effort: refusals, and calls to the payment provider.
//!
//! Nothing waits for it. Whoever has something to note puts it in a bounded queue and goes on; a writer of each kind
//! takes what is there, a bounded number of rows a second. What finds no room in the queue, or cannot be written, is
//! dropped and counted: in a metric at once, and in a row of `recorder_drops` as soon as one can be written. What a
//! killed process had in its queues is lost without a count.

mod drops;
mod kept;
mod payment_call;
mod refused;
mod writer;

pub use kept::{KEPT_DAYS, purge_notes};
pub(crate) use payment_call::PaymentCall;
pub(crate) use refused::Refused;

use connection_pool::Pool;
use drops::{Drops, Reason};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use writer::Writing;

/// Notes of one kind that may wait to be written, some 300 bytes each: a rush in its first seconds.
const QUEUE: usize = 32_768;

/// Where what happens is noted. Clones are cheap and share the queues.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub(crate) refusals: Pen<Refused>,
    pub(crate) payment_calls: Pen<PaymentCall>,
}

/// What was noted, for [`record`] to write.
#[derive(Debug)]
pub struct Recording {
    refusals: Writing<Refused>,
    payment_calls: Writing<PaymentCall>,
}

/// Both ends of a recorder.
pub fn recorder() -> (Recorder, Recording) {
    recorder_with_room(QUEUE)
}

/// The same with room for so many notes of each kind, at least one: for tests of what finds none.
#[doc(hidden)]
pub fn recorder_with_room(notes: usize) -> (Recorder, Recording) {
    let (refusals, refusals_written) = queue(notes);
    let (payment_calls, calls_written) = queue(notes);
    let recording = Recording { refusals: refusals_written, payment_calls: calls_written };
    (Recorder { refusals, payment_calls }, recording)
}

/// Writes what is noted into `pool`'s database, until `shutdown` and then, for 2 s at most, what is left. Ends as well when
/// the last [`Recorder`] is gone.
pub async fn record(recording: Recording, pool: Pool, shutdown: CancellationToken) {
    let Recording { refusals, payment_calls } = recording;
    tokio::join!(refusals.write(&pool, &shutdown), payment_calls.write(&pool, &shutdown));
}

fn queue<T: Note>(room: usize) -> (Pen<T>, Writing<T>) {
    let (sender, receiver) = mpsc::channel(room.max(1));
    let drops = Arc::new(Drops::default());
    (Pen { sender, drops: drops.clone() }, Writing::new(receiver, drops))
}

/// Something that is noted: a row of a table beside the log.
pub(crate) trait Note: Sized + Send {
    /// As `recorder_drops` calls it.
    const WHAT: &'static str;
    /// The counter of those that were dropped.
    const DROPPED: &'static str;

    /// Writes them all; those that are there already stay as they are.
    fn write(notes: &[Self], pool: &Pool) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Notes things of one kind.
#[derive(Debug)]
pub(crate) struct Pen<T> {
    sender: mpsc::Sender<T>,
    drops: Arc<Drops>,
}

impl<T: Note> Pen<T> {
    /// Never waits: what finds no room is dropped and counted.
    pub(crate) fn note(&self, note: T) {
        if self.sender.try_send(note).is_err() {
            self.drops.add::<T>(Reason::Full, 1);
        }
    }
}

impl<T> Clone for Pen<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), drops: self.drops.clone() }
    }
}

/// One column of them all.
fn column<'a, N, T>(notes: &'a [N], value: impl Fn(&'a N) -> T) -> Vec<T> {
    notes.iter().map(value).collect()
}
