//! A stored event comes back from a batch byte for byte, whatever is in it.

use broker::cloud_events::{MAX_EVENTS_PER_MESSAGE, TARGET_MESSAGE_BYTES, decode, encode};
use chrono::{DateTime, Utc};
use event_log::{Fork, Forks, RawEvent};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const LOG_ID: Uuid = Uuid::from_u128(0x0199_1f5e_7c3a_7b60_9a52_3f0f_6ed1_a001);

fn event(position: i64, payload: &str) -> RawEvent {
    RawEvent {
        aggregate_type: "product".into(),
        aggregate_id: "7".into(),
        sequence: position,
        event_type: "InvestSettled".into(),
        event_version: "1.0.0".into(),
        payload: payload.into(),
        metadata: r#"{"correlationId":"a request","traceparent":"00-1-2-01"}"#.into(),
        partition: 3,
        position,
        event_id: Uuid::from_u128(9),
        recorded_at: "2026-03-01T03:00:00.120400Z".parse().unwrap(),
        hash: [0xa5; 32],
    }
}

fn there_and_back(events: &[RawEvent]) -> Vec<RawEvent> {
    let (body, written) = encode(LOG_ID, &Forks::default(), events).unwrap();
    assert_eq!(written, events.len());
    decode(LOG_ID, &body).unwrap()
}

#[test]
fn an_event_reads_as_the_document_says() {
    let (body, _) = encode(
        LOG_ID,
        &Forks::default(),
        &[event(5, r#"{"InvestSettled":{"amount":10}}"#)],
    )
    .unwrap();
    let batch: Value = serde_json::from_slice(&body).unwrap();
    let expected = json!([{
        "specversion": "1.0",
        "id": "00000000-0000-0000-0000-000000000009",
        "source": "/moa/01991f5e-7c3a-7b60-9a52-3f0f6ed1a001",
        "type": "InvestSettled",
        "subject": "7",
        "time": "2026-03-01T03:00:00.120400Z",
        "datacontenttype": "application/json",
        "partition": 3,
        "position": "5",
        "sequence": "5",
        "dataversion": "1.0.0",
        "correlationid": "a request",
        "traceparent": "00-1-2-01",
        "metadata": r#"{"correlationId":"a request","traceparent":"00-1-2-01"}"#,
        "hash": "a5".repeat(32),
        "data": {"InvestSettled": {"amount": 10}},
    }]);
    assert_eq!(batch, expected);
}

#[test]
fn payloads_come_back_as_they_were_stored() {
    for payload in [
        r#"{"InvestFailed":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"user1","amount":10,"reason":"EXPIRED : x"}}"#,
        "{ \"a\" :\t[ 1 ,\n2 ] }",
        "  {\"spaces\": \"around\"}\n",
        r#"{"twice":1,"twice":2}"#,
        r#"{"escaped":"\u00e9\/\ud83d\ude00","plain":"é/😀"}"#,
        r#"{"number":1.0,"another":1e400,"third":-0,"long":123456789012345678901234567890}"#,
        "null",
        "no JSON at all",
        "",
    ] {
        let events = [event(1, payload)];
        assert_eq!(there_and_back(&events), events, "{payload}");
    }
}

prop_compose! {
    fn any_event()(
        texts in (".*", ".*", ".*", ".*", any_payload()),
        numbers in (1..=1_i64 << 62, 1..=1_i64 << 62, any::<i32>()),
        id in any::<u128>(),
        micros in 0..=253_402_300_799_999_999_i64,
        hash in any::<[u8; 32]>(),
    ) -> RawEvent {
        let (aggregate_id, event_type, event_version, metadata, payload) = texts;
        let (sequence, position, partition) = numbers;
        let recorded_at = DateTime::<Utc>::from_timestamp_micros(micros).unwrap();
        let event_id = Uuid::from_u128(id);
        RawEvent {
            aggregate_type: "product".into(), aggregate_id, sequence, event_type, event_version, payload, metadata,
            partition, position, event_id, recorded_at, hash,
        }
    }
}

/// JSON with odd texts and spaces in odd places, or anything else.
fn any_payload() -> impl Strategy<Value = String> {
    let spaces = || "[ \t\n\r]{0,3}";
    let json = (spaces(), ".*", spaces(), any::<f64>(), spaces()).prop_map(
        |(before, text, between, number, after)| {
            let text = serde_json::to_string(&text).unwrap();
            format!("{before}{{{text}{between}:{between}[{number:?},{text}]}}{after}")
        },
    );
    prop_oneof![3 => json, 1 => ".*"]
}

proptest! {
    #[test]
    fn any_event_comes_back_as_it_was_stored(events in prop::collection::vec(any_event(), 1..4)) {
        prop_assert_eq!(there_and_back(&events), events);
    }

    #[test]
    fn no_body_whatever_is_more_than_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(LOG_ID, &body).is_err());
    }
}

#[test]
fn a_batch_is_bounded_in_events_and_bytes_and_takes_one_at_least() {
    let small: Vec<_> = (1..=1_000).map(|position| event(position, "{}")).collect();
    let (_, written) = encode(LOG_ID, &Forks::default(), &small).unwrap();
    assert_eq!(written, MAX_EVENTS_PER_MESSAGE);

    let kibibyte = format!(r#"{{"x":"{}"}}"#, "x".repeat(10_240));
    let large: Vec<_> = (1..=100)
        .map(|position| event(position, &kibibyte))
        .collect();
    let (body, written) = encode(LOG_ID, &Forks::default(), &large).unwrap();
    assert!(
        body.len() >= TARGET_MESSAGE_BYTES && body.len() < TARGET_MESSAGE_BYTES + 12_000,
        "{}",
        body.len()
    );
    assert_eq!(decode(LOG_ID, &body).unwrap(), large[..written]);

    let huge = [event(
        1,
        &format!(r#"{{"x":"{}"}}"#, "x".repeat(2 * TARGET_MESSAGE_BYTES)),
    )];
    assert_eq!(there_and_back(&huge), huge);
    assert_eq!(encode(LOG_ID, &Forks::default(), &[]).unwrap().1, 0);
}

#[test]
fn what_is_no_batch_of_this_log_is_refused_with_a_reason() {
    let (body, _) = encode(LOG_ID, &Forks::default(), &[event(5, "{}")]).unwrap();
    let good = String::from_utf8(body).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    for (reason, body) in [
        ("it is not a batch of our CloudEvents", "{".into()),
        ("it is not a batch of our CloudEvents", "{}".into()),
        ("it is not a batch of our CloudEvents", "[{}]".into()),
        (
            "it is not a batch of our CloudEvents",
            changed(r#""partition":3"#, r#""partition":3000000000"#),
        ),
        ("it holds no event", "[]".into()),
        (
            "CloudEvents 0.3 is not 1.0",
            changed(r#""specversion":"1.0""#, r#""specversion":"0.3""#),
        ),
        (
            "it is of another log",
            changed("/moa/01991f5e", "/moa/01991f5f"),
        ),
        (
            "its position is none",
            changed(r#""position":"5""#, r#""position":"0""#),
        ),
        (
            "its position is none",
            changed(r#""position":"5""#, r#""position":"9223372036854775807""#),
        ),
        (
            "its sequence is none",
            changed(r#""sequence":"5""#, r#""sequence":"five""#),
        ),
        (
            "its time is not one that we write",
            changed(".120400Z", ".120400001Z"),
        ),
        (
            "its time is not one that we write",
            changed(".120400Z", ".120400+00:00"),
        ),
        ("its hash is not 64", changed("a5a5a5\",", "a5a5A5\",")),
        ("its hash is not 64", changed("a5a5a5\",", "a5a5a\",")),
    ] {
        let said = decode(LOG_ID, body.as_bytes()).unwrap_err();
        assert!(said.starts_with(reason), "{said} instead of {reason}");
    }
}

/// A partner that has positions after `forkedat` of an earlier incarnation has what does not stand any more.
#[test]
fn an_event_after_a_loss_says_of_which_incarnation_it_is_and_where_that_began() {
    let forks = Forks::new(vec![Fork {
        incarnation: 1_764_400_000_123,
        heads: vec![0, 0, 0, 4],
    }]);
    let (body, _) = encode(LOG_ID, &forks, &[event(4, "{}"), event(5, "{}")]).unwrap();
    let batch: Value = serde_json::from_slice(&body).unwrap();
    let said = |at: usize| {
        (
            batch[at]["incarnation"].as_str(),
            batch[at]["forkedat"].as_str(),
        )
    };
    assert_eq!(
        (said(0), said(1)),
        ((None, None), (Some("1764400000123"), Some("4")))
    );
    assert_eq!(
        decode(LOG_ID, &body).unwrap(),
        [event(4, "{}"), event(5, "{}")]
    );
}

#[test]
fn attributes_that_are_not_known_are_passed_over() {
    let (body, _) = encode(LOG_ID, &Forks::default(), &[event(5, "{}")]).unwrap();
    let replayed = String::from_utf8(body)
        .unwrap()
        .replacen('{', r#"{"replayed":true,"#, 1);
    assert_eq!(
        decode(LOG_ID, replayed.as_bytes()).unwrap(),
        [event(5, "{}")]
    );
}
