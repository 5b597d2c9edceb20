//! Every metric of Moa, with its help. The list is `docs/metrics.md`, which is built in. Counters whose labels are known exist from the
//! start: a series that is born at 1 has no increase that an alarm could see.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// A row of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Metric {
    name: &'static str,
    kind: &'static str,
    /// Its labels, then a colon and the values that are known before anything happens.
    labels: &'static str,
    help: &'static str,
}

impl Metric {
    fn parse(line: &'static str) -> Option<Self> {
        let row = line.strip_prefix("| `moa_").map(|_| &line[3..])?;
        let (name, rest) = row.split_once("` | ")?;
        let (kind, rest) = rest.split_once(" | ")?;
        let (labels, help) = rest.split_once(" | ")?;
        Some(Self {
            name,
            kind,
            labels: labels.trim(),
            help: help.trim_end_matches(" |"),
        })
    }

    fn describe(self) {
        let unit = if self.name.ends_with("_seconds") {
            Unit::Seconds
        } else {
            Unit::Count
        };
        match self.kind {
            "counter" => describe_counter!(self.name, unit, self.help),
            "histogram" => describe_histogram!(self.name, unit, self.help),
            _ => describe_gauge!(self.name, unit, self.help),
        }
    }

    /// Begins each known series of a counter at 0.
    fn begin(self) {
        if self.kind != "counter" {
            return;
        }
        if self.labels.is_empty() {
            metrics::counter!(self.name).absolute(0);
        }
        if let Some((label, values)) = self.labels.split_once(": ") {
            values
                .split(", ")
                .for_each(|value| metrics::counter!(self.name, label => value).absolute(0));
        }
    }
}

fn catalog() -> impl Iterator<Item = Metric> {
    DOCUMENT.lines().filter_map(Metric::parse)
}

/// Describes every metric, and begins the counters. After the recorder is installed.
pub(super) fn describe() {
    catalog().for_each(|metric| {
        metric.describe();
        metric.begin();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use command_api::OpenInvest;
    use event_log::consume::Projection as _;
    use std::collections::BTreeSet;
    use std::path::Path;

    const ALERTS: &str = include_str!("../../../ops/alerts.yaml");
    const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

    #[test]
    fn every_row_of_the_document_is_read() {
        let rows = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| `"))
            .count();
        assert_eq!(catalog().count(), rows);
        let kinds = ["counter", "gauge", "histogram"];
        let unknown: Vec<_> = catalog()
            .filter(|metric| !kinds.contains(&metric.kind))
            .collect();
        assert_eq!(unknown, []);
    }

    /// Names in quotes, which is how code counts.
    #[test]
    fn every_metric_that_the_code_counts_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut counted = BTreeSet::new();
        for folder in [
            "audit",
            "broker",
            "command-api",
            "edge",
            "event-log",
            "moa",
            "projector",
            "query-api",
        ] {
            in_sources(&root.join(folder).join("src"), &mut counted);
        }
        let listed: BTreeSet<_> = catalog().map(|metric| metric.name.to_owned()).collect();
        assert_eq!(counted, listed);
    }

    fn in_sources(folder: &Path, counted: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                in_sources(&path, counted);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for opening in [
                "counter!(",
                "gauge!(",
                "histogram!(",
                "DROPPED_METRIC: &'static str = ",
            ] {
                let opening = format!("{opening}\"moa_");
                let names = text
                    .split(opening.as_str())
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next());
                counted.extend(names.map(|name| format!("moa_{name}")));
            }
        }
    }

    /// A read model more is a row of four series more.
    #[test]
    fn each_consumer_has_its_series_from_the_start() {
        let mut consumers: Vec<_> = projector::PROJECTIONS
            .iter()
            .map(|model| model.name)
            .collect();
        consumers.push(OpenInvest::NAME);
        for name in [
            "moa_consumer_events_total",
            "moa_consumer_faults_total",
            "moa_task_restarts_total",
        ] {
            let metric = catalog().find(|metric| metric.name == name).unwrap();
            let values: Vec<_> = metric
                .labels
                .split_once(": ")
                .unwrap()
                .1
                .split(", ")
                .collect();
            assert!(values.starts_with(&consumers), "{name}: {values:?}");
        }
    }

    #[test]
    fn every_alarm_is_about_metrics_that_exist_and_has_its_entry_in_the_runbook() {
        let listed: BTreeSet<_> = catalog().map(|metric| metric.name).collect();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = ALERTS
            .split(|c| !is_name(c))
            .filter(|word| word.starts_with("moa_"));
        let unknown: Vec<_> = words
            .filter(|word| !listed.contains(word.trim_end_matches("_bucket")))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let alarms: Vec<_> = ALERTS
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .collect();
        let entries: Vec<_> = RUNBOOK
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(alarms, entries);
    }
}
