//! One processor: what waits is decided in order and committed together.

use crate::app::{AppSettings, Decision, invest_command, product, window_of_hours};
use crate::write_side::{WriteSide, soon};
use command_api::processor::{CommandEnvelope, CommandError, CommandOutcome, UntimedCommand};
use domain::{InvestId, ProductCommand, Refusal};
use event_log::Metadata;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

fn answers(outcomes: &[Result<CommandOutcome, CommandError>]) -> Vec<Decision> {
    outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().decision)
        .collect()
}

/// A batch is decided at one time, so reservations of one commit have the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_invests_at_once_need_few_commits() {
    const INVESTS: usize = 1_000;
    let (test, app, product) = WriteSide::with_product(1, 1_000_000).await;
    let commits = async || -> i64 {
        test.execute("select pg_stat_force_next_flush()").await;
        let row = "select xact_commit from pg_stat_database where datname = current_database()";
        sqlx::query_scalar(row).fetch_one(&test.pool).await.unwrap()
    };
    let before = commits().await;
    let mut invests = tokio::task::JoinSet::new();
    for n in 0..INVESTS {
        let (processors, envelope) = (
            app.processors.clone(),
            invest_command(product, &format!("user{n}"), 1),
        );
        invests.spawn(async move { processors.submit(envelope).await });
    }
    let outcomes = soon(invests.join_all()).await;
    assert!(outcomes.iter().all(|outcome| {
        outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.decision == Ok(()))
    }));

    let reservations = test.reservations().await;
    let batches: BTreeSet<_> = reservations
        .iter()
        .map(|reserved| reserved.recorded_at)
        .collect();
    assert_eq!(reservations.len(), INVESTS);
    assert!(batches.len() <= INVESTS / 10, "{} commits", batches.len());
    let committed = commits().await - before;
    assert!(
        committed <= INVESTS as i64 / 10,
        "{committed} commits by the database's count"
    );
}

#[tokio::test]
async fn commands_are_decided_as_they_came_and_the_log_has_them_so() {
    let (test, app, product) = WriteSide::with_product(1, 1_000).await;
    let outcomes = soon(join_all((0..50).map(|n| {
        let envelope = invest_command(product, &format!("user{n}"), 1 + n % 7);
        app.processors.submit(envelope)
    })))
    .await;
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap())
        .collect();
    let reservations = test.reservations().await;
    assert_eq!(reservations.len(), 50);
    for (outcome, reserved) in told.iter().zip(&reservations) {
        let payload = serde_json::to_value(&reserved.event).unwrap();
        let invest_id = outcome.invest_id.unwrap().to_string();
        assert_eq!(
            payload["InvestReserved"]["investId"].as_str(),
            Some(&*invest_id)
        );
        assert_eq!(outcome.position, (reserved.partition, reserved.position));
    }
}

/// Each is decided on what the ones before it left, of several products, in one commit.
#[tokio::test]
async fn a_batch_may_hold_every_kind_of_outcome() {
    let (test, app) = WriteSide::with_app(1).await;
    let [one, two] = [app.opens(10).await, app.opens(10).await];
    let over = app.opens_for(10, window_of_hours(-2, -1)).await;
    let coming = app.opens_for(10, window_of_hours(1, 2)).await;
    let outcomes = soon(join_all(
        [
            (one, 7),
            (one, 4),
            (two, 10),
            (one, 3),
            (one, 1),
            (two, 1),
            (over, 1),
            (coming, 1),
        ]
        .map(|(product, amount)| {
            app.processors
                .submit(invest_command(product, "user1", amount))
        }),
    ))
    .await;
    assert_eq!(
        answers(&outcomes),
        [
            Ok(()),
            Err(Refusal::SoldOut { remaining: 3 }),
            Ok(()),
            Ok(()),
            Err(Refusal::SoldOut { remaining: 0 }),
            Err(Refusal::SoldOut { remaining: 0 }),
            Err(Refusal::Finished),
            Err(Refusal::NotStarted),
        ]
    );
    let times: BTreeSet<_> = test
        .reservations()
        .await
        .iter()
        .map(|reserved| reserved.recorded_at)
        .collect();
    assert_eq!(times.len(), 1, "one commit");
    test.everything_adds_up().await;
}

#[tokio::test]
async fn a_product_may_be_opened_and_taken_in_one_batch() {
    let (test, app) = WriteSide::with_app(1).await;
    let open = || crate::app::open_command(product(7), 10, window_of_hours(-1, 1));
    let close = CommandEnvelope::new(
        product(7),
        ProductCommand::CloseProduct,
        Metadata::default(),
    );
    let invest = |amount| invest_command(product(7), "user1", amount);
    let commands = [
        invest(1),
        open(),
        invest(10),
        open(),
        invest(1),
        close,
        invest(1),
    ];
    let outcomes = soon(join_all(
        commands.map(|envelope| app.processors.submit(envelope)),
    ))
    .await;
    assert_eq!(
        answers(&outcomes),
        [
            Err(Refusal::NotExist),
            Ok(()),
            Ok(()),
            Err(Refusal::AlreadyOpened),
            Err(Refusal::SoldOut { remaining: 0 }),
            Ok(()),
            Err(Refusal::Closed),
        ]
    );
    test.everything_adds_up().await;
}

#[tokio::test]
async fn an_invest_has_one_fate_whatever_comes_together() {
    let (test, app, product) = WriteSide::with_product(1, 10).await;
    let invest_id = app
        .decides(invest_command(product, "user1", 10))
        .await
        .unwrap()
        .invest_id
        .unwrap();
    let reason = domain::FailReason::new("DECLINED", "no funds").unwrap();
    let fates = [
        UntimedCommand::Expire(invest_id),
        ProductCommand::FailInvest { invest_id, reason }.into(),
        ProductCommand::SettleInvest { invest_id }.into(),
        ProductCommand::SettleInvest {
            invest_id: InvestId(Uuid::now_v7()),
        }
        .into(),
    ];
    let envelope = |fate| {
        app.processors
            .submit(CommandEnvelope::new(product, fate, Metadata::default()))
    };
    let outcomes = soon(join_all(fates.map(envelope))).await;
    assert_eq!(
        answers(&outcomes),
        [
            Err(Refusal::NotExpired),
            Ok(()),
            Err(Refusal::NotOpen),
            Err(Refusal::NotOpen),
        ]
    );
    app.invest(product, 10).sent().await.is_ok();
    test.everything_adds_up().await;
}

/// A is answered before B is sent: A's sequence is lower, over all clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_another_was_sent_is_before_it_in_the_log() {
    let (_test, app, product) = WriteSide::with_product(1, 1_000_000).await;
    let clients = (0..16).map(|client| {
        let processors = app.processors.clone();
        tokio::spawn(async move {
            let mut journal = Vec::new();
            for _ in 0..20 {
                let sent = std::time::Instant::now();
                let outcome = processors
                    .submit(invest_command(product, &format!("user{client}"), 1))
                    .await
                    .unwrap();
                journal.push((sent, std::time::Instant::now(), outcome.position.1));
            }
            journal
        })
    });
    let journals = soon(join_all(clients)).await;
    let journal: Vec<_> = journals.into_iter().flat_map(Result::unwrap).collect();
    for (_, answered, position) in &journal {
        assert!(
            journal
                .iter()
                .all(|(sent, _, later)| sent < answered || later > position)
        );
    }
    assert_eq!(
        journal
            .iter()
            .map(|(_, _, position)| position)
            .collect::<BTreeSet<_>>()
            .len(),
        320
    );
}

/// 1. A reservation that is to last longer than there is time: a bug, which panics in the partition's processor.
/// 2. Whoever asked is told that the outcome is unknown, never that nothing happened.
/// 3. It is known that the processor broke down, so that the process can end; later commands are refused at once.
#[tokio::test]
async fn a_processor_that_panics_is_known() {
    let test = WriteSide::with_one_partition().await;
    let app = test
        .app_with(AppSettings {
            reservation: Duration::MAX,
            ..AppSettings::default()
        })
        .await;
    let product = app.opens(100).await;
    assert!(!app.processors.panicked().is_cancelled());
    let told = soon(app.processors.submit(invest_command(product, "user1", 1))).await;
    assert_eq!(told, Err(CommandError::OutcomeUnknown));
    soon(app.processors.panicked().cancelled()).await;
    let later = soon(app.processors.submit(invest_command(product, "user1", 1))).await;
    assert_eq!(later, Err(CommandError::Overloaded));
    assert_eq!(test.reservations().await, []);
}
