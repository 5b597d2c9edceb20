//! Large parts of the log are read fast, and nothing reads differently for it.

use crate::by_hand::{ByHand, failed_in_the_old_shape};
use crate::support::*;
use domain::{InvestId, ProductEvent};
use event_log::{LogError, Metadata, NewEvent};
use uuid::Uuid;

/// Everything a payload may be: all events, and text that JSON has to escape or need not.
fn all_kinds() -> Vec<NewEvent> {
    let longest = "\u{1f9e7}".repeat(500);
    let titles = [
        "plain",
        r#"a "quoted" title"#,
        r"back\slash, \n, \u0041 and \\u0000 as plain text",
        "\u{1f9e7}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} emoji, joined",
        "한국어 상품",
        "\u{fffe}\u{10ffff} last of the planes",
        "\"}}",
        &longest,
    ];
    let titled = titles
        .into_iter()
        .zip(10..)
        .map(|(title, id)| new_event(product(id), 1, opened_as(id, title)));
    let failed = ProductEvent::InvestFailed {
        invest_id: InvestId(Uuid::now_v7()),
        user_id: user("A-user_1.x"),
        amount: won(domain::MAX_AMOUNT),
        code: "NO_MONEY".into(),
        detail: "\"카드\" was refused \\ \u{1f4b8}".into(),
    };
    let mut traced = new_event(product(1), 5, ProductEvent::ProductClosed {});
    traced.metadata = Metadata {
        correlation_id: "\u{1f4e8} \"\\ \u{1}".into(),
        causation_id: Some(String::new()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        actor: Some("ann".into()),
        actor_role: Some("OPERATOR".into()),
    };
    titled
        .chain([
            new_event(product(1), 1, opened(1)),
            new_event(product(1), 2, reserved(1, 1)),
            new_event(product(1), 3, settled(1, 1)),
            new_event(product(1), 4, failed),
            traced,
            new_event(
                product(i64::MAX),
                i64::MAX,
                reserved(i64::MAX, domain::MAX_AMOUNT),
            ),
        ])
        .collect()
}

/// An event that is good but not written as the log writes it: by hand, or by another release.
fn written_otherwise(payload: &str, metadata: &str) -> ByHand {
    let (payload, metadata) = (payload.into(), metadata.into());
    ByHand {
        event_type: "InvestSettled",
        event_version: "1.0.0",
        payload,
        metadata,
    }
}

const ID: &str = "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001";

#[tokio::test]
async fn what_is_read_in_bulk_is_what_is_read() {
    let test = TestLog::with_one_partition().await;
    commit(&mut test.writer().await, all_kinds()).await;
    failed_in_the_old_shape(invest(2), 1, "NO_MONEY : the \"card\" was refused")
        .write(&test)
        .await;
    failed_in_the_old_shape(invest(3), 1, "NO_MONEY")
        .write(&test)
        .await;
    let (plain, upper) = (ID, ID.to_uppercase());
    for (payload, metadata) in [
        (
            format!(r#"{{"InvestSettled":{{"investId":"{upper}","userId":"u","amount":7}}}}"#),
            r#"{"correlationId":"c"}"#,
        ),
        (
            format!(r#"{{"InvestSettled":{{"userId":"u","investId":"{plain}","amount":7}}}}"#),
            r#"{"correlationId":"c"}"#,
        ),
        (
            format!(
                r#" {{ "InvestSettled" : {{ "investId": "{plain}", "userId": "\u0075", "amount": 7, "more": [1] }} }} "#
            ),
            r#"{"tenant":"t","traceparent":"t","correlationId":"c","causationId":"\u0063"}"#,
        ),
    ] {
        written_otherwise(&payload, metadata).write(&test).await;
    }
    let all = test.events().await;
    assert_eq!(
        test.log
            .bulk()
            .await
            .unwrap()
            .read(0, 0, all.len() as i64)
            .await
            .unwrap(),
        all
    );
}

#[tokio::test]
async fn a_range_is_read_whole_of_its_partition_alone() {
    let test = TestLog::with_partitions(2).await;
    let stream = |id| {
        (1..=5)
            .map(move |sequence| new_event(product(id), sequence, reserved(sequence, 1)))
            .collect()
    };
    commit(&mut test.writer_of(0).await, stream(2)).await;
    let odd = commit(&mut test.writer_of(1).await, stream(1)).await;
    let mut reader = test.log.bulk().await.unwrap();
    assert_eq!(reader.read(1, 0, 5).await.unwrap(), odd);
    assert_eq!(reader.read(1, 1, 4).await.unwrap(), odd[1..4]);
    assert_eq!(reader.read(1, 4, 4).await.unwrap(), []);
    assert_eq!(reader.read(1, 4, 2).await.unwrap(), []);
    assert_eq!(positions(&reader.read(0, 4, 5).await.unwrap()), [5]);
}

#[tokio::test]
async fn a_hole_is_named_after_what_comes_before_it() {
    let test = TestLog::with_events(5).await;
    test.tamper("delete from events where position = 3").await;
    let mut reader = test.log.bulk().await.unwrap();
    assert_eq!(positions(&reader.read(0, 0, 5).await.unwrap()), [1, 2]);
    assert_eq!(
        broken(reader.read(0, 2, 5).await),
        (3, "there is a hole".into())
    );
    assert_eq!(positions(&reader.read(0, 3, 5).await.unwrap()), [4, 5]);
}

#[tokio::test]
async fn a_missing_tail_is_a_hole() {
    let test = TestLog::with_events(2).await;
    let mut reader = test.log.bulk().await.unwrap();
    assert_eq!(positions(&reader.read(0, 0, 9).await.unwrap()), [1, 2]);
    assert_eq!(
        broken(reader.read(0, 2, 9).await),
        (3, "there is a hole".into())
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named_after_what_comes_before_it() {
    let test = TestLog::with_events(2).await;
    let good = r#"{"correlationId":"c"}"#;
    for (payload, metadata) in [
        (
            format!(r#"{{"InvestSettled":{{"investId":"{ID}","userId":"u","amount":0}}}}"#),
            good,
        ),
        (
            format!(r#"{{"InvestSettled":{{"investId":"{ID}","userId":"u v","amount":1}}}}"#),
            good,
        ),
        (
            format!(
                r#"{{"InvestSettled":{{"investId":"{}","userId":"u","amount":1}}}}"#,
                &ID[1..]
            ),
            good,
        ),
        (
            format!(r#"{{"InvestSettled":{{"investId":"{ID}","userId":"u","amount":01}}}}"#)
                .replace("01}", "1.5}"),
            good,
        ),
        (
            format!(
                r#"{{"InvestSettled":{{"investId":"{ID}","userId":"u","amount":1,"amount":1}}}}"#
            ),
            good,
        ),
        (
            format!(
                r#"{{"InvestSettled":{{"investId":"{ID}","userId":"u","amount":1}},"ProductClosed":{{}}}}"#
            ),
            good,
        ),
        (r#"{"NeverHeardOf":{}}"#.into(), good),
        (
            format!(r#"{{"InvestSettled":{{"investId":"{ID}","userId":"u","amount":1}}}}"#),
            "{}",
        ),
    ] {
        let position = written_otherwise(&payload, metadata).write(&test).await;
        let mut reader = test.log.bulk().await.unwrap();
        let before = positions(
            &reader
                .read(0, position - 2, position)
                .await
                .unwrap_or_default(),
        );
        assert_eq!(
            before.last().copied().unwrap_or(position - 1),
            position - 1,
            "{payload}"
        );
        let (named, reason) = broken(reader.read(0, position - 1, position).await);
        let read = broken(test.log.read_after(0, position - 1, 1).await);
        assert_eq!((named, &reason), (position, &read.1), "{payload}");
        let id: Uuid = sqlx::query_scalar("select event_id from events where position = $1")
            .bind(position)
            .fetch_one(&test.pool)
            .await
            .unwrap();
        assert!(reason.starts_with(&format!("event {id}: its ")), "{reason}");
    }
}

#[tokio::test]
async fn a_read_that_was_given_up_leaves_nothing_behind() {
    let test = TestLog::with_events(5_000).await;
    let mut reader = test.log.bulk().await.unwrap();
    let mut given_up = 0;
    for polls in 0..40 {
        tokio::select! {
            biased;
            _ = reader.read(0, 0, 5_000) => {}
            () = rounds(polls) => given_up += 1,
        }
        assert_eq!(positions(&reader.read(0, 10, 12).await.unwrap()), [11, 12]);
        assert_eq!(test.log.heads().await.unwrap(), [5_000]);
    }
    assert!(given_up > 0);
}

/// Is done when it was polled once more than `polls` times.
async fn rounds(polls: u32) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reader_whose_connection_was_lost_takes_another() {
    let test = TestLog::with_events(3).await;
    let mut reader = test.log.bulk().await.unwrap();
    test.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'",
    )
    .await;
    assert!(matches!(
        reader.read(0, 0, 3).await,
        Err(LogError::Unavailable(_))
    ));
    assert_eq!(positions(&reader.read(0, 0, 3).await.unwrap()), [1, 2, 3]);
}

fn broken<T: std::fmt::Debug>(read: Result<T, LogError>) -> (i64, String) {
    match read {
        Err(LogError::Broken {
            partition: 0,
            position,
            reason,
        }) => (position, reason),
        other => panic!("it should be broken, but: {other:?}"),
    }
}
