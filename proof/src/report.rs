//! What a verification found.

use crate::act_seal_chain::ValidActSeals;
use crate::hex::hex;
use crate::position_range::PositionRange;
use crate::seal::{Loss, Statement};
use crate::seal_chain::{BadSeal, ValidSeals};
use crate::time;
use log_format::{Partition, Position};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether the log is what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Nothing is wrong with what was checked.
    Whole,
    /// Something is.
    Broken,
    /// Nothing is that could be checked, but it was sealed with a key that was not given, or the seals are of another log.
    Unverifiable,
}

/// What is wrong with a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = PositionProblem)]
pub enum Problem {
    /// It is not there, and a later one is.
    Missing,
    /// Its hash does not follow from its columns and the hash before it, or another row stands in its place.
    Changed,
    /// The chain is whole, but it is not the one that was sealed.
    Rewritten,
    /// The partition ends before it, and it was sealed.
    CutOff,
    /// It was recorded before the position before it.
    Time,
    /// It is not its product's next event.
    Sequence,
    /// Its product does not live in this partition.
    Partition,
    /// It cannot be read as a row.
    Unreadable,
}

impl fmt::Display for Problem {
    /// As `docs/proof-format.md` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "MISSING",
            Self::Changed => "CHANGED",
            Self::Rewritten => "REWRITTEN",
            Self::CutOff => "CUT_OFF",
            Self::Time => "TIME",
            Self::Sequence => "SEQUENCE",
            Self::Partition => "PARTITION",
            Self::Unreadable => "UNREADABLE",
        })
    }
}

/// The first position of a partition that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadPosition {
    /// Which.
    #[schema(value_type = i64)]
    pub position: Position,
    /// What is wrong with it.
    pub problem: Problem,
    /// The same in words.
    pub detail: String,
    /// The number of the seal that covers it, if one does.
    pub seal: Option<i64>,
}

/// What was found in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionReport {
    /// Which.
    #[schema(value_type = i32)]
    pub partition: Partition,
    /// How many rows it has.
    pub events: i64,
    /// Its last position.
    #[schema(value_type = i64)]
    pub head: Position,
    /// How far it is sealed.
    #[schema(value_type = i64)]
    pub sealed_upto: Position,
    /// What is not sealed yet: whoever rehashes it is not found.
    pub unsealed: Option<PositionRange>,
    /// The first position that is wrong; after it, rows were only counted.
    pub bad: Option<BadPosition>,
}

/// Events that were sealed and then lost, with the database's last commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostRange {
    /// The number of the seal that says so.
    pub seal: i64,
    /// When it was made.
    pub at: String,
    /// The partition.
    #[schema(value_type = i32)]
    pub partition: Partition,
    /// The first lost position.
    #[schema(value_type = i64)]
    pub first: Position,
    /// The last one that was sealed.
    #[schema(value_type = i64)]
    pub last: Position,
    /// The chain's hash there.
    pub head: String,
}

impl LostRange {
    fn of(statement: &Statement, loss: &Loss) -> Self {
        let (seal, at, partition) = (
            statement.seal,
            time::format(statement.at),
            statement.partition,
        );
        Self {
            seal,
            at,
            partition,
            first: loss.first,
            last: loss.last,
            head: hex(&loss.head),
        }
    }
}

/// The first row of the record of acts that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadAct {
    /// The number that it should have.
    pub act: i64,
    /// What is wrong with it.
    pub problem: Problem,
    /// The same in words.
    pub detail: String,
}

/// What was found in the record of operators' acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActsReport {
    /// How many rows it has: acts and their outcomes.
    pub acts: i64,
    /// How many seals of acts it was compared with.
    pub seals: i64,
    /// The last row that is sealed.
    pub sealed_upto: i64,
    /// What is not sealed yet: whoever rehashes it is not found.
    pub unsealed: Option<PositionRange>,
    /// What was sealed and lost with the database's last commits, as an operator accepted.
    pub lost: Vec<PositionRange>,
    /// The first row that is wrong; after it, rows were only counted.
    pub bad: Option<BadAct>,
    /// The first seal of acts that is not valid. Seals from it on were not used.
    pub bad_seal: Option<BadSeal>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which log.
    pub log: Uuid,
    /// Whether it is whole.
    pub verdict: Verdict,
    /// How many rows were read.
    pub events: i64,
    /// How many seals it was compared with. Without any only the chain was checked, which anybody who may write to the
    /// database can compute again.
    pub seals: i64,
    /// Each partition.
    pub partitions: Vec<PartitionReport>,
    /// Events that were sealed and then lost, as an operator accepted; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LostRange>,
    /// The first seal that is not valid.
    pub bad_seal: Option<BadSeal>,
    /// The record of acts, where it was checked too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts: Option<ActsReport>,
}

impl Report {
    /// The report of all of a log's partitions, compared with `sealed`.
    pub fn of(sealed: &ValidSeals, mut partitions: Vec<PartitionReport>) -> Self {
        partitions.sort_by_key(|found| found.partition);
        let is_bad = partitions.iter().any(|found| found.bad.is_some());
        Self {
            log: sealed.identity().log_id,
            verdict: match sealed.bad() {
                None if !is_bad => Verdict::Whole,
                Some(_) if !is_bad && sealed.is_of_unknown_origin() => Verdict::Unverifiable,
                _ => Verdict::Broken,
            },
            events: partitions.iter().map(|found| found.events).sum(),
            seals: i64::try_from(sealed.seals().len()).unwrap_or(i64::MAX),
            partitions,
            losses: sealed
                .losses()
                .map(|(statement, loss)| LostRange::of(statement, loss))
                .collect(),
            bad_seal: sealed.bad().cloned(),
            acts: None,
        }
    }

    /// The same with what was found in the record of acts, whose seals are `sealed`.
    #[must_use]
    pub fn with_acts(self, acts: ActsReport, sealed: &ValidActSeals) -> Self {
        let verdict = match &acts {
            ActsReport {
                bad: None,
                bad_seal: None,
                ..
            } => Verdict::Whole,
            ActsReport { bad: None, .. } if sealed.is_key_unknown() => Verdict::Unverifiable,
            _ => Verdict::Broken,
        };
        let verdict = match (self.verdict, verdict) {
            (Verdict::Broken, _) | (_, Verdict::Broken) => Verdict::Broken,
            (Verdict::Unverifiable, _) | (_, Verdict::Unverifiable) => Verdict::Unverifiable,
            (Verdict::Whole, Verdict::Whole) => Verdict::Whole,
        };
        Self {
            verdict,
            acts: Some(acts),
            ..self
        }
    }
}
