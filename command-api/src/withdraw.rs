//! `POST /api/invest/{investId}/withdraw`: takes an invest back for its user, at once; the money follows.
//!
//! The aggregate does not remember every settled invest, but the log does. So the invest is looked up first, in the log itself, and the
//! command says what was found. If that has changed when the command is decided, the aggregate refuses, and the invest is looked up again.

use crate::command_api::{CommandApi, metadata};
use crate::processor::{CommandEnvelope, CommandOutcome, UntimedCommand};
use axum::extract::State;
use axum::response::Response;
use connection_pool::outage::POSTGRESQL;
use domain::{Amount, GiveBackReason, InvestId, ProductEvent, ProductId, Refusal, UserId};
use edge::{Correlation, InvestIdPath, Problem, Submission, UserIdHeader};
use event_log::{Partition, Position, RecordedEvent};
use std::time::Duration;
use tokio::time::timeout;

/// Look-ups of one request. An invest has at most three events after its reservation, so a third finds what is final.
const MAX_LOOKUPS: usize = 3;
/// For one look-up: an index that is far behind makes it read the log.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn withdraw(
    State(api): State<CommandApi>,
    correlation: Correlation,
    submission: Submission,
    InvestIdPath(invest_id): InvestIdPath,
    UserIdHeader(user_id): UserIdHeader,
) -> Result<Response, Problem> {
    for _ in 0..MAX_LOOKUPS {
        let found = look_up(&api, invest_id)
            .await?
            .filter(|found| found.user_id == user_id);
        let found = found.ok_or(Problem::NotExistInvest)?;
        let settled = match found.state {
            InvestState::Reserved => None,
            InvestState::Settled => Some(found.amount),
            InvestState::Withdrawn => {
                return Ok(api.answer(Ok(found.outcome(Ok(()))), None, |_| "OK"));
            }
            InvestState::Ended => {
                return Ok(api.answer(
                    Ok(found.outcome(Err(Refusal::NotWithdrawable))),
                    None,
                    |_| "OK",
                ));
            }
        };
        let command = UntimedCommand::Withdraw {
            invest_id,
            user_id: user_id.clone(),
            settled,
        };
        submission.begin(invest_id);
        let outcome = api
            .processors()
            .submit(CommandEnvelope::new(
                found.product_id,
                command,
                metadata(&correlation),
            ))
            .await;
        if !matches!(
            &outcome,
            Ok(CommandOutcome {
                decision: Err(Refusal::NotOpen),
                ..
            })
        ) {
            return Ok(api.answer(outcome, Some(invest_id), |_| "OK"));
        }
    }
    Err(Problem::Overloaded)
}

/// An invest as its events tell it.
struct Found {
    product_id: ProductId,
    user_id: UserId,
    amount: Amount,
    state: InvestState,
    /// Of its last event.
    position: (Partition, Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InvestState {
    Reserved,
    Settled,
    Withdrawn,
    /// Failed, or given back with its product.
    Ended,
}

impl Found {
    fn outcome(&self, decision: Result<(), Refusal>) -> CommandOutcome {
        let Self {
            product_id,
            position,
            ..
        } = *self;
        CommandOutcome {
            decision,
            product_id,
            invest_id: None,
            position,
            replayed: false,
        }
    }
}

async fn look_up(api: &CommandApi, invest_id: InvestId) -> Result<Option<Found>, Problem> {
    let looked_up = timeout(
        LOOKUP_TIMEOUT,
        api.processors().log().invest_events(invest_id),
    )
    .await;
    match looked_up {
        Ok(Ok(events)) => Ok(events.iter().rev().find_map(found)),
        Ok(Err(error)) => {
            if !POSTGRESQL.explains_failures() {
                tracing::warn!(%error, "an invest could not be looked up for its withdrawal");
            }
            Err(Problem::Overloaded)
        }
        Err(_) => {
            if !POSTGRESQL.explains_failures() {
                tracing::warn!(
                    "an invest could not be looked up in time for its withdrawal: is the event index far behind?"
                );
            }
            Err(Problem::Overloaded)
        }
    }
}

/// The invest after this event; `None` of an event that is about no invest.
fn found(recorded: &RecordedEvent) -> Option<Found> {
    let (user_id, amount, state) = match &recorded.event {
        ProductEvent::InvestReserved {
            user_id, amount, ..
        } => (user_id, amount, InvestState::Reserved),
        ProductEvent::InvestSettled {
            user_id, amount, ..
        } => (user_id, amount, InvestState::Settled),
        ProductEvent::InvestFailed {
            user_id, amount, ..
        } => (user_id, amount, InvestState::Ended),
        ProductEvent::InvestWithdrawn {
            user_id, amount, ..
        } => (user_id, amount, InvestState::Withdrawn),
        ProductEvent::InvestRefunded {
            user_id,
            amount,
            code,
            ..
        } => {
            let is_withdrawn = GiveBackReason::from_code(code) == Some(GiveBackReason::Withdrawn);
            (
                user_id,
                amount,
                if is_withdrawn {
                    InvestState::Withdrawn
                } else {
                    InvestState::Ended
                },
            )
        }
        ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => return None,
    };
    let position = (recorded.partition, recorded.position);
    Some(Found {
        product_id: recorded.product_id,
        user_id: user_id.clone(),
        amount: *amount,
        state,
        position,
    })
}
