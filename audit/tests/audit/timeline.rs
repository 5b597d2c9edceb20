//! The story of one invest: found in the log alone, told cause by cause.

mod checkpoint_history;

use crate::as_of::past::{Past, opened, requested_at, reserved};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{GiveBackReason, InvestId, ProductEvent};
use event_log::{Metadata, RecordedEvent};
use serde_json::{Value, json};
use testbed::events::{failed_by, settled_by};
use testbed::values::{user, won};
use uuid::Uuid;

/// Product 2 is opened; choi's request for 7 comes, and is reserved 15 ms later.
async fn reserve() -> (Past, RecordedEvent, InvestId) {
    let mut past = Past::with_partitions(2, 1).await;
    past.append(2, opened(2)).await;
    past.passes(TimeDelta::seconds(1));
    let id = InvestId(requested_at(past.now()));
    past.passes(TimeDelta::milliseconds(15));
    let metadata = Metadata {
        correlation_id: "request-1".into(),
        causation_id: None,
        traceparent: Some("00-trace".into()),
        ..Metadata::default()
    };
    let reservation = past.append_with(2, reserved(id, "choi", 7), metadata).await;
    (past, reservation, id)
}

async fn end(past: &mut Past, reservation: &RecordedEvent, fate: ProductEvent) -> RecordedEvent {
    past.passes(TimeDelta::milliseconds(285));
    let causation_id = Some(reservation.event_id.to_string());
    past.append_with(
        2,
        fate,
        Metadata {
            causation_id,
            ..reservation.metadata.clone()
        },
    )
    .await
}

async fn story(past: &Past, id: InvestId) -> Value {
    past.audit(&format!("invest/{id}")).await
}

/// The steps, of the consumers those of these read models.
fn steps(story: &Value) -> Vec<Value> {
    let models = ["holdings", "invest_log", "investor_summary", "product_list"]
        .map(|it| format!("consumer {it}"));
    let ours = |step: &&Value| {
        let actor = step["actor"].as_str().unwrap();
        !actor.starts_with("consumer") || models.iter().any(|model| model == actor)
    };
    story["data"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(ours)
        .cloned()
        .collect()
}

/// `depth`, `what` and `actor` of each step.
fn outline(story: &Value) -> Vec<String> {
    let steps = steps(story);
    let line = |step: &Value| {
        format!(
            "{} {} {}",
            step["depth"],
            step["what"].as_str().unwrap(),
            step["actor"].as_str().unwrap()
        )
    };
    steps.iter().map(line).collect()
}

#[tokio::test]
async fn a_settled_invest_is_told_from_its_request_to_who_applied_it() {
    let (mut past, reservation, id) = reserve().await;
    let fate = end(&mut past, &reservation, settled_by("choi", id, 7)).await;
    let at = |ms: i64| reservation.recorded_at + TimeDelta::milliseconds(ms);
    // holdings is past both; invest_log came past the reservation between two looks; the others have not begun.
    stands(&past, "holdings", 3, at(900)).await;
    stands(&past, "invest_log", 2, at(900)).await;
    came(&past, "invest_log", 1, at(-500)).await;
    came(&past, "invest_log", 2, at(400)).await;
    came(&past, "holdings", 1, at(10)).await;
    came(&past, "holdings", 2, at(20)).await;
    came(&past, "holdings", 3, at(700)).await;
    past.execute(&format!(
        "insert into payment_calls (invest_id, asked_at, call, answer, detail, took_ms, attempt) values
         ('{id}', '{}', 'LOOK', 'PAID', null, 4, 1), ('{id}', '{}', 'PAY', 'PENDING', 'wait', 200, 0)",
        at(260).to_rfc3339(),
        at(30).to_rfc3339()
    ))
    .await;
    let story = story(&past, id).await;
    let data = &story["data"];
    let time = |at: DateTime<Utc>| past.time.format(at);
    assert_eq!(
        outline(&story),
        [
            "0 REQUESTED user choi",
            "1 RESERVED user choi",
            "2 APPLIED consumer holdings",
            "2 APPLIED consumer invest_log",
            "2 NOT_APPLIED consumer investor_summary",
            "2 NOT_APPLIED consumer product_list",
            "2 PAYMENT_CALL payment provider",
            "2 PAYMENT_CALL payment provider",
            "2 SETTLED settlement",
            "3 APPLIED consumer holdings",
            "3 NOT_APPLIED consumer invest_log",
            "3 NOT_APPLIED consumer investor_summary",
            "3 NOT_APPLIED consumer product_list",
        ]
    );
    let head = json!({"investId": id.to_string(), "productId": 2, "userId": "choi", "amount": 7, "state": "SETTLED",
                      "correlationId": "request-1", "traceparent": "00-trace"});
    for (field, value) in head.as_object().unwrap() {
        assert_eq!(&data[field], value);
    }
    let steps = steps(&story);
    let step = |n: usize| &steps[n];
    let requested = time(reservation.recorded_at - TimeDelta::milliseconds(15));
    assert_eq!(
        (&step(0)["at"], &step(0)["details"]["amount"]),
        (&json!(requested), &json!(7))
    );
    assert_eq!(
        *step(1),
        json!({"what": "RESERVED", "at": time(reservation.recorded_at), "actor": "user choi",
               "correlationId": "request-1", "causationId": null, "depth": 1,
               "details": {"eventId": reservation.event_id.to_string(), "event": "InvestReserved", "productId": 2,
                           "sequence": 2, "partition": 0, "position": 2, "expiresAt": step(1)["details"]["expiresAt"]}})
    );
    // Between two looks; and not before the event was there.
    assert_eq!(
        step(2)["details"],
        json!({"event": "InvestReserved", "position": 2, "appliedAfter": time(at(10)), "appliedBefore": time(at(20))})
    );
    assert_eq!(
        step(3)["details"]["appliedAfter"],
        time(reservation.recorded_at)
    );
    assert_eq!(step(3)["details"]["appliedBefore"], time(at(400)));
    assert_eq!(
        (&step(4)["at"], &step(4)["details"]["appliedAfter"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        step(6)["details"],
        json!({"askedBy": "settlement", "call": "PAY", "answer": "PENDING", "detail": "wait",
                                          "tookMs": 200, "attempt": 0})
    );
    assert_eq!(
        (&step(7)["details"]["call"], &step(7)["at"]),
        (&json!("LOOK"), &json!(time(at(260))))
    );
    assert_eq!(step(8)["causationId"], reservation.event_id.to_string());
    assert_eq!(step(9)["causationId"], fate.event_id.to_string());
    assert_eq!(step(9)["details"]["appliedBefore"], time(at(700)));
    assert_eq!(data["notes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_one_says_why() {
    let (mut past, reservation, id) = reserve().await;
    end(&mut past, &reservation, failed_by("choi", id, 7)).await;
    let story = story(&past, id).await;
    let fate = story["data"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["what"] == "FAILED")
        .unwrap();
    assert_eq!(
        (&fate["details"]["code"], &fate["details"]["detail"]),
        (&json!("DECLINED"), &json!("no funds"))
    );
    assert_eq!(story["data"]["state"], "FAILED");
    assert!(
        story["data"]["notes"][1]
            .as_str()
            .unwrap()
            .starts_with("no payment call is written down")
    );
}

#[tokio::test]
async fn what_is_given_back_is_told_to_its_refund() {
    let (mut past, reservation, id) = reserve().await;
    let settled = end(&mut past, &reservation, settled_by("choi", id, 7)).await;
    let (user_id, amount) = (user("choi"), won(7));
    past.passes(TimeDelta::days(3));
    let event = ProductEvent::InvestWithdrawn {
        invest_id: id,
        user_id: user_id.clone(),
        amount,
        settled: true,
    };
    let metadata = Metadata {
        correlation_id: "request-2".into(),
        ..Metadata::default()
    };
    let withdrawal = past.append_with(2, event, metadata).await;
    let told = story(&past, id).await;
    assert_eq!(told["data"]["state"], "WITHDRAWN", "{told}");
    let code = GiveBackReason::Withdrawn.code().into();
    let event = ProductEvent::InvestRefunded {
        invest_id: id,
        user_id,
        amount,
        code,
    };
    let refund = end(&mut past, &withdrawal, event).await;
    let told = story(&past, id).await;
    assert_eq!(told["data"]["state"], "REFUNDED", "{told}");
    let ours = |line: &String| !line.contains("consumer");
    assert_eq!(
        outline(&told).into_iter().filter(ours).collect::<Vec<_>>(),
        [
            "0 REQUESTED user choi",
            "1 RESERVED user choi",
            "2 SETTLED settlement",
            "1 WITHDRAWN user choi",
            "2 REFUNDED settlement"
        ]
    );
    let steps = steps(&told);
    let step = |what: &str| steps.iter().find(|step| step["what"] == what).unwrap();
    let id_of = |what: &str| step(what)["details"]["eventId"].clone();
    let ids = [&settled, &withdrawal, &refund].map(|event| json!(event.event_id.to_string()));
    assert_eq!(
        [id_of("SETTLED"), id_of("WITHDRAWN"), id_of("REFUNDED")],
        ids
    );
    assert_eq!(
        (
            &step("WITHDRAWN")["correlationId"],
            &step("WITHDRAWN")["details"]["wasSettled"]
        ),
        (&json!("request-2"), &json!(true))
    );
    assert_eq!(step("REFUNDED")["causationId"], ids[1]);
    let why = ["code", "detail"].map(|field| step("REFUNDED")["details"][field].clone());
    assert_eq!(
        why,
        [json!("WITHDRAWN"), json!("the user withdrew the invest")]
    );
}

#[tokio::test]
async fn an_open_one_ends_with_its_reservation() {
    let (past, _, id) = reserve().await;
    let story = story(&past, id).await;
    assert_eq!(story["data"]["state"], "RESERVED");
    assert!(
        outline(&story)
            .iter()
            .all(|line| !line.starts_with('3') && !line.contains("SETTLED")),
        "{story}"
    );
}

/// Whatever its id says, and with no read model at all.
#[tokio::test]
async fn every_invest_of_a_log_is_found() {
    let mut past = Past::with_partitions(3, 4).await;
    past.happens(150).await;
    let mut found = 0;
    for event in &past.events {
        let ProductEvent::InvestReserved {
            invest_id,
            user_id,
            amount,
            ..
        } = &event.event
        else {
            continue;
        };
        let changes = past.events.iter().filter_map(|other| match &other.event {
            ProductEvent::InvestSettled { invest_id: id, .. } if id == invest_id => {
                Some(("SETTLED", other))
            }
            ProductEvent::InvestFailed { invest_id: id, .. } if id == invest_id => {
                Some(("FAILED", other))
            }
            ProductEvent::InvestWithdrawn { invest_id: id, .. } if id == invest_id => {
                Some(("WITHDRAWN", other))
            }
            ProductEvent::InvestRefunded { invest_id: id, .. } if id == invest_id => {
                Some(("REFUNDED", other))
            }
            _ => None,
        });
        let changes: Vec<_> = changes.collect();
        let story = story(&past, *invest_id).await;
        let data = &story["data"];
        assert_eq!(
            data["state"],
            changes.last().map_or("RESERVED", |(state, _)| state),
            "{story}"
        );
        assert_eq!(
            (&data["userId"], &data["amount"]),
            (&json!(user_id.as_str()), &json!(amount.won()))
        );
        let steps = data["steps"].as_array().unwrap();
        let of = |what: &str| {
            steps
                .iter()
                .find(|step| step["what"] == what)
                .map(|step| step["details"]["eventId"].clone())
        };
        assert_eq!(of("RESERVED"), Some(json!(event.event_id.to_string())));
        for (state, change) in changes {
            assert_eq!(
                of(state),
                Some(json!(change.event_id.to_string())),
                "{story}"
            );
        }
        found += 1;
    }
    assert!(found > 40, "{found}");
}

/// A read model that points elsewhere is not believed.
#[tokio::test]
async fn a_wrong_hint_is_only_a_hint() {
    let mut past = Past::with_partitions(1, 1).await;
    past.append(1, opened(1)).await;
    past.passes(TimeDelta::minutes(5));
    let id = InvestId(Uuid::new_v4());
    past.append(1, reserved(id, "kim", 3)).await;
    past.execute(&format!(
        "insert into invest_log values ('{id}', 1, 'lee', 9, 'SETTLED', null, null, 9, 9, '{}', now())",
        past.events[0].recorded_at.to_rfc3339()
    ))
    .await;
    let story = story(&past, id).await;
    assert_eq!(
        (&story["data"]["userId"], &story["data"]["state"]),
        (&json!("kim"), &json!("RESERVED"))
    );
}

#[tokio::test]
async fn what_was_never_reserved_has_no_story() {
    let (past, ..) = reserve().await;
    assert_eq!(story(&past, InvestId(Uuid::now_v7())).await["status"], 404);
    assert_eq!(story(&past, InvestId(Uuid::new_v4())).await["status"], 404);
    let answer = past.audit("invest/nonsense").await;
    assert_eq!(
        answer["message"],
        "Invalid value : investId must be a uuid, was nonsense"
    );
}

async fn stands(past: &Past, consumer: &str, position: i64, at: DateTime<Utc>) {
    past.execute(&format!(
        "insert into checkpoints (consumer, partition, position, moved_at)
         values ('{consumer}', 0, {position}, '{}')",
        at.to_rfc3339()
    ))
    .await;
}

async fn came(past: &Past, consumer: &str, position: i64, at: DateTime<Utc>) {
    past.execute(&format!(
        "insert into checkpoint_trail values ('{consumer}', 0, {position}, '{}')",
        at.to_rfc3339()
    ))
    .await;
}
