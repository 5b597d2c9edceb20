//! Records as the database makes them, and what is done to them.

use super::*;
use crate::act_seal::{ActSeal, ActStatement};
use crate::key::SigningKey;
use crate::seal_chain::BadSeal;

const LOG: Uuid = Uuid::from_u128(0x0199_1f5e_7c3a_7b60_9a52_3f0f_6ed1_a001);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn act(number: i64) -> StoredAct {
    StoredAct {
        number,
        at: DateTime::from_timestamp(1_772_334_600 + number, 0).unwrap(),
        login: "moa".into(),
        actor: "ann".into(),
        role: "OPERATOR".into(),
        act: "SWITCH".into(),
        subject: "holdings".into(),
        parameters: "{}".into(),
        correlation_id: (number % 2 == 1).then(|| "c".into()),
        outcome_of: (number % 2 == 0).then_some(number - 1),
        outcome: (number % 2 == 0).then(|| "DONE".into()),
        hash: Vec::new(),
    }
}

/// Each with the hash that follows from it and the one before.
fn chained(mut acts: Vec<StoredAct>) -> Vec<StoredAct> {
    let mut previous = Hash::default();
    for act in &mut acts {
        previous = hash(LOG, act, &previous);
        act.hash = previous.to_vec();
    }
    acts
}

fn record() -> Vec<StoredAct> {
    chained((1..=6).map(act).collect())
}

/// Seals of these rows; `from` continues others.
fn seals_after(from: &[ActSeal], acts: &[StoredAct]) -> Vec<ActSeal> {
    let mut seals = from.to_vec();
    for act in acts {
        let (seal, previous) = seals.last().map_or((1, Hash::default()), |last| {
            (last.statement.seal + 1, last.statement.digest())
        });
        let hash = act.hash.clone().try_into().unwrap();
        seals.push(
            ActStatement {
                log: LOG,
                seal,
                act: act.number,
                hash,
                at: act.at,
                previous,
            }
            .seal(&key()),
        );
    }
    seals
}

fn report(acts: &[StoredAct], seals: &[ActSeal]) -> ActsReport {
    let sealed = ValidActSeals::read(LOG, seals.iter().cloned().map(Ok), &[key().verifying_key()]);
    let mut checker = ActChecker::new(LOG, &sealed);
    acts.iter().for_each(|act| checker.row(act));
    checker.finish()
}

fn found(acts: &[StoredAct], seals: &[ActSeal]) -> Option<(i64, Problem)> {
    report(acts, seals).bad.map(|bad| (bad.act, bad.problem))
}

/// The text of `docs/proof-format.md`, to the byte; it is final.
#[test]
fn the_hashed_text_stays_the_same() {
    let expected = "moa-act-1\n\
        log 01991f5e-7c3a-7b60-9a52-3f0f6ed1a001\n\
        number 2\n\
        at 2026-03-01T03:10:02.000000Z\n\
        login moa\n\
        actor ann\n\
        role OPERATOR\n\
        act SWITCH\n\
        subject holdings\n\
        parameters {}\n\
        correlation \n\
        outcome-of 1\n\
        outcome DONE\n\
        previous 0000000000000000000000000000000000000000000000000000000000000000\n";
    assert_eq!(text(LOG, &act(2), &Hash::default()), expected);
}

#[test]
fn a_record_as_it_was_is_whole_and_says_what_is_not_sealed() {
    let (acts, seals) = (record(), seals_after(&[], &record()[..4]));
    let report = report(&acts, &seals);
    let unsealed = Some(PositionRange { first: 5, last: 6 });
    assert_eq!(
        (
            report.acts,
            report.seals,
            report.sealed_upto,
            report.unsealed
        ),
        (6, 4, 4, unsealed)
    );
    assert_eq!(
        (report.bad, report.bad_seal, report.lost),
        (None, None, vec![])
    );
}

/// What somebody does to a row.
type Change = fn(&mut StoredAct);

#[test]
fn each_change_is_found_at_its_row() {
    let seals = seals_after(&[], &record());
    let changes: [(&str, Change); 12] = [
        ("at", |act| act.at += chrono::TimeDelta::microseconds(1)),
        ("login", |act| act.login = "root".into()),
        ("actor", |act| act.actor = "bob".into()),
        ("role", |act| act.role = "DIRECT".into()),
        ("act", |act| act.act = "PAUSE".into()),
        ("subject", |act| act.subject = "invest_log".into()),
        ("parameters", |act| act.parameters = "{ }".into()),
        ("correlation", |act| act.correlation_id = None),
        ("empty correlation", |act| {
            act.correlation_id = Some(String::new())
        }),
        ("outcome_of", |act| act.outcome_of = Some(1)),
        ("outcome", |act| act.outcome = Some("REFUSED".into())),
        ("hash", |act| act.hash[0] ^= 1),
    ];
    for (what, change) in changes {
        let mut acts = record();
        change(&mut acts[2]);
        assert_eq!(found(&acts, &seals), Some((3, Problem::Changed)), "{what}");
    }
}

#[test]
fn what_is_missing_inserted_or_cut_off_is_found() {
    let (acts, seals) = (record(), seals_after(&[], &record()));
    let without = |number: usize| {
        acts.iter()
            .enumerate()
            .filter(|(at, _)| at + 1 != number)
            .map(|(_, act)| act.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&without(1), &seals), Some((1, Problem::Missing)));
    assert_eq!(found(&without(3), &seals), Some((3, Problem::Missing)));
    assert_eq!(found(&without(6), &seals), Some((6, Problem::CutOff)));
    let mut twice = acts.clone();
    twice.insert(3, acts[2].clone());
    assert_eq!(found(&twice, &seals), Some((4, Problem::Changed)));
}

/// Whoever hashes again what he changed is found by the seals, and only by them.
#[test]
fn a_record_that_was_hashed_again_is_not_what_was_sealed() {
    let seals = seals_after(&[], &record());
    let mut acts = record();
    acts[3].actor = "bob".into();
    let acts = chained(acts);
    assert_eq!(found(&acts, &[]), None);
    assert_eq!(found(&acts, &seals), Some((4, Problem::Rewritten)));
    assert_eq!(
        found(&acts, &seals[..3]),
        None,
        "nothing is known of what was not sealed"
    );
}

#[test]
fn time_never_falls() {
    let mut acts = record();
    acts[4].at = acts[0].at;
    assert_eq!(found(&chained(acts), &[]), Some((5, Problem::Time)));
}

/// A column with a line feed could say what is another column's to say.
#[test]
fn a_line_feed_in_a_column_is_a_change() {
    let mut acts = record();
    acts[0].subject = "holdings\nparameters {}".into();
    assert_eq!(found(&chained(acts), &[]), Some((1, Problem::Changed)));
}

#[test]
fn the_first_seal_that_is_not_valid_is_named_and_ends_them() {
    let seals = seals_after(&[], &record());
    let spoiled: [(&str, i64, Vec<ActSeal>); 5] = [
        ("left out", 3, [&seals[..2], &seals[3..]].concat()),
        ("repeated", 3, [&seals[..2], &seals[1..]].concat()),
        ("changed", 3, {
            let mut seals = seals.clone();
            seals[2].statement.hash[0] ^= 1;
            seals
        }),
        ("of another key", 3, {
            let mut seals = seals.clone();
            seals[2] = seals[2]
                .statement
                .clone()
                .seal(&SigningKey::from_bytes(&[8; 32]));
            seals
        }),
        ("of another log", 3, {
            let mut seals = seals.clone();
            let statement = ActStatement {
                log: Uuid::nil(),
                ..seals[2].statement.clone()
            };
            seals[2] = statement.seal(&key());
            seals
        }),
    ];
    for (what, number, seals) in spoiled {
        let report = report(&record(), &seals);
        assert_eq!(
            (
                report.bad_seal.map(|BadSeal { seal, .. }| seal),
                report.sealed_upto
            ),
            (Some(number), 2),
            "{what}"
        );
    }
}

/// Steps: six rows are sealed; the database is set back to four, which an operator accepts; others follow and are sealed.
#[test]
fn what_was_lost_and_accepted_is_named_and_the_rest_is_whole() {
    let before = seals_after(&[], &record());
    let mut acts = record();
    acts.truncate(4);
    acts.push(StoredAct {
        act: "ACCEPT_LOSS".into(),
        ..act(5)
    });
    let acts = chained(acts);
    let seals = seals_after(&before, &acts[4..]);
    let report = report(&acts, &seals);
    assert_eq!((report.bad, report.bad_seal), (None, None));
    assert_eq!(
        (report.sealed_upto, report.lost),
        (5, vec![PositionRange { first: 5, last: 6 }])
    );
    assert_eq!(
        found(&acts, &before),
        Some((5, Problem::Rewritten)),
        "by the seals of before it is found"
    );
}
