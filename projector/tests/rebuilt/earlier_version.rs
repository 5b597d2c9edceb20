//! A read model whose tables have rows of an earlier version of its code: they stay, and a rebuild replaces them.

use super::{OPTIONS, RunningJobs};
use crate::investor_summary::SUMS;
use crate::support::{TestApp, opened, reserved, settled};
use projector::{JobState, RebuildOptions};

const VERSION_1: &str = include_str!("../../../migrations/0006_investor_summary.sql");
const TO_VERSION_2: &str = include_str!("../../../migrations/0024_one_row_of_sums.sql");
/// As the release before would have read them, and this one reads either.
const SUMMARY: &str =
    "select format('%s: %s products, %s settled', user_id, sum(products), sum(settled_amount))
                         from investor_summary group by user_id";

const CHECKPOINTS: &str = "select format('%s %s of version %s', partition, position, code_version)
                             from checkpoints where consumer = 'investor_summary' order by partition";

async fn run(app: &TestApp, statements: &'static str) {
    sqlx::raw_sql(statements).execute(&app.pool).await.unwrap();
}

/// The database as it was before there was version 2.
async fn back_to_version_1(app: &TestApp) {
    run(app, "delete from generations where projection = 'investor_summary'; drop table investor_summary").await;
    run(app, VERSION_1).await;
    // As migration 0007 did.
    for table in ["investor_summary", "investor_summary_product"] {
        let by_bytes = format!(r#"alter table {table} alter column user_id type text collate "C""#);
        sqlx::query(&by_bytes).execute(&app.pool).await.unwrap();
    }
}

/// 1. The release before has applied what there was of partition 1; partition 0 had no event. 2. The migration is run, and both partitions
/// get events. 3. The rows stay as they are and can be read, until a rebuild switches to rows of version 2, which continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_an_earlier_version_stay_until_they_are_rebuilt() {
    let mut app = TestApp::fresh().await;
    back_to_version_1(&app).await;
    app.append(&[
        opened(1, "apples", 10),
        reserved(1, "kim", 1, 4),
        settled(1, "kim", 1, 4),
    ])
    .await;
    run(
        &app,
        "insert into investor_summary select 'kim', 1, 1, 4, 0, 0, recorded_at, recorded_at
           from events where partition = 1 and position = 2;
         insert into investor_summary_product values ('kim', 1, 4, 0);
         insert into checkpoints (consumer, partition, position, hash, code_version)
         select 'investor_summary', partition, position, hash, 1 from events where partition = 1 and position = 3",
    )
    .await;
    run(&app, TO_VERSION_2).await;
    let mut running = RunningJobs::of(app);
    running
        .app
        .append(&[
            opened(2, "pears", 10),
            reserved(2, "kim", 2, 5),
            reserved(3, "kim", 1, 3),
        ])
        .await;
    running.app.until("select format('%s %s', consumer, position) from checkpoints where consumer = 'holdings' order by partition",
                      &["holdings 2", "holdings 4"]).await;
    running
        .app
        .until(SUMMARY, &["kim: 1 products, 4 settled"])
        .await;
    running
        .app
        .until(CHECKPOINTS, &["0 0 of version 1", "1 3 of version 1"])
        .await;

    running.work();
    let accepting = RebuildOptions {
        accept_differences: true,
        ..OPTIONS
    };
    let job = running
        .jobs
        .rebuild("investor_summary", accepting)
        .await
        .unwrap();
    let ended = running.ended(job).await;

    assert_eq!(
        (ended.state, ended.problem.as_deref()),
        (JobState::Done, None)
    );
    assert_eq!(
        running.generations("investor_summary").await,
        ["1 PREVIOUS", "2 LIVE"]
    );
    let rebuilt = [
        "kim in 1: 4 settled, 3 reserved, 0 failed, 1 of a product, second 1 to 5",
        "kim in 2: 0 settled, 5 reserved, 0 failed, 1 of a product, second 4 to 4",
    ];
    running.app.until(SUMS, &rebuilt).await;
    running.app.append(&[settled(3, "kim", 1, 3)]).await;
    running
        .app
        .until(SUMMARY, &["kim: 2 products, 7 settled"])
        .await;
    assert_eq!(running.jobs.drop("investor_summary").await.unwrap(), 1);
    running.stop().await;
}

/// Where nothing was written, the migration makes version 2 the live one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_events_there_is_nothing_to_rebuild() {
    let app = TestApp::fresh().await;
    back_to_version_1(&app).await;
    run(&app, TO_VERSION_2).await;
    let mut running = RunningJobs::of(app);
    running
        .app
        .append(&[
            opened(1, "apples", 10),
            reserved(1, "kim", 1, 4),
            settled(1, "kim", 1, 4),
        ])
        .await;
    running
        .app
        .until(SUMMARY, &["kim: 1 products, 4 settled"])
        .await;
    running.stop().await;
}
