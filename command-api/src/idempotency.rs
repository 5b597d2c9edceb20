//! Idempotency: a client's own name for a request. The final outcome of a request is stored with its key, in the transaction that writes
//! its events (table `idempotency_keys`, [`event_log::IdempotencyRecord`]), and replayed to every repeat for 24 hours. The insert
//! that claims a key is the check; here it is told whether a request repeats one of its own batch, or an earlier one, and what it gets.

use crate::command_outcome::{CommandError, CommandOutcome};
use domain::{InvestId, ProductId, Refusal};
use event_log::{IdempotencyRecord, Partition, Position};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A client's own name for a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Whose; owners do not see each other's keys.
    pub owner: String,
    /// The name.
    pub key: String,
    /// What is requested, to tell a repeat from a reuse of the key.
    pub fingerprint: String,
}

/// An outcome as it is stored with its key. The field names and words are data: they never change.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredOutcome {
    answer: StoredDecision,
    product_id: ProductId,
    invest_id: Option<InvestId>,
    partition: Partition,
    position: Position,
}

/// The decisions that are final: they never change, so they are stored.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredDecision {
    Accepted,
    SoldOut { remaining: i64 },
    Finished,
    Closed,
    Cancelled,
    Failed,
}

impl StoredDecision {
    /// `None` for a refusal that time may change, or that is the caller's mistake.
    fn of(decision: Result<(), Refusal>) -> Option<Self> {
        match decision {
            Ok(()) => Some(Self::Accepted),
            Err(Refusal::SoldOut { remaining }) => Some(Self::SoldOut { remaining }),
            Err(Refusal::Finished) => Some(Self::Finished),
            Err(Refusal::Closed) => Some(Self::Closed),
            Err(Refusal::Cancelled) => Some(Self::Cancelled),
            Err(Refusal::Failed) => Some(Self::Failed),
            Err(
                Refusal::NotExist
                | Refusal::AlreadyOpened
                | Refusal::NotStarted
                | Refusal::BelowMinimum { .. }
                | Refusal::NotAMultiple { .. }
                | Refusal::LimitExceeded { .. }
                | Refusal::AlreadyReserved
                | Refusal::NotOpen
                | Refusal::NotExpired
                | Refusal::NotWithdrawable
                | Refusal::NotRefundable
                | Refusal::AlreadyRefunded
                | Refusal::TargetNotMissed
                | Refusal::TargetUndecided,
            ) => None,
        }
    }

    fn decision(self) -> Result<(), Refusal> {
        match self {
            Self::Accepted => Ok(()),
            Self::SoldOut { remaining } => Err(Refusal::SoldOut { remaining }),
            Self::Finished => Err(Refusal::Finished),
            Self::Closed => Err(Refusal::Closed),
            Self::Cancelled => Err(Refusal::Cancelled),
            Self::Failed => Err(Refusal::Failed),
        }
    }
}

/// Whether `decision` is stored with its request's key, and replayed.
pub(crate) fn is_final(decision: Result<(), Refusal>) -> bool {
    StoredDecision::of(decision).is_some()
}

impl IdempotencyKey {
    /// The pair that is unique in the log.
    pub(crate) fn pair(&self) -> (String, String) {
        (self.owner.clone(), self.key.clone())
    }

    /// What is stored for this key; `None` unless the outcome is final.
    pub(crate) fn record(&self, outcome: &CommandOutcome) -> Option<IdempotencyRecord> {
        let (partition, position) = outcome.position;
        let CommandOutcome {
            product_id,
            invest_id,
            ..
        } = *outcome;
        let answer = StoredDecision::of(outcome.decision)?;
        let stored = StoredOutcome {
            answer,
            product_id,
            invest_id,
            partition,
            position,
        };
        Some(IdempotencyRecord {
            user_id: self.owner.clone(),
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
            // Numbers, a uuid and unit-like variants: serialising them cannot fail.
            answer: serde_json::to_string(&stored).unwrap_or_default(),
        })
    }

    /// The outcome of the request that `record` stands for; an error when that was another request than this one.
    fn replay(&self, record: &IdempotencyRecord) -> Result<CommandOutcome, CommandError> {
        if self.fingerprint != record.fingerprint {
            return Err(CommandError::KeyReused);
        }
        let stored: StoredOutcome = serde_json::from_str(&record.answer).map_err(|error| {
            tracing::error!(%error, "a stored outcome cannot be read");
            CommandError::Broken
        })?;
        let StoredOutcome {
            answer,
            product_id,
            invest_id,
            partition,
            position,
        } = stored;
        let position = (partition, position);
        Ok(CommandOutcome {
            decision: answer.decision(),
            product_id,
            invest_id,
            position,
            replayed: true,
        })
    }
}

/// The records of some keys, by key.
#[derive(Default)]
pub(crate) struct Replays(HashMap<(String, String), IdempotencyRecord>);

impl Replays {
    pub(crate) fn insert(&mut self, record: IdempotencyRecord) {
        self.0
            .insert((record.user_id.clone(), record.key.clone()), record);
    }

    /// What a request with this key is answered; `None` when the key is not among them.
    pub(crate) fn replay(
        &self,
        key: Option<&IdempotencyKey>,
    ) -> Option<Result<CommandOutcome, CommandError>> {
        let key = key?;
        self.0.get(&key.pair()).map(|record| key.replay(record))
    }

    pub(crate) fn into_records(self) -> Vec<IdempotencyRecord> {
        self.0.into_values().collect()
    }
}

impl FromIterator<IdempotencyRecord> for Replays {
    fn from_iter<T: IntoIterator<Item = IdempotencyRecord>>(records: T) -> Self {
        let mut replays = Self::default();
        records
            .into_iter()
            .for_each(|record| replays.insert(record));
        replays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use uuid::Uuid;

    /// Databases have such records.
    #[rstest]
    #[case(Ok(()), r#""accepted""#)]
    #[case(Err(Refusal::SoldOut { remaining: 3 }), r#"{"soldOut":{"remaining":3}}"#)]
    #[case(Err(Refusal::Finished), r#""finished""#)]
    #[case(Err(Refusal::Closed), r#""closed""#)]
    #[case(Err(Refusal::Cancelled), r#""cancelled""#)]
    #[case(Err(Refusal::Failed), r#""failed""#)]
    fn a_final_outcome_is_stored_in_words_that_never_change(
        #[case] decision: Result<(), Refusal>,
        #[case] word: &str,
    ) {
        let outcome = CommandOutcome {
            decision,
            product_id: ProductId::try_from(7).unwrap(),
            invest_id: Some(InvestId(Uuid::nil())),
            position: (1, 42),
            replayed: true,
        };
        let key = IdempotencyKey {
            owner: "user1".into(),
            key: "k".into(),
            fingerprint: "invest 7 3".into(),
        };
        let record = key.record(&outcome).unwrap();
        let stored = format!(
            r#"{{"answer":{word},"productId":7,"investId":"00000000-0000-0000-0000-000000000000","partition":1,"position":42}}"#
        );
        assert_eq!(record.answer, stored);
        assert_eq!(key.replay(&record), Ok(outcome));
    }
}
