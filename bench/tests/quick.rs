//! A short rush of everybody, with real processes: it ends well only if every sum is right.

use std::process::{Command, Stdio};
use testbed::TempFolder;

/// Steps: one second each, on servers that it prepares; with RabbitMQ and Redis where they are. Needs the program `moa`, which is
/// built with the workspace's tests.
#[test]
fn a_quick_rush_has_right_sums() {
    let folder = TempFolder::new("bench-report");
    let mut rush = Command::new(env!("CARGO_BIN_EXE_bench"));
    rush.args(["rush", "--quick", "--report", &folder.file("rush.md")])
        .stdin(Stdio::null());
    let ended = rush.output().expect("bench starts");
    let (said, failed) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{said}{failed}");
    let report = std::fs::read_to_string(folder.join("rush.md")).expect("a report");
    for contestant in [
        "group-commit",
        "sql-update",
        "stock",
        "Moa, accepting alone",
        "Moa",
    ] {
        assert!(
            report.contains(&format!("\n| {contestant} | ")),
            "{contestant} did not take part: {report}"
        );
    }
    let plot = std::fs::read_to_string(folder.join("rush-16.svg")).expect("a plot");
    assert!(
        plot.starts_with("<svg") && plot.contains(">sql-update<"),
        "{plot}"
    );
}
