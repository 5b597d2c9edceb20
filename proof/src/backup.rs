//! A backup compared with seals that may go further than it does: whether it is a whole beginning of what was sealed, and what a restore
//! of it would lose.

use crate::act_seal_chain::ValidActSeals;
use crate::position_range::PositionRange;
use crate::report::{ActsReport, PartitionReport, Problem, Report};
use crate::seal_chain::ValidSeals;
use crate::time;
use chrono::{DateTime, Utc};
use log_format::{Partition, Position};
use serde::Serialize;

/// How far the backup itself says that it was sealed: what its own seals cover must be in it. Seals are written after what they cover, so
/// a snapshot that has a seal has that too.
#[derive(Clone, Debug)]
pub struct OwnSeals {
    /// Of each partition, its last sealed position; 0 where there is none.
    pub events: Vec<Position>,
    /// The last sealed row of the record of acts; 0 where there is none.
    pub acts: i64,
}

/// Sealed events of one partition that came after the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaterEvents {
    /// The partition.
    pub partition: Partition,
    /// The first of them: the position after the backup's last.
    pub first: Position,
    /// The last of them that was sealed.
    pub last: Position,
    /// When that was sealed.
    pub sealed_at: String,
    /// The backup's last positions whose segment goes on after it, so that no Merkle root proves them: only the chain and their hash
    /// prefixes do.
    pub by_prefix: Option<PositionRange>,
}

/// What a verification of a backup found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// Whether what is there is what was sealed. Where the backup only ends before the seals do, that is not bad.
    #[serde(flatten)]
    pub report: Report,
    /// When the last event of each partition was recorded; `None` where there is none.
    pub ends_at: Vec<Option<String>>,
    /// Sealed events that a restore would lose.
    pub later_events: Vec<LaterEvents>,
    /// Sealed acts that a restore would lose.
    pub later_acts: Option<PositionRange>,
    /// From the backup's newest event to the last seal of events that a restore would lose, in seconds; `None` where it would lose no
    /// event, or has none.
    pub later_seconds: Option<f64>,
}

impl BackupReport {
    /// Of what `found` says when the backup is compared with all of these seals, when its own go as far as `own`. `ends` has when the last
    /// event of each partition was recorded.
    pub fn of(
        found: Report,
        (sealed, act_seals): (&ValidSeals, &ValidActSeals),
        own: &OwnSeals,
        ends: &[Option<DateTime<Utc>>],
    ) -> Self {
        let (mut partitions, mut acts) = (found.partitions, found.acts);
        let later: Vec<_> = partitions
            .iter_mut()
            .filter_map(|partition| later_events(partition, sealed, own))
            .collect();
        let later_acts = acts.as_mut().and_then(|acts| later_acts(acts, own));
        let report = Report::of(sealed, partitions);
        let report = match acts {
            Some(acts) => report.with_acts(acts, act_seals),
            None => report,
        };
        let last_sealed_at = later.iter().map(|(_, sealed_at)| *sealed_at).max();
        let newest = ends.iter().flatten().max();
        let later_seconds = last_sealed_at
            .zip(newest)
            .map(|(sealed_at, newest)| (sealed_at - *newest).as_seconds_f64());
        let ends_at = ends.iter().map(|at| at.map(time::format)).collect();
        Self {
            report,
            ends_at,
            later_events: later.into_iter().map(|(events, _)| events).collect(),
            later_acts,
            later_seconds,
        }
    }
}

/// What was sealed after the end of a partition, which is then not bad any more. One that lacks what the backup's own seals cover was
/// not made so: its end was taken away.
fn later_events(
    found: &mut PartitionReport,
    sealed: &ValidSeals,
    own: &OwnSeals,
) -> Option<(LaterEvents, DateTime<Utc>)> {
    let (partition, seals) = (found.partition, sealed.of(found.partition));
    let sealed_at = seals.last()?.statement.at;
    let bad = found
        .bad
        .take_if(|bad| bad.problem == Problem::CutOff && covers(own, partition) < bad.position)?;
    let cut = seals
        .iter()
        .find(|seal| bad.position <= seal.statement.last);
    let events = LaterEvents {
        partition,
        first: bad.position,
        last: found.sealed_upto,
        sealed_at: time::format(sealed_at),
        by_prefix: cut.and_then(|cut| range(cut.statement.first, bad.position - 1)),
    };
    found.sealed_upto = bad.position - 1;
    Some((events, sealed_at))
}

fn covers(own: &OwnSeals, partition: Partition) -> Position {
    usize::try_from(partition)
        .ok()
        .and_then(|at| own.events.get(at))
        .copied()
        .unwrap_or_default()
}

fn later_acts(found: &mut ActsReport, own: &OwnSeals) -> Option<PositionRange> {
    let bad = found
        .bad
        .take_if(|bad| bad.problem == Problem::CutOff && own.acts < bad.act)?;
    let later = range(bad.act, found.sealed_upto);
    found.sealed_upto = bad.act - 1;
    later
}

fn range(first: i64, last: i64) -> Option<PositionRange> {
    (first <= last).then_some(PositionRange { first, last })
}
