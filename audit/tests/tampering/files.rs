//! An export that is tampered with as a file: whatever happens to its lines, it is found where it happened.

use proof::export::Format;
use serde_json::Value;
use std::path::PathBuf;

use crate::app::SealedApp;
use crate::found::{Findings, Found, by_moa, by_python, facts, findings};
use testbed::Random;

/// How often something is done to each form.
const TIMES: usize = 60;

/// A line of an export, and the event that it is of.
#[derive(Clone)]
struct Line {
    text: Vec<u8>,
    place: Option<(i64, i64)>,
}

/// Steps: a whole log is exported; many times something is done to the file, and both verifiers are asked. They must find it
/// at the event whose line it was, and agree in everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_an_export_is_found_at_the_event_that_it_was_done_to() {
    let app = SealedApp::sealed().await;
    let mut random = Random::from_env("MOA_TAMPERING_SEED");
    let seed = random.seed;
    let mut cases = Vec::new();
    for format in [Format::Ndjson, Format::Csv] {
        let whole = app.file("whole.export");
        app.export(format, &whole).await;
        let lines = lines(&app, &std::fs::read(&whole).unwrap());
        for number in 0..TIMES {
            let (what, at, text) = done_to(&lines, &app, number, &mut random);
            let file = app.file(&format!("{format:?}-{number}.export"));
            std::fs::write(&file, text).unwrap();
            let moa = by_moa(&app, &file);
            let name = format!("{format:?} {number} of seed {seed}: {what}");
            is_found_at(at, &findings(&moa), &name, &moa);
            cases.push((name, file, moa));
        }
    }
    let files: Vec<PathBuf> = cases.iter().map(|(_, file, _)| file.clone()).collect();
    for ((name, _, moa), python) in cases.iter().zip(by_python(&app, &files, &app.seals())) {
        assert_eq!(facts(&python), facts(moa), "{name}: {moa:#} {python:#}");
    }
}

fn is_found_at(at: (i64, i64), found: &Findings, name: &str, report: &Value) {
    let here = |found: &Found| matches!(found, Found::Bad(partition, position, _) if (*partition, *position) == at);
    assert!(found.iter().any(here), "{name}, at {at:?}: {report:#}");
}

fn lines(app: &SealedApp, export: &[u8]) -> Vec<Line> {
    let mut rows = app.rows.iter();
    let texts = export.split_inclusive(|byte| *byte == b'\n');
    let lines = texts.enumerate().map(|(number, text)| Line {
        text: text.to_vec(),
        place: if number == 0 {
            None
        } else {
            rows.next().map(|row| (row.partition.into(), row.position))
        },
    });
    lines.collect()
}

/// What is done, where it shows, and what is left.
fn done_to(
    lines: &[Line],
    app: &SealedApp,
    number: usize,
    random: &mut Random,
) -> (String, (i64, i64), Vec<u8>) {
    let mut lines = lines.to_vec();
    // ValidSeals, so that in a CSV, too, it is known what must be there.
    let at = loop {
        let at = random.within(1, app.rows.len());
        let (partition, position) = lines[at].place.unwrap();
        if position < app.sealed[partition as usize] {
            break at;
        }
    };
    let mut place = lines[at].place.unwrap();
    let what = match number % 6 {
        0 | 1 => {
            let byte = random.index(lines[at].text.len());
            lines[at].text[byte] ^= 1 << random.index(8);
            format!("a bit of byte {byte}")
        }
        2 => {
            lines.remove(at);
            "a line dropped".into()
        }
        3 => {
            lines.swap(at, at + 1);
            "two lines swapped".into()
        }
        4 => {
            let again = lines[at].clone();
            lines.insert(at, again);
            place.1 += 1;
            "a line twice".into()
        }
        _ => {
            let left = random.index(lines[at].text.len() - 2);
            lines.truncate(at + 1);
            lines[at].text.truncate(left);
            format!("cut off {left} bytes into a line")
        }
    };
    let what = format!("{what} at {:?}", lines.get(at).map(|_| place));
    (
        what,
        place,
        lines.into_iter().flat_map(|line| line.text).collect(),
    )
}

/// The same in other bytes: each would be read, if the form were not one.
const OTHERWISE: &[(&str, &str)] = &[
    ("{\"aggregate_type\"", "{ \"aggregate_type\""),
    ("\"product\"", "\"pr\\u006fduct\""),
    (
        "\"product\",\"aggregate_id\"",
        "\"product\" ,\"aggregate_id\"",
    ),
    ("\"partition\":0", "\"partition\":0.0"),
    ("\"partition\":0", "\"partition\":-0"),
    ("\"partition\":0", "\"partition\":false"),
    ("\"partition\":0", "\"partition\":\"0\""),
    ("Z\",\"hash\"", "+00:00\",\"hash\""),
    ("Z\",\"hash\"", "0Z\",\"hash\""),
    ("\"hash\"", "\"hash\":\"\",\"hash\""),
    (
        "\"aggregate_type\":\"product\",\"aggregate_id\":\"3\"",
        "\"aggregate_id\":\"3\",\"aggregate_type\":\"product\"",
    ),
    ("\"}\n", "\",\"more\":1}\n"),
    ("\"}\n", "\"}\r\n"),
];

#[tokio::test]
async fn a_line_that_says_the_same_in_other_bytes_cannot_be_read() {
    let app = SealedApp::sealed().await;
    let whole = app.file("whole.ndjson");
    app.export(Format::Ndjson, &whole).await;
    let lines = lines(&app, &std::fs::read(&whole).unwrap());
    let line = String::from_utf8(lines[2].text.clone()).unwrap();
    let (partition, position) = lines[2].place.unwrap();
    let files: Vec<_> = (0..OTHERWISE.len())
        .map(|number| app.file(&format!("{number}.ndjson")))
        .collect();
    for ((from, to), file) in OTHERWISE.iter().zip(&files) {
        assert!(line.contains(from), "{from} in {line}");
        let mut lines = lines.clone();
        lines[2].text = line.replacen(from, to, 1).into_bytes();
        std::fs::write(
            file,
            lines
                .into_iter()
                .flat_map(|line| line.text)
                .collect::<Vec<_>>(),
        )
        .unwrap();
    }
    let expected: Findings = [Found::Bad(partition, position, "UNREADABLE".into())].into();
    for (((_, to), file), python) in
        OTHERWISE
            .iter()
            .zip(&files)
            .zip(by_python(&app, &files, &app.seals()))
    {
        assert_eq!(
            (findings(&by_moa(&app, file)), findings(&python)),
            (expected.clone(), expected.clone()),
            "{to}"
        );
    }
}

#[tokio::test]
async fn a_line_that_cannot_be_read_belongs_to_the_partition_that_it_stood_in() {
    let app = SealedApp::sealed().await;
    let whole = app.file("whole.ndjson");
    app.export(Format::Ndjson, &whole).await;
    let lines = lines(&app, &std::fs::read(&whole).unwrap());
    let (first, last) = (app.partition(0).len(), app.rows.len());
    // The last of a partition, the first of the next, one within, and the last of all.
    for at in [first, first + 1, first + 2, last] {
        let mut lines = lines.clone();
        let (partition, position) = lines[at].place.unwrap();
        lines[at].text.insert(0, b' ');
        let file = app.file(&format!("{at}.ndjson"));
        std::fs::write(
            &file,
            lines
                .into_iter()
                .flat_map(|line| line.text)
                .collect::<Vec<_>>(),
        )
        .unwrap();
        let expected: Findings = [Found::Bad(partition, position, "UNREADABLE".into())].into();
        for report in [
            by_moa(&app, &file),
            by_python(&app, &[file], &app.seals()).remove(0),
        ] {
            assert_eq!(findings(&report), expected, "{report:#}");
        }
    }
}

/// Nobody has sealed it; but the header says how far each partition goes.
#[tokio::test]
async fn a_tail_that_is_taken_from_the_file_is_missed() {
    let app = SealedApp::sealed().await;
    let (whole, cut) = (app.file("whole.ndjson"), app.file("cut.ndjson"));
    app.export(Format::Ndjson, &whole).await;
    let text = std::fs::read_to_string(&whole).unwrap();
    let head = app.partition(1).len() as i64;
    let last = format!("\"partition\":1,\"position\":{head},");
    let left: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains(&last))
        .collect();
    let events = |less: usize| format!("\"events\":{}", app.rows.len() - less);
    std::fs::write(&cut, left.replace(&events(0), &events(1))).unwrap();
    let expected: Findings = [Found::Bad(1, head, "CUT_OFF".into())].into();
    for report in [
        by_moa(&app, &cut),
        by_python(&app, &[cut], &app.seals()).remove(0),
    ] {
        assert_eq!(findings(&report), expected, "{report:#}");
    }
}

/// What no event's line shows, because the events are good: it is not taken for the whole file.
#[tokio::test]
async fn an_export_is_taken_for_whole_only_with_its_beginning_and_its_end() {
    let app = SealedApp::sealed().await;
    let whole = app.file("whole.ndjson");
    app.export(Format::Ndjson, &whole).await;
    let text = std::fs::read_to_string(&whole).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let (header, rows, end) = (
        lines[0],
        lines[1..lines.len() - 1].concat(),
        lines[lines.len() - 1],
    );
    let other_count = format!("{{\"end\":true,\"events\":{}}}\n", app.rows.len() - 1);
    let filtered = header.replace("\"filter\":null", "\"filter\":{\"productId\":1}");
    let tampered = [
        ("its last line is missing", format!("{header}{rows}")),
        ("its last line says", format!("{header}{rows}{other_count}")),
        (
            "something follows its last line",
            format!("{header}{rows}{end}{end}"),
        ),
        ("it is not a whole log", format!("{filtered}{rows}{end}")),
        ("neither with a header", format!("{rows}{end}")),
        ("neither with a header", String::new()),
    ];
    let files: Vec<_> = (0..tampered.len())
        .map(|number| app.file(&format!("{number}.ndjson")))
        .collect();
    for ((_, text), file) in tampered.iter().zip(&files) {
        std::fs::write(file, text).unwrap();
    }
    for (((why, _), file), python) in
        tampered
            .iter()
            .zip(&files)
            .zip(by_python(&app, &files, &app.seals()))
    {
        for report in [by_moa(&app, file), python] {
            assert_eq!(findings(&report), [Found::VerifyError].into(), "{why}");
            let detail = report["detail"]
                .as_str()
                .unwrap()
                .replace("is not a whole log", "it is not a whole log");
            assert!(detail.contains(why), "{why}: {detail}");
        }
    }
}
