//! `docs/log-format.md` says what is stored; this keeps it true.

use crate::by_hand::failed_in_the_old_shape;
use crate::support::*;
use domain::ProductEvent;
use event_log::{Metadata, Partition, search::EVENT_TYPES};
use sqlx::Row;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/log-format.md");

/// The bodies of the document's fenced blocks in `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("\n```{language}\n");
    DOCUMENT
        .split(opening.as_str())
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

/// Runs the document's one SQL statement, as printed, and gives what it says of `partition`: events, first bad position.
async fn verified_by_sql(test: &TestLog, partition: Partition) -> Option<(i64, Option<i64>)> {
    let [statement] = blocks("sql")[..] else {
        panic!("the document has one sql block")
    };
    let rows = sqlx::raw_sql(statement)
        .fetch_all(&test.pool)
        .await
        .unwrap();
    let row = rows
        .iter()
        .find(|row| row.get::<Partition, _>("partition") == partition)?;
    Some((row.get("events"), row.get("first_bad_position")))
}

pub async fn first_bad_position_by_sql(test: &TestLog, partition: Partition) -> Option<i64> {
    verified_by_sql(test, partition)
        .await
        .and_then(|(_, first_bad)| first_bad)
}

#[tokio::test]
async fn the_documents_sql_finds_a_real_log_whole() {
    let test = TestLog::with_partitions(3).await;
    assert_eq!(
        verified_by_sql(&test, 0).await,
        None,
        "an empty partition has no row"
    );
    for partition in 0..2 {
        let mut writer = test.writer_of(partition).await;
        let id = i64::from(partition) + 3;
        commit(&mut writer, vec![new_event(product(id), 1, opened(id))]).await;
        commit(
            &mut writer,
            vec![
                new_event(product(id), 2, reserved(id, 10)),
                new_event(product(id), 3, settled(id, 10)),
            ],
        )
        .await;
    }
    assert_eq!(verified_by_sql(&test, 0).await, Some((3, None)));
    assert_eq!(verified_by_sql(&test, 1).await, Some((3, None)));
    assert_eq!(verified_by_sql(&test, 2).await, None);
}

#[tokio::test]
async fn the_documents_sql_finds_rows_of_a_partition_that_the_log_does_not_have() {
    let test = TestLog::with_events(2).await;
    test.execute(
        "insert into events select aggregate_type, aggregate_id, 3, event_type, event_version, payload, metadata,
                                       7, 1, event_id, recorded_at, hash from events where position = 2",
    )
    .await;
    assert_eq!(first_bad_position_by_sql(&test, 7).await, Some(1));
}

/// The code, the document's SQL and this crate's second reading of the document agree on the same bytes.
#[tokio::test]
async fn a_row_hashed_as_the_document_says_is_good() {
    let test = TestLog::with_events(2).await;
    failed_in_the_old_shape(invest(2), 1, "NO_MONEY : \u{1f4b8}")
        .write(&test)
        .await;
    assert_eq!(test.log.verify(0).await.unwrap().position, 3);
    assert_eq!(verified_by_sql(&test, 0).await, Some((3, None)));
}

#[tokio::test]
async fn the_first_row_of_a_log_hashed_as_the_document_says_is_good() {
    let test = TestLog::with_one_partition().await;
    failed_in_the_old_shape(invest(2), 1, "NO_MONEY")
        .write(&test)
        .await;
    assert_eq!(test.log.verify(0).await.unwrap().position, 1);
}

/// Each `json` block is one kind of event: its payload as stored today, then, if it has any, its older shapes.
#[test]
fn the_documents_payloads_are_stored_so_to_the_byte() {
    let mut shown = Vec::new();
    for payload in blocks("json").iter().flat_map(|block| block.lines()) {
        let event: ProductEvent =
            serde_json::from_str(payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
        assert_eq!(serde_json::to_string(&event).unwrap(), payload);
        let section = format!("`{}` {}", event.name(), event.version());
        assert!(DOCUMENT.contains(&section), "no word of {section}");
        shown.push(event.name());
    }
    let known: BTreeSet<_> = EVENT_TYPES.into_iter().collect();
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), known);
}

#[tokio::test]
async fn the_documents_old_payload_is_read_in_todays_shape() {
    let [old] = blocks("json-old")[..] else {
        panic!("the document shows one old payload")
    };
    let test = TestLog::with_one_partition().await;
    let row = crate::by_hand::ByHand {
        payload: old.into(),
        ..failed_in_the_old_shape(invest(1), 1, "")
    };
    row.write(&test).await;
    let today = &test.events().await[0].event;
    assert!(
        blocks("json").contains(&serde_json::to_string(today).unwrap().as_str()),
        "{today:?}"
    );
}

/// Its payload may be readable all the same: what is new in it would be ignored.
#[tokio::test]
async fn an_event_of_a_later_release_is_refused() {
    let test = TestLog::with_one_partition().await;
    crate::by_hand::ByHand {
        event_version: "3.0.0",
        ..failed_in_the_old_shape(invest(1), 1, "")
    }
    .write(&test)
    .await;
    let error = test.log.read_after(0, 0, 1).await.unwrap_err().to_string();
    assert!(
        error.contains("a later release wrote it: InvestFailed 3.0.0"),
        "{error}"
    );
}

/// Whatever a title may hold is stored, hashed and read back unchanged.
#[tokio::test]
async fn any_text_survives_to_the_byte() {
    let (test, mut writer) = with_writer(0).await;
    let longest = "\u{1f9e7}".repeat(500);
    let titles = [
        r#"a "quoted" title"#,
        r"back\slash, \n, \u0041 and \\u0000 as plain text",
        "\u{1f9e7}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} emoji, joined",
        "한국어 상품",
        "e\u{301} is not \u{e9}",
        "right \u{202e}to left",
        "\u{fffe}\u{10ffff} last of the planes",
        "{\"json\": [1, 2.50, 1e400, null]}",
        "'; drop table events; --",
        " spaces  kept ",
        "'",
        "%s $1 {} \u{2028}",
        &longest,
    ];
    for (title, id) in titles.iter().zip(1..) {
        commit(
            &mut writer,
            vec![new_event(product(id), 1, opened_as(id, title))],
        )
        .await;
        let stored: String =
            sqlx::query_scalar("select payload::text from events where position = $1")
                .bind(id)
                .fetch_one(&test.pool)
                .await
                .unwrap();
        assert_eq!(
            stored,
            serde_json::to_string(&opened_as(id, title)).unwrap()
        );
    }
    for (event, title) in test.events().await.iter().zip(titles) {
        assert_eq!(event.event, opened_as(event.position, title));
    }
    assert_eq!(
        test.log.verify(0).await.unwrap().position,
        titles.len() as i64
    );
    assert_eq!(
        verified_by_sql(&test, 0).await,
        Some((titles.len() as i64, None))
    );
}

#[tokio::test]
async fn the_largest_numbers_and_all_metadata_survive() {
    let (test, mut writer) = with_writer(0).await;
    let mut event = new_event(
        product(i64::MAX),
        i64::MAX,
        reserved(i64::MAX, domain::MAX_AMOUNT),
    );
    event.metadata = Metadata {
        correlation_id: "\u{1f4e8} \"\\".into(),
        causation_id: Some(String::new()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        actor: Some("ann".into()),
        actor_role: Some("OPERATOR".into()),
    };
    let written = commit(&mut writer, vec![event.clone()]).await;
    let read = test.events().await;
    assert_eq!(read, written);
    assert_eq!(
        (&read[0].event, &read[0].metadata, read[0].sequence),
        (&event.event, &event.metadata, i64::MAX)
    );
    test.log.verify(0).await.unwrap();
    assert_eq!(verified_by_sql(&test, 0).await, Some((1, None)));
}

#[tokio::test]
async fn metadata_is_a_flat_map_of_strings() {
    let test = TestLog::with_events(1).await;
    let stored: String = sqlx::query_scalar("select metadata::text from events")
        .fetch_one(&test.pool)
        .await
        .unwrap();
    assert_eq!(stored, r#"{"correlationId":"request-1-1"}"#);
}
