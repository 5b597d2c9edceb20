//! Prints what was found in a backup.

use crate::audit::proof::report::check;
use crate::output::{print_json, print_line};
use crate::settings::ListOutput;
use crate::table::{self, column, wide};
use proof::backup::{BackupReport, LaterEvents};
use proof::position_range::PositionRange;
use proof::report::PartitionReport;
use serde_json::{Value, json};

/// Prints it; an error, in a sentence, when the backup is broken or cannot be verified.
pub(super) fn print(found: &BackupReport, output: ListOutput) -> anyhow::Result<()> {
    if output.json {
        print_json(&serde_json::to_value(found)?)?;
        return check(&found.report);
    }
    let rows: Value = found
        .report
        .partitions
        .iter()
        .map(|partition| row(partition, found))
        .collect();
    let columns = [
        column("PARTITION", "partition"),
        wide("EVENTS", "events"),
        column("UP TO", "head"),
        column("RECORDED AT", "endsAt"),
        column("WOULD BE LOST", "later"),
        wide("FIRST BAD", "bad"),
        column("PROBLEM", "problem"),
    ];
    table::print(&columns, &rows, output);
    check(&found.report)?;
    print_line!("{}", whole(found));
    unproven(found)
        .into_iter()
        .for_each(|sentence| print_line!("{sentence}"));
    print_line!("{}", loss(found));
    Ok(())
}

fn row(partition: &PartitionReport, found: &BackupReport) -> Value {
    let at = usize::try_from(partition.partition).ok();
    let later = found
        .later_events
        .iter()
        .find(|later| later.partition == partition.partition);
    json!({
        "partition": partition.partition,
        "events": partition.events,
        "head": partition.head,
        "endsAt": at.and_then(|at| found.ends_at.get(at)),
        "later": later.map(|later| format!("{} to {}", later.first, later.last)),
        "bad": partition.bad.as_ref().map(|bad| bad.position),
        "problem": partition.bad.as_ref().map(|bad| bad.problem.to_string()),
    })
}

fn whole(found: &BackupReport) -> String {
    let acts = found.report.acts.as_ref().map_or(0, |acts| acts.acts);
    let (events, seals) = (found.report.events, found.report.seals);
    format!(
        "The backup is whole: {events} events and {acts} rows of acts, compared with {seals} seals."
    )
}

/// What is not proved by a signature: it came after the last seal that is held, or its seal goes on after the backup.
fn unproven(found: &BackupReport) -> Vec<String> {
    let partitions = found.report.partitions.iter();
    let unsealed = partitions.filter_map(|partition| {
        let PositionRange { first, last } = partition.unsealed?;
        Some(format!(
            "Of partition {}, {first} to {last} are after the last seal: who hashes these again is not found.",
            partition.partition
        ))
    });
    let by_prefix = found.later_events.iter().filter_map(|later| {
        let PositionRange { first, last } = later.by_prefix?;
        Some(format!(
            "Of partition {}, {first} to {last} are the beginning of a segment that was sealed later: each is compared with the first 4 bytes of its hash.",
            later.partition
        ))
    });
    unsealed.chain(by_prefix).collect()
}

fn loss(found: &BackupReport) -> String {
    let events: i64 = found
        .later_events
        .iter()
        .map(|later: &LaterEvents| later.last - later.first + 1)
        .sum();
    let acts = found
        .later_acts
        .map_or(0, |range| range.last - range.first + 1);
    if events + acts == 0 {
        return "A restore of it loses nothing that was sealed.".to_owned();
    }
    let seconds = found
        .later_seconds
        .map(|seconds| format!(", of the {seconds:.1} s after its newest event,"));
    format!(
        "A restore of it loses {events} sealed events{} and {acts} rows of acts.",
        seconds.unwrap_or_default()
    )
}
