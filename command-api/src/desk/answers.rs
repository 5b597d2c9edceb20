//! Telling those who wait, each once.

use super::batch::repeated;
use super::{Answer, NoVerdict, Order, Verdict, Waiting};
use crate::recorder::{Pen, Refused};
use chrono::{DateTime, Utc};
use event_log::{IdempotencyRecord, Log};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long keys are looked up for.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Who tells: a desk, of what it decided at a time.
pub(super) struct Teller<'a> {
    pub(super) log: &'a Log,
    /// Where refusals are noted.
    pub(super) refusals: Option<&'a Pen<Refused>>,
    pub(super) decided_at: DateTime<Utc>,
}

/// Gives everybody in `ready` the verdict at its place. A refusal that is not kept with its key gives way to what the
/// key stands for already.
pub(super) async fn give(teller: &Teller<'_>, ready: &mut Vec<Waiting>, verdicts: Vec<Result<Verdict, NoVerdict>>) {
    let mut given: Vec<_> = ready.drain(..).zip(verdicts).enumerate().collect();
    let (mut asking, mut keys) = (Vec::new(), Vec::new());
    for (place, (waiting, verdict)) in
        given.extract_if(.., |(_, (waiting, verdict))| is_unkept(&waiting.order, verdict))
    {
        keys.extend(waiting.order.key.as_ref().map(|key| (key.owner.clone(), key.key.clone())));
        asking.push((place, waiting, verdict));
    }
    given.into_iter().for_each(|(place, (waiting, verdict))| teller.tell(waiting, verdict, Some(place)));
    if asking.is_empty() {
        return;
    }
    match tokio::time::timeout(LOOK_UP, teller.log.idempotency_records(&keys)).await {
        Ok(Ok(stored)) => {
            let stored = by_key(&stored);
            for (place, waiting, verdict) in asking {
                let verdict = what_its_key_says(&waiting.order, &stored).unwrap_or(verdict);
                teller.tell(waiting, verdict, Some(place));
            }
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("keys could not be looked up: their requests, none of them accepted, are told to try again");
            asking.into_iter().for_each(|(_, waiting, _)| leave_undecided(waiting));
        }
    }
}

/// Of a batch that appended nothing: where an order's own append was lost, nothing took the place it was meant for, and
/// it may still arrive there. So what was decided since is not told.
pub(super) fn doubt(ready: &[Waiting], verdicts: &mut [Result<Verdict, NoVerdict>]) {
    let in_doubt = ready.iter().zip(verdicts).filter(|(waiting, _)| waiting.in_doubt);
    in_doubt.for_each(|(_, verdict)| *verdict = Err(NoVerdict::OutcomeUnknown));
}

/// Whether the order has a key and was refused in a way that is not kept with it.
fn is_unkept(order: &Order, verdict: &Result<Verdict, NoVerdict>) -> bool {
    order.key.is_some() && verdict.as_ref().is_ok_and(|verdict| !verdict.answer.is_final())
}

/// Nobody is told "overloaded" after a decision that may have been written: this comes before it.
pub(super) fn drop_expired(ready: &mut Vec<Waiting>) {
    let now = Instant::now();
    ready.extract_if(.., |waiting| waiting.order.deadline <= now).for_each(leave_undecided);
}

/// Tells that nothing was decided, unless an earlier try may still arrive.
pub(super) fn leave_undecided(waiting: Waiting) {
    let no = if waiting.in_doubt { NoVerdict::OutcomeUnknown } else { NoVerdict::Overloaded };
    answer(waiting, Err(no));
}

type StoredByKey<'a> = HashMap<(&'a str, &'a str), &'a IdempotencyRecord>;

fn by_key(stored: &[IdempotencyRecord]) -> StoredByKey<'_> {
    stored.iter().map(|found| ((&*found.user_id, &*found.key), found)).collect()
}

/// The answer that the order's key stands for, if it stands for any.
fn what_its_key_says(order: &Order, stored: &StoredByKey<'_>) -> Option<Result<Verdict, NoVerdict>> {
    let key = order.key.as_ref()?;
    let found = stored.get(&(&*key.owner, &*key.key))?;
    Some(repeated(key, &found.fingerprint, &found.answer))
}

/// Gives those whose keys were taken their stored answers; the rest is decided again.
pub(super) fn repeat_stored(teller: &Teller<'_>, ready: &mut Vec<Waiting>, stored: &[IdempotencyRecord]) {
    let stored = by_key(stored);
    for waiting in std::mem::take(ready) {
        match what_its_key_says(&waiting.order, &stored) {
            Some(verdict) => teller.tell(waiting, verdict, None),
            None => ready.push(waiting),
        }
    }
}

impl Teller<'_> {
    /// Tells the caller, and notes what was refused; `place` is the order's among those that were decided together.
    fn tell(&self, waiting: Waiting, verdict: Result<Verdict, NoVerdict>, place: Option<usize>) {
        let Waiting { order, reply, .. } = waiting;
        let verdict = verdict.map(|verdict| own(&order, verdict));
        let Some(pen) = self.refusals.filter(|_| verdict.as_ref().is_ok_and(is_fresh_refusal)) else {
            reply.send(verdict).ok();
            return;
        };
        let refused = verdict.as_ref().ok().and_then(|verdict| Refused::of(order, verdict, self.decided_at, place));
        // The answer first: nobody waits for what is noted.
        reply.send(verdict).ok();
        refused.into_iter().for_each(|refused| pen.note(refused));
    }
}

/// Whether this refused something just now. A repeated answer was noted when it was given first.
fn is_fresh_refusal(verdict: &Verdict) -> bool {
    !verdict.replayed && verdict.answer != Answer::Accepted
}

/// A key of ours found taken by ourselves is no repeat: the answer to its commit had been lost.
fn own(order: &Order, verdict: Verdict) -> Verdict {
    let own = verdict.invest_id.is_some() && verdict.invest_id == order.request.invest_id();
    Verdict { replayed: verdict.replayed && !own, ..verdict }
}

/// Tells the caller. One that has gone is told by the log.
pub(super) fn answer(waiting: Waiting, verdict: Result<Verdict, NoVerdict>) {
    let verdict = verdict.map(|verdict| own(&waiting.order, verdict));
    waiting.reply.send(verdict).ok();
}
