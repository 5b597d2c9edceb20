//! The checker can fail: each fault planted in a copy of sound evidence is named by its invariant.

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::{Event, Evidence, Fact};
use crate::harness::{Call, Outcome, TestApp, ask};

/// In order: `ann` gets 7 of 10, `bob` is refused 5, `cat` gets 3 with a key, and again the same answer.
async fn evidence() -> Evidence {
    let app = TestApp::open().await;
    let product = app.open_product("scarce", 10).await;
    assert!(app.invest(ask("ann", product, 7)).await.is_accepted());
    assert!(
        app.invest(ask("bob", product, 5))
            .await
            .is_refused("SOLD_OUT")
    );
    let of_cat = ask("cat", product, 3).with_key("k");
    assert!(app.invest(of_cat.clone()).await.is_accepted());
    assert!(app.invest(of_cat).await.replayed);
    Evidence::of(
        &app,
        &[product],
        &["ann".into(), "bob".into(), "cat".into()],
    )
    .await
}

fn call<'a>(evidence: &'a mut Evidence, user: &str) -> &'a mut Call {
    evidence
        .calls
        .iter_mut()
        .find(|call| call.ask.user == user)
        .unwrap()
}

fn place(evidence: &Evidence, of: impl Fn(&Fact) -> bool) -> usize {
    evidence
        .log
        .events
        .iter()
        .position(|event| of(&event.fact))
        .unwrap()
}

fn reserved_by(user: &str) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Reserved { user: of, .. } if of == user)
}

fn settled_by(user: &str) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Settled { user: of, .. } if of == user)
}

fn reservation<'a>(evidence: &'a mut Evidence, user: &str) -> &'a mut Event {
    let at = place(evidence, reserved_by(user));
    &mut evidence.log.events[at]
}

/// One more event at the end of the log, like the one at `like`.
fn append(evidence: &mut Evidence, like: usize, correlation: &str, fact: Fact) {
    let last = evidence
        .log
        .events
        .iter()
        .rfind(|it| it.product == evidence.log.events[like].product);
    let last = last.unwrap().clone();
    let (position, sequence) = (last.position + 1, last.sequence + 1);
    evidence.log.events.push(Event {
        position,
        sequence,
        correlation: correlation.into(),
        fact,
        ..last
    });
}

/// The invest of `user` is withdrawn.
fn withdraw(evidence: &mut Evidence, user: &str, amount: i64, settled: bool) {
    let (at, invest) = invest_of(evidence, user);
    append(
        evidence,
        at,
        "nobody",
        Fact::Withdrawn {
            invest,
            user: user.into(),
            amount,
            settled,
        },
    );
}

fn refund(evidence: &mut Evidence, user: &str) {
    let (at, invest) = invest_of(evidence, user);
    let Fact::Reserved { amount, .. } = evidence.log.events[at].fact else {
        unreachable!()
    };
    let code = "WITHDRAWN".into();
    append(
        evidence,
        at,
        "settlement",
        Fact::Refunded {
            invest,
            user: user.into(),
            amount,
            code,
        },
    );
}

/// The holding of `user` is refunded because its product ended.
fn refund_holding(evidence: &mut Evidence, user: &str, amount: i64) {
    let (at, invest) = invest_of(evidence, user);
    let code = "CANCELLED".into();
    append(
        evidence,
        at,
        "settlement",
        Fact::Refunded {
            invest,
            user: user.into(),
            amount,
            code,
        },
    );
}

fn cancel(evidence: &mut Evidence) {
    let (at, _) = invest_of(evidence, "ann");
    append(
        evidence,
        at,
        "the operator",
        Fact::Cancelled {
            reason: "frost".into(),
        },
    );
}

fn miss(evidence: &mut Evidence, target: i64, reached: i64) {
    let (at, _) = invest_of(evidence, "ann");
    append(evidence, at, "settlement", Fact::Missed { target, reached });
}

/// The same log, of a product whose window is over.
fn finish(evidence: &mut Evidence) {
    for event in &mut evidence.log.events {
        event.recorded_at -= TimeDelta::hours(1);
        if let Fact::Opened { finished_at, .. } = &mut event.fact {
            *finished_at = event.recorded_at;
        }
    }
}

/// Where the invest of `user` was reserved, and its id.
fn invest_of(evidence: &Evidence, user: &str) -> (usize, Uuid) {
    let at = place(evidence, reserved_by(user));
    let Fact::Reserved { invest, .. } = evidence.log.events[at].fact else {
        unreachable!()
    };
    (at, invest)
}

fn refuse(evidence: &mut Evidence, user: &str, amount: i64, remaining: Option<i64>) {
    // As of `bob`, who asked when `ann` had her answer and `cat` had not asked.
    let mut refused = call(evidence, "bob").clone();
    refused.ask = ask(user, refused.ask.product, amount);
    refused.correlation = format!("of {user}");
    refused.outcome = Outcome::Refused {
        code: "SOLD_OUT".into(),
        remaining,
    };
    evidence.calls.push(refused);
}

/// The same log, of a product that was opened with these terms.
fn set_terms(evidence: &mut Evidence, given: Value) {
    for event in &mut evidence.log.events {
        if let Fact::Opened { terms, .. } = &mut event.fact {
            *terms = given.clone();
        }
    }
}

type PlantedFault = fn(&mut Evidence);

const PLANTED_FAULTS: [(&str, &str, PlantedFault); 43] = [
    ("a reservation past the total", "I1", |it| {
        let Fact::Reserved { amount, .. } = &mut reservation(it, "cat").fact else {
            unreachable!()
        };
        *amount += 1;
    }),
    ("a failure that gives back what nobody took", "I1", |it| {
        let at = place(it, reserved_by("ann"));
        let (user, detail) = ("ann".into(), String::new());
        let fact = Fact::Failed {
            invest: Uuid::now_v7(),
            user,
            amount: 11,
            code: "EXPIRED".into(),
            detail,
        };
        append(it, at, "nobody", fact);
    }),
    ("an invest below the minimum", "I19", |it| {
        set_terms(it, json!({"minInvestAmount": 4}))
    }),
    ("an invest that is no multiple", "I19", |it| {
        set_terms(it, json!({"investAmountUnit": 2}))
    }),
    ("a user above the limit", "I19", |it| {
        set_terms(it, json!({"maxAmountPerUser": 6}))
    }),
    ("a second fate", "I2", |it| {
        let at = place(it, settled_by("ann"));
        let fact = it.log.events[at].fact.clone();
        append(it, at, "settlement", fact);
    }),
    ("a withdrawal of another amount", "I2", |it| {
        withdraw(it, "ann", 6, true);
        refund(it, "ann");
    }),
    (
        "a withdrawal as a reservation of what was settled",
        "I2",
        |it| {
            withdraw(it, "ann", 7, false);
            refund(it, "ann");
        },
    ),
    ("a withdrawal without a refund", "I2", |it| {
        withdraw(it, "ann", 7, true)
    }),
    ("a second withdrawal", "I2", |it| {
        withdraw(it, "ann", 7, true);
        withdraw(it, "ann", 7, true);
        refund(it, "ann");
        refund(it, "ann");
    }),
    ("a refund of what was not withdrawn", "I2", |it| {
        refund(it, "ann")
    }),
    (
        "a withdrawal that gives back what nobody took",
        "I1",
        |it| {
            withdraw(it, "ann", 11, true);
            refund(it, "ann");
        },
    ),
    ("a cancelled product with a holding", "I2", |it| {
        cancel(it);
        refund_holding(it, "ann", 7);
    }),
    (
        "a holding of a cancelled product, refunded twice",
        "I2",
        |it| {
            cancel(it);
            refund_holding(it, "ann", 7);
            refund_holding(it, "ann", 7);
            refund_holding(it, "cat", 3);
        },
    ),
    ("a refund of another amount", "I2", |it| {
        cancel(it);
        refund_holding(it, "ann", 6);
        refund_holding(it, "cat", 3);
    }),
    ("a refund in a product that stands", "I2", |it| {
        refund_holding(it, "ann", 7)
    }),
    ("an invest in a cancelled product", "I20", |it| {
        cancel(it);
        let at = place(it, reserved_by("ann"));
        append(
            it,
            at,
            "eve",
            Fact::Reserved {
                invest: Uuid::now_v7(),
                user: "eve".into(),
                amount: 1,
            },
        );
    }),
    ("a withdrawal in a cancelled product", "I20", |it| {
        cancel(it);
        withdraw(it, "ann", 7, true);
    }),
    ("a product that ends twice", "I20", |it| {
        cancel(it);
        cancel(it);
    }),
    ("a failure without a target", "I20", |it| miss(it, 11, 10)),
    ("a missed target without a failure", "I20", |it| {
        set_terms(it, json!({"targetAmount": 11}));
        finish(it);
    }),
    ("no fate", "I2", |it| {
        let at = place(it, settled_by("cat"));
        it.log.events.remove(at);
    }),
    ("the fate of another amount", "I2", |it| {
        let at = place(it, settled_by("cat"));
        let Fact::Settled { amount, .. } = &mut it.log.events[at].fact else {
            unreachable!()
        };
        *amount -= 1;
    }),
    ("an acceptance that is not in the log", "I3", |it| {
        call(it, "bob").outcome = Outcome::Accepted {
            invest_id: Uuid::now_v7(),
        };
    }),
    ("an acceptance of another amount", "I3", |it| {
        call(it, "ann").ask.amount = 6
    }),
    ("an acceptance of another user", "I3", |it| {
        call(it, "ann").ask.user = "eve".into()
    }),
    ("a reservation that nobody asked for", "I4", |it| {
        reservation(it, "ann").correlation = "nobody".into()
    }),
    ("a reservation of a refused request", "I4", |it| {
        let of_bob = call(it, "bob").correlation.clone();
        reservation(it, "ann").correlation = of_bob;
    }),
    (
        "a reservation of a request that was told overloaded",
        "I4",
        |it| {
            call(it, "ann").outcome = Outcome::Refused {
                code: "OVERLOADED".into(),
                remaining: None,
            };
        },
    ),
    ("two reservations from one request", "I4", |it| {
        let at = place(it, reserved_by("ann"));
        let of_ann = it.log.events[at].correlation.clone();
        call(it, "ann").outcome = Outcome::Unknown("reset".into());
        append(
            it,
            at,
            &of_ann,
            Fact::Reserved {
                invest: Uuid::now_v7(),
                user: "ann".into(),
                amount: 7,
            },
        );
    }),
    ("sold out while the amount remained", "I5", |it| {
        refuse(it, "dan", 3, None)
    }),
    ("sold out with a remainder that never was", "I5", |it| {
        refuse(it, "dan", 5, Some(2))
    }),
    ("a later request that came first", "I6", |it| {
        let (ann, cat) = (call(it, "ann").clone(), call(it, "cat").clone());
        (call(it, "ann").sent, call(it, "ann").answered) = (cat.sent, cat.answered);
        (call(it, "cat").sent, call(it, "cat").answered) = (ann.sent, ann.answered);
    }),
    ("a missing row", "I7", |it| {
        let at = place(it, reserved_by("ann"));
        it.log.events.remove(at);
    }),
    ("two rows swapped", "I7", |it| {
        let at = place(it, reserved_by("ann"));
        it.log.events.swap(at, at + 1);
    }),
    ("a time that falls", "I7", |it| {
        reservation(it, "cat").recorded_at -= TimeDelta::hours(1)
    }),
    ("an event in another partition", "I7", |it| {
        reservation(it, "ann").partition += 1
    }),
    ("a key with two invests", "I8", |it| {
        let mut second = call(it, "cat").clone();
        second.outcome = Outcome::Accepted {
            invest_id: Uuid::now_v7(),
        };
        it.calls.push(second);
    }),
    ("a key that was decided twice", "I8", |it| {
        it.calls.last_mut().unwrap().replayed = false
    }),
    ("a wrong total in a read model", "I10", |it| {
        let rows = it.tables.0.get_mut("product_list").unwrap();
        *rows = rows
            .iter()
            .map(|row| row.replace("10 of 10", "9 of 10"))
            .collect();
    }),
    ("a row too many in a read model", "I10", |it| {
        it.tables
            .0
            .get_mut("holdings_count")
            .unwrap()
            .insert("eve 1 1".into());
    }),
    ("an answer that shows another amount", "I10", |it| {
        let shown = it
            .sightings
            .iter_mut()
            .find(|shown| shown.body.contains(r#""myInvestingAmount":7"#))
            .unwrap();
        shown.body = shown
            .body
            .replace(r#""myInvestingAmount":7"#, r#""myInvestingAmount":8"#);
    }),
    ("a summary that shows another amount", "I10", |it| {
        let shown = it
            .sightings
            .iter_mut()
            .find(|shown| shown.body.contains(r#""settledAmount":7"#))
            .unwrap();
        shown.body = shown
            .body
            .replace(r#""settledAmount":7"#, r#""settledAmount":8"#);
    }),
];

#[tokio::test]
async fn every_planted_fault_is_named() {
    let sound = evidence().await;
    sound.holds();
    for (what, invariant, plant) in PLANTED_FAULTS {
        let mut planted = sound.clone();
        plant(&mut planted);
        let faults = planted.faults();
        let named = faults.iter().any(|fault| fault.invariant == invariant);
        assert!(named, "{what} is not named as {invariant}, only {faults:?}");
    }
}

/// The tables are read, not assumed: what is wrong in the database itself is found.
#[tokio::test]
async fn a_read_model_that_was_tampered_with_in_the_database_is_named() {
    let app = TestApp::open().await;
    let product = app.open_product("tampered", 10).await;
    assert!(app.invest(ask("ann", product, 7)).await.is_accepted());
    app.settled().await;
    for (table, tamper) in [
        (
            "product_list",
            "update product_list set current_amount = current_amount + 1",
        ),
        ("holdings", "delete from holdings"),
        (
            "invest_log",
            "update invest_log set accrued_user = accrued_user - 1",
        ),
        (
            "investor_summary",
            "update investor_summary set failed_invests = 1",
        ),
        (
            "event_index",
            "update event_index set user_key = null where position = 2",
        ),
    ] {
        sqlx::query(tamper).execute(&app.pool).await.unwrap();
        let faults = Evidence::of(&app, &[product], &["ann".into()])
            .await
            .faults();
        let of_table = faults
            .iter()
            .filter(|fault| fault.invariant == "I10" && fault.what.contains(table))
            .count();
        assert!(of_table > 0, "{tamper}: {faults:?}");
    }
}

/// What is sound is not named: a holding that was withdrawn and refunded, and a product that was cancelled.
#[tokio::test]
async fn a_sound_withdrawal_or_cancellation_is_no_fault_of_its_log() {
    let mut evidence = evidence().await;
    withdraw(&mut evidence, "ann", 7, true);
    refund(&mut evidence, "ann");
    cancel(&mut evidence);
    refund_holding(&mut evidence, "cat", 3);
    let of_the_log: Vec<_> = evidence
        .faults()
        .into_iter()
        .filter(|fault| matches!(fault.invariant, "I1" | "I2" | "I20"))
        .collect();
    assert!(of_the_log.is_empty(), "{of_the_log:?}");
}
