//! Where the log stood at a time, and some events of a range.

use crate::support::*;
use chrono::{DateTime, TimeDelta, Utc};
use event_log::{LogError, Position};

fn second(n: i64) -> DateTime<Utc> {
    at("2026-03-01T00:00:00Z") + TimeDelta::seconds(n)
}

/// Two partitions: product 2 in the first, with events at seconds 0, 0, 3, 5, 5, 5; product 1 in the second, at 4.
async fn two_partitions() -> TestLog {
    let test = TestLog::with_partitions(2).await;
    let mut writer = test.writer_of(0).await;
    for (sequence, second_of) in (1..).zip([0, 0, 3, 5, 5, 5]) {
        let event = if sequence == 1 {
            opened(2)
        } else {
            reserved(sequence, sequence)
        };
        writer
            .append(
                batch(vec![new_event(product(2), sequence, event)]),
                second(second_of),
            )
            .await
            .unwrap();
    }
    let opens = batch(vec![new_event(product(1), 1, opened(1))]);
    test.writer_of(1)
        .await
        .append(opens, second(4))
        .await
        .unwrap();
    test
}

#[tokio::test]
async fn every_time_has_its_positions() {
    let test = two_partitions().await;
    for (time, positions) in [
        (-1, [0, 0]),
        (0, [2, 0]),
        (2, [2, 0]),
        (3, [3, 0]),
        (4, [3, 1]),
        (5, [6, 1]),
        (9_999, [6, 1]),
    ] {
        assert_eq!(
            test.log.positions_at(second(time)).await.unwrap(),
            positions,
            "at {time}"
        );
    }
    let just_before = second(5) - TimeDelta::microseconds(1);
    assert_eq!(test.log.positions_at(just_before).await.unwrap(), [3, 1]);
}

#[tokio::test]
async fn an_empty_log_stands_at_its_beginning() {
    let test = TestLog::with_partitions(3).await;
    assert_eq!(test.log.positions_at(second(0)).await.unwrap(), [0, 0, 0]);
}

/// As any number of events, against a look at each.
#[tokio::test]
async fn it_is_found_in_logs_of_every_length() {
    let (test, mut writer) = with_writer(0).await;
    for sequence in 1..=40 {
        let event = if sequence == 1 {
            opened(1)
        } else {
            reserved(sequence, 1)
        };
        writer
            .append(
                batch(vec![new_event(product(1), sequence, event)]),
                second(sequence / 3),
            )
            .await
            .unwrap();
        for time in -1..=sequence / 3 + 1 {
            let expected = (1..=sequence)
                .filter(|it| it / 3 <= time)
                .max()
                .unwrap_or(0);
            assert_eq!(
                test.log.positions_at(second(time)).await.unwrap(),
                [expected],
                "{sequence} events, at {time}"
            );
        }
    }
}

#[tokio::test]
async fn a_hole_is_named() {
    let test = two_partitions().await;
    test.tamper("delete from events where partition = 0 and position = 3")
        .await;
    let found = test.log.positions_at(second(2)).await;
    assert!(
        matches!(
            found,
            Err(LogError::Broken {
                partition: 0,
                position: 3,
                ..
            })
        ),
        "{found:?}"
    );
}

#[tokio::test]
async fn only_what_is_wanted_of_a_range_is_read() {
    let (test, mut writer) = with_writer(0).await;
    let mut events = vec![
        new_event(product(1), 1, opened(1)),
        new_event(product(2), 1, opened(2)),
    ];
    events.extend((2..=9).map(|sequence| new_event(product(1), sequence, reserved(sequence, 1))));
    events.extend(
        (2..=5).map(|sequence| new_event(product(2), sequence, reserved(100 + sequence, 1))),
    );
    writer.append(batch(events), second(0)).await.unwrap();
    let mut reader = test.log.bulk().await.unwrap();
    let all = (0, 100);

    let of_two = reader.streams(0, all, &[product(2)]).await.unwrap();
    assert_eq!(
        of_two
            .iter()
            .map(|it| (it.position, it.sequence))
            .collect::<Vec<_>>(),
        [(2, 1), (11, 2), (12, 3), (13, 4), (14, 5)]
    );
    assert_eq!(
        reader.streams(0, (2, 12), &[product(2)]).await.unwrap(),
        of_two[1..3]
    );
    assert_eq!(
        reader
            .streams(0, all, &[product(1), product(2)])
            .await
            .unwrap(),
        test.events().await
    );
    assert_eq!(reader.streams(0, all, &[]).await.unwrap(), []);
    let beginnings: Vec<Position> = reader
        .beginnings(0, all)
        .await
        .unwrap()
        .iter()
        .map(|it| it.position)
        .collect();
    assert_eq!(beginnings, [1, 2]);
    let found = reader.of_invest(0, all, invest(103).0).await.unwrap();
    assert_eq!(found, of_two[2..3]);
    assert_eq!(reader.products_of(0, all, "user1").await.unwrap().len(), 2);
    assert_eq!(
        reader.products_of(0, (0, 9), "user1").await.unwrap(),
        [product(1)]
    );
    assert_eq!(
        reader.products_of(0, all, "user").await.unwrap(),
        [],
        "it is another's name that begins so"
    );
}

/// A payload may be written in another way than ours.
#[tokio::test]
async fn what_json_escapes_is_found_too() {
    let test = TestLog::with_events(3).await;
    test.tamper(
        r#"update events set payload = replace(payload::text, '"user1"', '"us\u0065r1"')::json where position = 3"#,
    )
    .await;
    let mut reader = test.log.bulk().await.unwrap();
    assert_eq!(
        reader.products_of(0, (2, 3), "user1").await.unwrap(),
        [product(1)]
    );
    test.tamper(
        r#"update events set payload = replace(payload::text, '00000000-', '0000\u0030000-')::json where position = 3"#,
    )
    .await;
    assert_eq!(
        reader
            .of_invest(0, (0, 3), invest(3).0)
            .await
            .unwrap()
            .len(),
        1
    );
}
