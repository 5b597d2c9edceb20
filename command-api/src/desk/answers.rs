//! Telling those who wait, each once.

use super::batch::repeated;
use super::{NoVerdict, Order, Verdict, Waiting};
use event_log::{Log, StoredAnswer};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long keys are looked up for.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Gives everybody in `ready` the verdict at its place. A refusal that is not kept with its key gives way to what the
/// key stands for already.
pub(super) async fn give(log: &Log, ready: &mut Vec<Waiting>, verdicts: Vec<Result<Verdict, NoVerdict>>) {
    let mut given: Vec<_> = ready.drain(..).zip(verdicts).collect();
    let (mut asking, mut keys) = (Vec::new(), Vec::new());
    for (waiting, verdict) in given.extract_if(.., |(waiting, verdict)| is_unkept(&waiting.order, verdict)) {
        keys.extend(waiting.order.key.as_ref().map(|key| (key.owner.clone(), key.key.clone())));
        asking.push((waiting, verdict));
    }
    given.into_iter().for_each(|(waiting, verdict)| answer(waiting, verdict));
    if asking.is_empty() {
        return;
    }
    match tokio::time::timeout(LOOK_UP, log.stored_answers(&keys)).await {
        Ok(Ok(stored)) => {
            let stored = by_key(&stored);
            for (waiting, verdict) in asking {
                let verdict = what_its_key_says(&waiting.order, &stored).unwrap_or(verdict);
                answer(waiting, verdict);
            }
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("keys could not be looked up: their requests, none of them accepted, are told to try again");
            asking.into_iter().for_each(|(waiting, _)| leave_undecided(waiting));
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

fn leave_undecided(waiting: Waiting) {
    let no = if waiting.in_doubt { NoVerdict::OutcomeUnknown } else { NoVerdict::Overloaded };
    answer(waiting, Err(no));
}

type StoredByKey<'a> = HashMap<(&'a str, &'a str), &'a StoredAnswer>;

fn by_key(stored: &[StoredAnswer]) -> StoredByKey<'_> {
    stored.iter().map(|found| ((&*found.user_id, &*found.key), found)).collect()
}

/// The answer that the order's key stands for, if it stands for any.
fn what_its_key_says(order: &Order, stored: &StoredByKey<'_>) -> Option<Result<Verdict, NoVerdict>> {
    let key = order.key.as_ref()?;
    let found = stored.get(&(&*key.owner, &*key.key))?;
    Some(repeated(key, &found.fingerprint, &found.answer))
}

/// Gives those whose keys were taken their stored answers; the rest is decided again.
pub(super) fn repeat_stored(ready: &mut Vec<Waiting>, stored: &[StoredAnswer]) {
    let stored = by_key(stored);
    for waiting in std::mem::take(ready) {
        match what_its_key_says(&waiting.order, &stored) {
            Some(verdict) => answer(waiting, verdict),
            None => ready.push(waiting),
        }
    }
}

/// Tells the caller. One that has gone is told by the log.
pub(super) fn answer(waiting: Waiting, verdict: Result<Verdict, NoVerdict>) {
    let own = |verdict: &Verdict| verdict.invest_id.is_some() && verdict.invest_id == waiting.order.request.invest_id();
    // A key of ours found taken by ourselves: the answer to its commit had been lost.
    let verdict = verdict.map(|verdict| Verdict { replayed: verdict.replayed && !own(&verdict), ..verdict });
    waiting.reply.send(verdict).ok();
}
