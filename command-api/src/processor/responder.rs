//! Responds to the callers, to each once.

use super::{CommandEnvelope, PendingCommand};
use crate::command_outcome::{CommandError, CommandOutcome};
use crate::idempotency::{Replays, is_final};
use crate::recorder::{RecordSink, RefusedInvest};
use chrono::{DateTime, Utc};
use event_log::{IdempotencyRecord, Log};
use std::time::Duration;
use tokio::time::Instant;

/// How long the records of keys are queried.
const KEY_LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

type Outcome = Result<CommandOutcome, CommandError>;

/// Responds for a processor, with what it decided at a time.
pub(super) struct Responder<'a> {
    pub(super) log: &'a Log,
    /// Where refusals are recorded.
    pub(super) refusals: Option<&'a RecordSink<RefusedInvest>>,
    pub(super) decided_at: DateTime<Utc>,
}

impl Responder<'_> {
    /// Responds to each command with the outcome at its index. Where a refusal is not final and its key is in use, the stored outcome
    /// is replayed instead.
    pub(super) async fn respond_all(
        &self,
        commands: &mut Vec<PendingCommand>,
        outcomes: Vec<Outcome>,
    ) {
        let mut decided: Vec<_> = commands.drain(..).zip(outcomes).enumerate().collect();
        let unkept: Vec<_> = decided
            .extract_if(.., |(_, (command, outcome))| {
                is_unkept(&command.envelope, outcome)
            })
            .collect();
        for (index, (command, outcome)) in decided {
            self.respond(command, outcome, Some(index));
        }
        if unkept.is_empty() {
            return;
        }
        let keys: Vec<_> = unkept
            .iter()
            .filter_map(|(_, (command, _))| Some(command.envelope.key.as_ref()?.pair()))
            .collect();
        match tokio::time::timeout(KEY_LOOKUP_TIMEOUT, self.log.idempotency_records(&keys)).await {
            Ok(Ok(records)) => {
                let replays: Replays = records.into_iter().collect();
                for (index, (command, outcome)) in unkept {
                    let outcome = replays
                        .replay(command.envelope.key.as_ref())
                        .unwrap_or(outcome);
                    self.respond(command, outcome, Some(index));
                }
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    "idempotency keys could not be looked up: requests that were not accepted get OVERLOADED"
                );
                unkept
                    .into_iter()
                    .for_each(|(_, (command, _))| reject_undecided(command));
            }
        }
    }

    /// Replays the stored outcomes of the commands whose keys are in use; the rest stays, to be decided again.
    pub(super) fn replay(
        &self,
        commands: &mut Vec<PendingCommand>,
        records: Vec<IdempotencyRecord>,
    ) {
        let replays: Replays = records.into_iter().collect();
        for command in std::mem::take(commands) {
            match replays.replay(command.envelope.key.as_ref()) {
                Some(outcome) => self.respond(command, outcome, None),
                None => commands.push(command),
            }
        }
    }

    /// Responds to the caller, and records a refused invest; `index` is the command's place in its batch.
    fn respond(&self, command: PendingCommand, outcome: Outcome, index: Option<usize>) {
        let PendingCommand {
            envelope, reply, ..
        } = command;
        let outcome = outcome.map(|outcome| without_own_replay(&envelope, outcome));
        let refused = match (self.refusals, &outcome) {
            // A replayed refusal was recorded when it was decided.
            (Some(sink), Ok(outcome)) if !outcome.replayed => {
                RefusedInvest::of(envelope, outcome, self.decided_at, index)
                    .map(|refused| (sink, refused))
            }
            _ => None,
        };
        // Respond first: nobody waits for the recorder.
        reply.send(outcome).ok();
        if let Some((sink, refused)) = refused {
            sink.record(refused);
        }
    }
}

/// After a batch that appended nothing: where a command's own append was lost, its position is still free, and the append may still
/// arrive. So a decision made since is not told.
pub(super) fn mark_indeterminate(commands: &[PendingCommand], outcomes: &mut [Outcome]) {
    let lost = commands
        .iter()
        .zip(outcomes)
        .filter(|(command, _)| command.maybe_committed);
    lost.for_each(|(_, outcome)| *outcome = Err(CommandError::OutcomeUnknown));
}

/// Whether the command has a key and was refused in a way that is not stored with it, or may not be stored any more.
fn is_unkept(envelope: &CommandEnvelope, outcome: &Outcome) -> bool {
    let is_unkept = match outcome {
        Ok(outcome) => !is_final(outcome.decision),
        Err(error) => matches!(error, CommandError::TooManyRefusals(_)),
    };
    envelope.key.is_some() && is_unkept
}

/// Rejects commands that have waited too long. Called before a decision, never after one that may have been written.
pub(super) fn reject_timed_out(commands: &mut Vec<PendingCommand>) {
    let now = Instant::now();
    commands
        .extract_if(.., |command| command.envelope.deadline <= now)
        .for_each(reject_undecided);
}

/// Responds that nothing was decided, unless an earlier append may still arrive.
pub(super) fn reject_undecided(command: PendingCommand) {
    let error = if command.maybe_committed {
        CommandError::OutcomeUnknown
    } else {
        CommandError::Overloaded
    };
    reject(command, error);
}

/// Responds with an error. A caller that has gone can ask the log.
pub(super) fn reject(command: PendingCommand, error: CommandError) {
    command.reply.send(Err(error)).ok();
}

/// A key that this very command has used is no replay: the answer to its commit had been lost.
fn without_own_replay(envelope: &CommandEnvelope, outcome: CommandOutcome) -> CommandOutcome {
    let is_own = outcome.invest_id.is_some() && outcome.invest_id == envelope.invest_id();
    CommandOutcome {
        replayed: outcome.replayed && !is_own,
        ..outcome
    }
}
