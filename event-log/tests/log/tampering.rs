//! Whatever is done to the log past its one append, verification names the first position that is wrong.

use crate::format::first_bad_position_by_sql;
use crate::support::*;
use event_log::LogError;

/// What is done to a partition of eight events, and the position at which it shows first.
const TAMPERINGS: &[(&str, &str, i64)] = &[
    (
        "a byte of a payload is changed",
        "update events set payload = replace(payload::text, 'user1', 'user2')::json where position = 4",
        4,
    ),
    (
        "an amount is changed",
        r#"update events set payload = replace(payload::text, '"amount":6', '"amount":9')::json where position = 7"#,
        7,
    ),
    (
        "a space is put into a payload",
        "update events set payload = replace(payload::text, ':', ': ')::json where position = 2",
        2,
    ),
    ("metadata is changed", r#"update events set metadata = '{"correlationId":"x"}' where position = 3"#, 3),
    ("a row in the middle is deleted", "delete from events where position = 5", 5),
    ("the first row is deleted", "delete from events where position = 1", 1),
    (
        "a row in the middle is deleted and the rest moved up",
        "delete from events where position = 5;
         update events set position = position + 100 where position > 5;
         update events set position = position - 101 where position > 100",
        5,
    ),
    (
        "two rows are swapped",
        "update events set position = 100 where position = 3;
         update events set position = 3 where position = 6;
         update events set position = 6 where position = 100",
        3,
    ),
    (
        "a row is inserted in the middle",
        "update events set position = position + 100 where position >= 4;
         update events set position = position - 99 where position > 100;
         insert into events select aggregate_type, aggregate_id, 100, event_type, event_version, payload, metadata,
                                   partition, 4, event_id, recorded_at, hash from events where position = 3",
        4,
    ),
    (
        "a row is added at the end",
        "insert into events select aggregate_type, aggregate_id, 100, event_type, event_version, payload, metadata,
                                   partition, 9, event_id, recorded_at, hash from events where position = 8",
        9,
    ),
    (
        "a time is changed by the least there is",
        "update events set recorded_at = recorded_at + interval '1 microsecond' where position = 8",
        8,
    ),
    ("a time is put back", "update events set recorded_at = recorded_at - interval '1 day' where position = 6", 6),
    ("an event is given to another product", "update events set aggregate_id = '2' where position = 2", 2),
    ("an event gets another place in its stream", "update events set sequence = 100 where position = 2", 2),
    ("an event is named another", "update events set event_type = 'InvestSettled' where position = 5", 5),
    ("a version is changed", "update events set event_version = '1.0.1' where position = 5", 5),
    ("an event id is changed", "update events set event_id = gen_random_uuid() where position = 1", 1),
    ("a hash is changed", "update events set hash = sha256('x') where position = 4", 4),
    (
        "a character is moved from one column to the next",
        "update events set event_type = 'InvestReserved1', event_version = '.0.0' where position = 5",
        5,
    ),
    ("the log is called another", "update log_identity set log_id = gen_random_uuid()", 1),
    ("two changes: the first is named", "update events set event_version = '3.0.0' where position in (3, 6)", 3),
];

#[tokio::test]
async fn the_first_bad_position_is_named_by_the_code_and_by_the_documents_sql() {
    let test = TestLog::with_events(8).await;
    test.execute(
        "create table kept as table events; create table kept_identity as table log_identity",
    )
    .await;
    for (tampering, sql, first_bad) in TAMPERINGS {
        test.tamper(sql).await;
        // Another handle: an identity that was changed is seen by who opens the log then.
        let verified = test.another_process().await.verify(0).await;
        match verified {
            Err(LogError::Broken {
                partition: 0,
                position,
                ..
            }) => assert_eq!(position, *first_bad, "{tampering}"),
            other => panic!("{tampering}: {other:?}"),
        }
        assert_eq!(
            first_bad_position_by_sql(&test, 0).await,
            Some(*first_bad),
            "{tampering}, by sql"
        );
        test.tamper(
            "truncate events; insert into events table kept;
                 truncate log_identity; insert into log_identity table kept_identity",
        )
        .await;
    }
    assert_eq!(
        test.log.verify(0).await.unwrap().position,
        8,
        "the log is whole again"
    );
    assert_eq!(first_bad_position_by_sql(&test, 0).await, None);
}

#[tokio::test]
async fn a_stretch_of_another_log_or_partition_does_not_fit_in() {
    let test = TestLog::with_partitions(2).await;
    commit(
        &mut test.writer_of(1).await,
        vec![new_event(product(1), 1, opened(1))],
    )
    .await;
    test.tamper("update events set partition = 0").await;
    let broken = test.log.verify(0).await;
    assert!(
        matches!(
            broken,
            Err(LogError::Broken {
                partition: 0,
                position: 1,
                ..
            })
        ),
        "{broken:?}"
    );
}
