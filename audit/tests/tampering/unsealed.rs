//! What nobody has sealed yet: who hashes it again is not found by that. What cannot be true is found all the same, and each
//! verifier names the same problem.

use chrono::TimeDelta;
use event_log::RawEvent;
use proof::export::Format;
use testbed::values::at as time;

use crate::app::{PARTITIONS, SealedApp};
use crate::found::{Findings, bad, by_moa, by_python, facts, findings, in_the_database};
use crate::rows::{self, rehash_from};

type Done = (
    &'static str,
    fn(&mut Vec<RawEvent>, usize),
    Option<&'static str>,
);

/// What is done to a partition's rows after the last seal, from the row at `first` on; and what must be found there.
const DONE: &[Done] = &[
    (
        "hashed again with another amount",
        |rows, at| rows[at].payload = rows[at].payload.replace("70000", "90000"),
        None,
    ),
    ("cut off", |rows, at| rows.truncate(at), None),
    (
        "put back in time",
        |rows, at| rows[at].recorded_at = rows[at - 1].recorded_at - TimeDelta::microseconds(1),
        Some("TIME"),
    ),
    (
        "out of its stream",
        |rows, at| rows[at].sequence += 1,
        Some("SEQUENCE"),
    ),
    (
        "of a product of another partition",
        |rows, at| rows[at].aggregate_id = "11".into(),
        Some("PARTITION"),
    ),
    (
        "of no product",
        |rows, at| rows[at].aggregate_id = "01".into(),
        Some("PARTITION"),
    ),
    (
        "of another aggregate",
        |rows, at| rows[at].aggregate_type = "order \"1\"\n".into(),
        Some("PARTITION"),
    ),
    (
        "before all times",
        |rows, at| rows[at].recorded_at = time("0001-01-01T00:00:00Z"),
        Some("TIME"),
    ),
    (
        "text of every kind",
        |rows, at| rows[at].event_type = "\u{1}\u{7f}\t\\\"\u{8}\u{c},\u{1f4b8}/".into(),
        None,
    ),
];

#[tokio::test]
async fn what_was_not_sealed_is_checked_as_far_as_it_can_be() {
    let app = SealedApp::sealed().await;
    let mut cases = Vec::new();
    for (number, (name, done, problem)) in DONE.iter().enumerate() {
        let mut part = app.partition(0);
        let at = app.sealed[0] as usize;
        done(&mut part, at);
        rehash_from(app.log.identity().log_id, PARTITIONS, &mut part, at);
        let others = app.rows.iter().filter(|row| row.partition != 0).cloned();
        rows::write(
            &app.pool,
            &part.into_iter().chain(others).collect::<Vec<_>>(),
        )
        .await;
        let expected: Findings = problem
            .iter()
            .map(|problem| bad(0, at as i64 + 1, problem))
            .collect();
        let live = in_the_database(&app).await;
        assert_eq!(findings(&live), expected, "{name}: {live:#}");
        let file = app.file(&format!("{number}.ndjson"));
        app.export(Format::Ndjson, &file).await;
        assert_eq!(facts(&by_moa(&app, &file)), facts(&live), "{name}");
        cases.push((name, file, live));
    }
    let files: Vec<_> = cases.iter().map(|(_, file, _)| file.clone()).collect();
    for ((name, _, live), python) in cases.iter().zip(by_python(&app, &files, &app.seals())) {
        assert_eq!(facts(&python), facts(live), "{name}");
    }
}
