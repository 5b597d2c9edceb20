//! The rules by themselves: promtool reads them, and plays the series of `ops/alerts.test.yaml` to them, with their real times.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::prometheus::{ALERTS, program};

const CASES: &str = include_str!("../../../../ops/alerts.test.yaml");
/// The tests in which a process makes the alarms ring.
const FAULTS: [&str; 6] = [
    include_str!("../alarms.rs"),
    include_str!("files.rs"),
    include_str!("read_side.rs"),
    include_str!("servers.rs"),
    include_str!("settlement.rs"),
    include_str!("write_side.rs"),
];

fn alarms() -> impl Iterator<Item = &'static str> {
    ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
}

fn promtool(args: &[&str]) {
    let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops");
    let said = Command::new(program("promtool"))
        .args(args)
        .current_dir(ops)
        .output();
    let said = said.expect("promtool starts: install prometheus, or let make test fetch it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        said.status.success(),
        "{}{}",
        text(&said.stdout),
        text(&said.stderr)
    );
}

#[test]
fn promtool_accepts_the_rules_and_every_case_of_theirs() {
    promtool(&["check", "rules", "alerts.yaml"]);
    promtool(&["test", "rules", "alerts.test.yaml"]);
}

/// A case without its alarm, or an alarm without its case, would be found by nobody.
#[test]
fn each_alarm_has_a_case_that_rings_it_and_one_that_does_not() {
    // Each is a mapping that begins with its time, on one line or on several.
    let cases: Vec<_> = CASES.split("eval_time: ").skip(1).collect();
    let of = |rings: bool| -> BTreeSet<_> {
        let chosen = cases
            .iter()
            .filter(|case| case.contains("exp_labels") == rings);
        let name =
            |case: &&'static str| case.split("alertname: ").nth(1)?.split([',', '\n']).next();
        chosen.filter_map(name).collect()
    };
    let all: BTreeSet<_> = alarms().collect();
    assert_eq!((of(true), of(false)), (all.clone(), all));
}

#[test]
fn each_alarm_is_made_to_ring_by_a_fault() {
    let named = |alarm: &&str| {
        FAULTS
            .iter()
            .any(|text| text.contains(&format!("\"{alarm}\"")))
    };
    let unproved: Vec<_> = alarms().filter(|alarm| !named(alarm)).collect();
    assert_eq!(unproved, [""; 0]);
}
