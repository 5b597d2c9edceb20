//! Refusals are written down beside the log, and nothing waits for that.

use crate::app::{AppSettings, TestApp, invest_command, keyed_command, product, window_of_hours};
use crate::write_side::{WriteSide, soon, until};
use command_api::processor::CommandError;
use command_api::{RecorderTask, recorder, recorder_with_capacity, run_recorder};
use connection_pool::Pool;
use domain::{ProductEvent, ProductId, Refusal};
use futures::future::join_all;
use testbed::{Fault, FaultKind, Proxy};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const REFUSALS: &str =
    "select format('%s %s %s of %s: %s', user_id, code, remaining, amount, correlation_id)
                          from refusals order by refused_at, head, place";

/// A refusal, as far as it says where it was decided.
#[derive(sqlx::FromRow)]
struct Row {
    product_id: i64,
    amount: i64,
    remaining: i64,
    partition: i32,
    head: i64,
}

impl WriteSide {
    /// An instance that notes, and what it recorded; nobody writes it yet.
    pub async fn moa_that_notes(&self) -> (TestApp, RecorderTask) {
        let (recorder, recording) = recorder();
        (
            self.app_with(AppSettings {
                recorder: Some(recorder),
                ..AppSettings::default()
            })
            .await,
            recording,
        )
    }

    /// The same with room for so few.
    pub async fn moa_with_room(&self, notes: usize) -> (TestApp, RecorderTask) {
        let (recorder, recording) = recorder_with_capacity(notes);
        (
            self.app_with(AppSettings {
                recorder: Some(recorder),
                ..AppSettings::default()
            })
            .await,
            recording,
        )
    }

    /// One whose notes are written.
    async fn moa_that_records(&self) -> TestApp {
        let (app, recording) = self.moa_that_notes().await;
        tokio::spawn(run_recorder(
            recording,
            self.pool.clone(),
            CancellationToken::new(),
        ));
        app
    }

    /// Once so many are there, and no more.
    pub async fn refused(&self, refusals: i64) -> Vec<String> {
        until("all are written", async || {
            self.count("refusals").await >= refusals
        })
        .await;
        assert_eq!(self.count("refusals").await, refusals);
        self.says(REFUSALS).await
    }

    pub async fn dropped(&self) -> Vec<String> {
        self.says("select what || ' ' || reason || ' ' || sum(number) from recorder_drops group by what, reason").await
    }
}

/// Writes what was recorded, and ends.
pub async fn all_is_written(recording: RecorderTask, pool: &Pool) {
    let over = CancellationToken::new();
    over.cancel();
    soon(run_recorder(recording, pool.clone(), over)).await;
}

/// Each another user: of one not so many are recorded.
pub async fn refuses(app: &TestApp, product: ProductId, times: usize) {
    let users: Vec<_> = (0..times).map(|number| format!("late{number}")).collect();
    refuses_of(app, product, users.iter().map(String::as_str)).await;
}

pub async fn refuses_of(app: &TestApp, product: ProductId, users: impl IntoIterator<Item = &str>) {
    let commands = users
        .into_iter()
        .map(|user| invest_command(product, user, 1_000_001));
    for outcome in soon(join_all(
        commands.map(|command| app.processors.submit(command)),
    ))
    .await
    {
        assert!(matches!(
            outcome.unwrap().decision,
            Err(Refusal::SoldOut { .. })
        ));
    }
}

#[tokio::test]
async fn each_refusal_is_written_down() {
    let test = WriteSide::with_partitions(4).await;
    let app = test.moa_that_records().await;
    let open = app.opens(100).await;
    let to_come = app.opens_for(100, window_of_hours(1, 2)).await;
    let over = app.opens_for(100, window_of_hours(-2, -1)).await;
    let closed = app.opens(100).await;
    app.closes(closed).await;
    app.invest(open, 60).sent().await.is_ok();
    let asked = [
        (open, 41),
        (to_come, 1),
        (over, 2),
        (closed, 3),
        (product(4_000), 4),
    ];
    for (n, (product, amount)) in asked.into_iter().enumerate() {
        app.invest(product, amount)
            .by(&format!("user{n}"))
            .correlation_id(&format!("c{n}"))
            .sent()
            .await;
    }
    // Each partition has its own idea of the time.
    let mut refused = test.refused(5).await;
    refused.sort();
    assert_eq!(
        refused,
        [
            "user0 SOLD_OUT 40 of 41: c0",
            "user1 NOT_STARTED  of 1: c1",
            "user2 FINISHED  of 2: c2",
            "user3 CLOSED  of 3: c3",
            "user4 NOT_EXIST_PRODUCT  of 4: c4",
        ]
    );
    let sold_out = "refusals where code = 'SOLD_OUT'";
    let (partition, head) = (
        test.log.partition_of(open),
        test.reservations().await[0].position,
    );
    assert_eq!(
        test.count(&format!("{sold_out} and product_id = {open}"))
            .await,
        1
    );
    assert_eq!(
        test.count(&format!(
            "{sold_out} and (partition, head, place) = ({partition}, {head}, 0)"
        ))
        .await,
        1
    );
    assert_eq!(
        test.count("refusals where refused_at not between now() - interval '1 min' and now() + interval '1 s'").await,
        0
    );
    // Each is as good as an invest's: fresh, and of its own.
    let ids: Vec<Uuid> = sqlx::query_scalar("select invest_id from refusals")
        .fetch_all(&test.pool)
        .await
        .unwrap();
    assert!(ids.iter().all(|id| id.get_version_num() == 7));
    assert_eq!(test.dropped().await, [""; 0]);
}

/// Many want one product at once, from two instances: after the position that each refusal names, just that much was left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_remained_is_what_the_log_left_at_the_place_it_names() {
    let test = WriteSide::with_partitions(2).await;
    let (one, two) = (test.moa_that_records().await, test.moa_that_records().await);
    let products = [one.opens(500).await, one.opens(700).await];
    let envelope = |n: usize| {
        let (app, product) = (
            if n.is_multiple_of(3) { &two } else { &one },
            products[n % 2],
        );
        app.decides(invest_command(
            product,
            &format!("user{n}"),
            1 + (n as i64 * 7) % 40,
        ))
    };
    let mut refused = 0;
    // Not all at once: on a busy machine the last would wait for longer than a command may.
    for some in 0..5 {
        for outcome in join_all((some * 60..(some + 1) * 60).map(envelope)).await {
            refused += i64::from(outcome.unwrap().decision != Ok(()));
        }
    }
    assert!(refused > 100, "{refused}");
    test.refused(refused).await;
    let rows: Vec<Row> =
        sqlx::query_as("select product_id, amount, remaining, partition, head from refusals")
            .fetch_all(&test.pool)
            .await
            .unwrap();
    let events = test.events().await;
    for Row {
        product_id,
        amount,
        remaining,
        partition,
        head,
    } in rows
    {
        let before = |event: &&event_log::RecordedEvent| {
            event.product_id.get() == product_id
                && event.partition == partition
                && event.position <= head
        };
        let left: i64 = events
            .iter()
            .filter(before)
            .map(|event| left_by(&event.event))
            .sum();
        assert_eq!(left, remaining);
        assert!(amount > remaining);
    }
}

#[tokio::test]
async fn each_has_its_place_among_what_was_decided_together() {
    let test = WriteSide::with_one_partition().await;
    let app = test.moa_that_records().await;
    let sold_out = app.opens(1).await;
    // No decision is earlier than the last event, so those that are made at once have its time together.
    let later = "refused_at > (select max(recorded_at) from events)";
    let mut refused = 0;
    until(
        "several are decided together after the last event",
        async || {
            // Of different users: what is recorded of one has a budget.
            let users: Vec<_> = (0..20)
                .map(|number| format!("late{}", refused + number))
                .collect();
            refuses_of(&app, sold_out, users.iter().map(String::as_str)).await;
            refused += 20;
            test.refused(refused).await;
            test.count(&format!("refusals where place > 0 and {later}"))
                .await
                > 0
        },
    )
    .await;
    let confused = "having count(distinct place) <> count(*) or max(place) <> count(*) - 1";
    assert_eq!(
        test.count(&format!(
            "(select from refusals where {later} group by refused_at {confused}) x"
        ))
        .await,
        0
    );
}

fn left_by(event: &ProductEvent) -> i64 {
    match event {
        ProductEvent::ProductOpened {
            total_investing_amount,
            ..
        } => total_investing_amount.won(),
        ProductEvent::InvestReserved { amount, .. } => -amount.won(),
        ProductEvent::InvestFailed { amount, .. }
        | ProductEvent::InvestWithdrawn { amount, .. } => amount.won(),
        ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestRefunded { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => 0,
    }
}

#[tokio::test]
async fn what_is_answered_again_is_not_written_again() {
    let test = WriteSide::with_one_partition().await;
    let app = test.moa_that_records().await;
    let sold_out = app.opens(1).await;
    let to_come = app.opens_for(100, window_of_hours(1, 2)).await;
    app.invest(sold_out, 1).key("mine").sent().await.is_ok();
    app.invest(sold_out, 2)
        .key("k")
        .sent()
        .await
        .is_sold_out(0)
        .is_fresh();
    app.invest(sold_out, 2)
        .key("k")
        .sent()
        .await
        .is_sold_out(0)
        .is_replayed();
    // Two in one batch.
    let twins = [
        keyed_command(sold_out, "twin", 3, "k"),
        keyed_command(sold_out, "twin", 3, "k"),
    ];
    join_all(twins.map(|envelope| app.decides(envelope))).await;
    // Accepted before, and withdrawn since.
    app.closes(sold_out).await;
    app.invest(sold_out, 1)
        .key("mine")
        .sent()
        .await
        .is_ok()
        .is_replayed();
    // The key stands for something else.
    app.invest(product(4_000), 1)
        .key("mine")
        .sent()
        .await
        .is_key_reused();
    // Not kept with its key, so it is decided each time.
    app.invest(to_come, 9).key("early").sent().await.is_fresh();
    app.invest(to_come, 9).key("early").sent().await.is_fresh();
    let by = |refusal: &String| refusal.rsplit_once(':').unwrap().0.to_owned();
    let refused: Vec<_> = test.refused(4).await.iter().map(by).collect();
    let expected = [
        "user1 SOLD_OUT 0 of 2",
        "twin SOLD_OUT 0 of 3",
        "user1 NOT_STARTED  of 9",
        "user1 NOT_STARTED  of 9",
    ];
    assert_eq!(refused, expected);
}

/// 1. Refusals wait for the append lock until they are too old.
/// 2. They were never decided: they are told so, and nothing is written.
#[tokio::test]
async fn what_was_never_decided_is_no_refusal() {
    let test = WriteSide::with_one_partition().await;
    let (app, recording) = test.moa_that_notes().await;
    let product = app.opens(1).await;
    let other = test.app().await;
    // The processor has lost an append, so it acquires the append lock from now on.
    other.invest(product, 1).sent().await.is_ok();
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    assert_eq!(
        app.decides(invest_command(product, "late", 5)).await,
        Err(CommandError::Overloaded)
    );
    holder.release().await;
    all_is_written(recording, &test.pool).await;
    assert_eq!(test.says(REFUSALS).await, [""; 0]);
}

/// The answer to the commit of its key is lost; the processor finds its own key taken, and what it stands for.
#[tokio::test]
async fn a_refusal_that_is_read_back_is_written_once_without_a_place() {
    let test = WriteSide::with_one_partition().await;
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let (recorder, recording) = recorder();
    let opens = AppSettings {
        recorder: Some(recorder),
        ..AppSettings::default()
    };
    let app = TestApp::start(options, 1, opens).await;
    let product = app.opens(100).await;
    app.invest(product, 10)
        .by("earlier")
        .key("earlier")
        .sent()
        .await
        .is_ok();
    app.invest(product, 10).by("earlier").sent().await.is_ok();
    app.invest(product, 101)
        .by("earlier")
        .key("refused")
        .sent()
        .await
        .is_sold_out(80);
    proxy.stage(Fault::at("the-fatal-user", FaultKind::LosesAnswer).later(2));
    app.invest(product, 81)
        .by("the-fatal-user")
        .key("k")
        .sent()
        .await
        .is_sold_out(80)
        .is_fresh();
    proxy.until_struck().await;
    all_is_written(recording, &test.pool).await;
    let places = "select user_id || ' ' || coalesce(place::text, 'unknown') from refusals order by refused_at";
    assert_eq!(
        test.says(places).await,
        ["earlier 0", "the-fatal-user unknown"]
    );
}
