//! Prints the report of a verification.

use crate::output::{print_json, print_line};
use crate::settings::ListOutput;
use crate::table::{self, column, wide};
use proof::position_range::PositionRange;
use proof::report::{ActsReport, LostRange, PartitionReport, Report, Verdict};
use serde_json::{Value, json};

/// Prints it; an error, in a sentence, when the log is broken or cannot be verified.
pub(super) fn print(report: &Report, output: ListOutput) -> anyhow::Result<()> {
    if output.json {
        print_json(&serde_json::to_value(report)?)?;
    } else {
        let rows: Value = report.partitions.iter().map(row).collect();
        let columns = [
            column("PARTITION", "partition"),
            column("EVENTS", "events"),
            wide("HEAD", "head"),
            column("SEALED TO", "sealed"),
            column("NOT SEALED YET", "unsealed"),
            wide("FIRST BAD", "bad"),
            column("PROBLEM", "problem"),
        ];
        table::print(&columns, &rows, output);
        report
            .losses
            .iter()
            .for_each(|lost| print_line!("{}", loss(lost)));
    }
    check(report)?;
    if !output.json {
        print_line!("{}", whole(report));
        report
            .acts
            .iter()
            .for_each(|acts| print_line!("{}", whole_acts(acts)));
    }
    Ok(())
}

/// An error, in a sentence, when what was verified is broken or cannot be verified.
pub(crate) fn check(report: &Report) -> anyhow::Result<()> {
    match report.verdict {
        Verdict::Whole => Ok(()),
        Verdict::Broken => anyhow::bail!("{}", broken(report)),
        Verdict::Unverifiable => anyhow::bail!("{}", unverifiable(report)),
    }
}

fn row(found: &PartitionReport) -> Value {
    json!({
        "partition": found.partition,
        "events": found.events,
        "head": found.head,
        "sealed": found.sealed_upto,
        "unsealed": found.unsealed.map(|stretch| format!("{} to {}", stretch.first, stretch.last)),
        "bad": found.bad.as_ref().map(|bad| bad.position),
        "problem": found.bad.as_ref().map(|bad| bad.problem.to_string()),
    })
}

fn loss(lost: &LostRange) -> String {
    let LostRange {
        seal,
        at,
        partition,
        first,
        last,
        ..
    } = lost;
    format!(
        "Lost, as seal {seal} of {at} says: {first} to {last} of partition {partition}. An operator accepted that."
    )
}

fn whole(report: &Report) -> String {
    if report.seals == 0 {
        return format!(
            "Only the chain of hashes was checked, without seals: it is whole over {} events, but who may write to the database \
             can compute a whole one again.",
            report.events
        );
    }
    let unsealed: i64 = report
        .partitions
        .iter()
        .filter_map(|found| found.unsealed)
        .map(|it| it.last - it.first + 1)
        .sum();
    let rest = match unsealed {
        0 => "All of it is sealed.".to_owned(),
        count => format!(
            "{count} events are not sealed yet, see the table: who hashes these again is not found."
        ),
    };
    format!(
        "The log is whole: {} events, compared with {} seals. {rest}",
        report.events, report.seals
    )
}

fn whole_acts(found: &ActsReport) -> String {
    let lost = found.lost.iter().map(|range| {
        format!(
            " Acts {} to {} were sealed and lost when the database was set back, as accepted.",
            range.first, range.last
        )
    });
    let lost: String = lost.collect();
    let acts = format!(
        "The record of operators' acts is whole: {} rows",
        found.acts
    );
    match (found.seals, found.unsealed) {
        (0, _) => format!("{acts}, of which only the chain of hashes was checked."),
        (seals, None) => format!("{acts}, compared with {seals} seals. All of it is sealed.{lost}"),
        (seals, Some(PositionRange { first, last })) => {
            format!(
                "{acts}, compared with {seals} seals. {first} to {last} are not sealed yet.{lost}"
            )
        }
    }
}

fn broken_acts(found: &ActsReport) -> Vec<String> {
    let bad = found
        .bad
        .iter()
        .map(|bad| format!("act {} ({}): {}", bad.act, bad.problem, bad.detail));
    let seal = found
        .bad_seal
        .iter()
        .map(|bad| format!("seal of acts {}: {}", bad.seal, bad.detail));
    bad.chain(seal).collect()
}

fn broken(report: &Report) -> String {
    let partition = |found: &PartitionReport| {
        let bad = found.bad.as_ref()?;
        Some(format!(
            "partition {} position {} ({}): {}",
            found.partition, bad.position, bad.problem, bad.detail
        ))
    };
    let mut findings: Vec<String> = report.partitions.iter().filter_map(partition).collect();
    findings.extend(
        report
            .bad_seal
            .iter()
            .map(|bad| format!("seal {}: {}", bad.seal, bad.detail)),
    );
    findings.extend(report.acts.iter().flat_map(broken_acts));
    format!("the log is BROKEN: {}", findings.join("; "))
}

fn unverifiable(report: &Report) -> String {
    let mut bad: Vec<_> = report
        .bad_seal
        .iter()
        .map(|bad| format!("seal {}: {}", bad.seal, bad.detail))
        .collect();
    bad.extend(report.acts.iter().flat_map(broken_acts));
    let bad = bad.join("; ");
    format!(
        "the log cannot be verified with this key and these seals, which does not say that it is broken: {bad}. Give the public \
         keys of all seals, those of earlier ones too, separated by commas, and the seals of this log. If nobody knows that \
         key or that log, somebody else made the seals."
    )
}
