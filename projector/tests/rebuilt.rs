//! Rebuilds: a standby generation is built, compared with the live one, switched to and rolled back, whatever happens meanwhile.

mod earlier_version;

use crate::support::{
    Happened, TestApp, cancelled, failed, listening, opened, refunded, reserved, settled,
    withdrawn, withdrawn_settled,
};
use domain::GiveBackReason;
use projector::{Job, JobRejected, JobState, Jobs, PROJECTIONS, RebuildOptions};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a rebuild of a small log may take, on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
const OPTIONS: RebuildOptions = RebuildOptions {
    switches: true,
    accept_differences: false,
    max_rate: None,
};

/// A log, and projectors that may be started and stopped.
struct RunningJobs {
    app: TestApp,
    jobs: Jobs,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    invests: u128,
}

impl RunningJobs {
    /// Every read model is kept up to date; no job runs yet.
    async fn start() -> Self {
        Self::of(TestApp::fresh().await)
    }

    fn of(app: TestApp) -> Self {
        let (log, pool) = (app.log.clone(), app.pool.clone());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let running = tokio::spawn(projector::run(
            log.clone(),
            pool.clone(),
            Default::default(),
            listening(&log),
            shutdown.clone(),
        ));
        let following = tokio::spawn({
            let log = log.clone();
            async move { log.poll_heads(stop).await }
        });
        let jobs = Jobs::new(log, pool);
        Self {
            app,
            jobs,
            shutdown,
            tasks: vec![running, following],
            invests: 0,
        }
    }

    /// With a history that is applied.
    async fn with_history(invests: u128) -> Self {
        let mut running = Self::start().await;
        running.history(invests).await;
        running.caught_up().await;
        running
    }

    /// Runs jobs, until the handle is aborted.
    fn work(&mut self) -> tokio::task::AbortHandle {
        let (log, pool) = (self.app.log.clone(), self.app.pool.clone());
        let working = tokio::spawn(projector::run_jobs(log, pool, self.shutdown.clone()));
        let abort = working.abort_handle();
        self.tasks.push(working);
        abort
    }

    /// Three products, and so many invests, each with another fate.
    async fn history(&mut self, invests: u128) {
        let titles = ["apples", "pears", "plums"];
        let opened = (1..)
            .zip(titles)
            .map(|(id, title)| opened(id, title, 1_000_000))
            .collect::<Vec<_>>();
        self.app.append_at_once(&opened).await;
        self.invest(invests).await;
    }

    async fn invest(&mut self, invests: u128) {
        for number in self.invests + 1..=self.invests + invests {
            let (product, user) = ((number % 3 + 1) as i64, format!("user{}", number % 7));
            let amount = (number % 5 + 1) as i64;
            let mut events: Vec<Happened> = vec![reserved(number, &user, product, amount)];
            match number % 4 {
                0 => events.push(failed(number, &user, product, amount)),
                1 => {}
                _ => events.push(settled(number, &user, product, amount)),
            }
            self.app.append_at_once(&events).await;
        }
        self.invests += invests;
    }

    /// Of the first invests some are withdrawn, and some of those refunded; then product 1 is cancelled, and refunds one.
    async fn give_back(&mut self) {
        let happened = [
            withdrawn(1, "user1", 2, 2),
            withdrawn_settled(2, "user2", 3, 3),
            withdrawn_settled(6, "user6", 1, 2),
            refunded(2, "user2", 3, 3, GiveBackReason::Withdrawn),
            cancelled(1, "a reason"),
            refunded(3, "user3", 1, 4, GiveBackReason::Cancelled),
        ];
        self.app.append_at_once(&happened).await;
    }

    /// Waits until every read model has what the log has.
    async fn caught_up(&self) {
        let start = Instant::now();
        loop {
            let heads = self.app.log.heads().await.unwrap();
            let mut all = true;
            for projection in PROJECTIONS {
                for (partition, head) in (0..).zip(&heads) {
                    all &= self.app.checkpoint(projection.name, partition).await.0 == *head;
                }
            }
            if all {
                return;
            }
            assert!(start.elapsed() < TEST_TIMEOUT);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ended(&self, job: i64) -> Job {
        let start = Instant::now();
        loop {
            let known = self.jobs.job(job).await.unwrap().unwrap();
            if known.state != JobState::Running {
                return known;
            }
            assert!(start.elapsed() < TEST_TIMEOUT, "{known:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The states of its generations, by number.
    async fn generations(&self, projection: &str) -> Vec<String> {
        let all = self.jobs.generations().await.unwrap();
        let mine = all.iter().filter(|one| one.projection == projection);
        mine.map(|one| format!("{} {}", one.generation, one.state.as_str()))
            .collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.ok();
        }
    }
}

/// Every read model of the list at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilt_under_live_writes_every_read_model_is_equal_and_continues() {
    let mut running = RunningJobs::start().await;
    running.history(200).await;
    running.give_back().await;
    running.work();
    let mut jobs = Vec::new();
    for projection in PROJECTIONS {
        jobs.push((
            projection.name,
            running
                .jobs
                .rebuild(projection.name, OPTIONS)
                .await
                .unwrap(),
        ));
    }
    running.invest(100).await;
    for (name, job) in jobs {
        let ended = running.ended(job).await;
        assert_eq!(
            (ended.state, ended.problem.as_deref()),
            (JobState::Done, None),
            "{name}"
        );
        assert_eq!(ended.outcome.unwrap()["equal"], true, "{name}");
        assert_eq!(
            running.generations(name).await,
            ["1 PREVIOUS", "2 LIVE"],
            "{name}"
        );
    }
    running.invest(50).await;
    running.caught_up().await;
    for projection in PROJECTIONS {
        let name = projection.name;
        let rebuilt = running.app.everything_of(name).await;
        // The one that was live before is kept up to date, and is equal.
        let until_equal = async {
            while running.jobs.rollback(name).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, until_equal)
            .await
            .unwrap();
        assert_eq!(running.generations(name).await, ["1 LIVE", "2 PREVIOUS"]);
        assert_eq!(running.app.everything_of(name).await, rebuilt);
        assert_eq!(running.jobs.drop(name).await.unwrap(), 1);
        assert_eq!(running.generations(name).await, ["1 LIVE"]);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rebuild_is_resumed_and_a_second_request_is_rejected() {
    let mut running = RunningJobs::with_history(300).await;
    let slow = RebuildOptions {
        max_rate: Some(150),
        ..OPTIONS
    };
    let job = running.jobs.rebuild("invest_log", slow).await.unwrap();
    for _ in 0..3 {
        let working = running.work();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let second = running.jobs.rebuild("invest_log", OPTIONS).await;
        assert!(
            matches!(second, Err(JobRejected::Busy(running)) if running == job),
            "{second:?}"
        );
        working.abort();
        // A dead process's lease expires; a test need not wait for that.
        sqlx::query("update leases set until = clock_timestamp()")
            .execute(&running.app.pool)
            .await
            .unwrap();
    }
    let before = running.jobs.job(job).await.unwrap().unwrap();
    assert_eq!(before.state, JobState::Running);

    running.work();
    let ended = running.ended(job).await;

    assert_eq!(
        (ended.state, ended.problem.as_deref()),
        (JobState::Done, None)
    );
    running.invest(20).await;
    running.caught_up().await;
    let first = running.app.everything_of("invest_log").await;
    assert_eq!(running.jobs.drop("invest_log").await.unwrap(), 1);
    let again = running.jobs.rebuild("invest_log", OPTIONS).await.unwrap();
    let ended_again = running.ended(again).await;
    let digest = |job: &Job| job.outcome.as_ref().unwrap()["digest"]["new"].clone();
    assert_eq!(ended_again.outcome.as_ref().unwrap()["equal"], true);
    assert_eq!(running.app.everything_of("invest_log").await, first);
    assert_ne!(
        digest(&ended),
        digest(&ended_again),
        "there is more in the log by now"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_differs_is_not_switched_to_until_that_is_accepted() {
    let mut running = RunningJobs::with_history(40).await;
    let tamper = "update holdings set amount = amount + 1 where (user_id, product_id) in
                     (select user_id, product_id from holdings order by user_id, product_id limit 1)";
    sqlx::query(tamper)
        .execute(&running.app.pool)
        .await
        .unwrap();
    running.work();
    let dry = running.jobs.diff("holdings", None).await.unwrap();

    let looked = running.ended(dry).await;
    assert_eq!(
        (looked.state, &looked.outcome.as_ref().unwrap()["equal"]),
        (JobState::Done, &false.into())
    );
    assert_eq!(running.generations("holdings").await, ["1 LIVE"]);

    let job = running.jobs.rebuild("holdings", OPTIONS).await.unwrap();
    let ended = running.ended(job).await;

    assert_eq!(ended.state, JobState::Failed);
    let tables = ended.outcome.unwrap()["tables"].clone();
    let differences: Vec<_> = tables
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|it| it["differences"].as_array().unwrap())
        .collect();
    assert_eq!(differences.len(), 1);
    let amount = |side: &str| differences[0][side]["amount"].as_i64().unwrap();
    assert_eq!(amount("live"), amount("new") + 1);
    assert_eq!(
        running.generations("holdings").await,
        ["1 LIVE", "3 DIFFERENT"]
    );
    // A projector that resumes it after the outcome was stored comes to the same end.
    let again = "update jobs set state = 'RUNNING', ended_at = null where id = $1";
    sqlx::query(again)
        .bind(job)
        .execute(&running.app.pool)
        .await
        .unwrap();
    assert_eq!(running.ended(job).await.state, JobState::Failed);
    assert_eq!(
        running.generations("holdings").await,
        ["1 LIVE", "3 DIFFERENT"]
    );
    let refused = running.jobs.switch("holdings", false).await;
    assert!(
        matches!(refused, Err(JobRejected::NotAvailable(_))),
        "{refused:?}"
    );
    assert_eq!(running.jobs.switch("holdings", true).await.unwrap(), 3);
    assert_eq!(
        running.generations("holdings").await,
        ["1 PREVIOUS", "3 LIVE"]
    );
    let again = running
        .jobs
        .switch("holdings", true)
        .await
        .unwrap_err()
        .to_string();
    assert!(again.contains("roll back to it"), "{again}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_applied_is_named() {
    let mut running = RunningJobs::with_history(20).await;
    let spoil =
        "update events set payload = '{\"ProductClosed\": 7}' where partition = 1 and position = 5";
    for statement in [
        "alter table events disable trigger all",
        spoil,
        "alter table events enable trigger all",
    ] {
        sqlx::query(statement)
            .execute(&running.app.pool)
            .await
            .unwrap();
    }
    let id = running
        .app
        .says("select event_id::text from events where partition = 1 and position = 5")
        .await;
    running.work();
    let job = running.jobs.rebuild("product_list", OPTIONS).await.unwrap();

    let ended = running.ended(job).await;

    let problem = ended.problem.unwrap();
    assert_eq!(ended.state, JobState::Failed);
    assert!(
        problem.starts_with(&format!("partition 1 position 5 (event {}): ", id[0])),
        "{problem}"
    );
    assert_eq!(
        running.generations("product_list").await,
        ["1 LIVE", "2 BUILDING"]
    );
    assert_eq!(running.jobs.drop("product_list").await.unwrap(), 1);
    assert_eq!(running.generations("product_list").await, ["1 LIVE"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_survives_lost_connections() {
    let mut running = RunningJobs::with_history(200).await;
    running.work();
    let slow = RebuildOptions {
        max_rate: Some(200),
        ..OPTIONS
    };
    let job = running.jobs.rebuild("holdings", slow).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()";
        sqlx::query(cut).execute(&running.app.pool).await.unwrap();
    }

    let ended = running.ended(job).await;

    assert_eq!(
        (ended.state, ended.problem.as_deref()),
        (JobState::Done, None)
    );
    assert_eq!(ended.outcome.unwrap()["equal"], true);
    running.stop().await;
}

/// The disk is full for every row of the new tables, as far as PostgreSQL says so; then there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_waits_while_the_disk_is_full_and_reports_it() {
    let mut running = RunningJobs::with_history(50).await;
    let no_room = [
        "create function no_room() returns trigger language plpgsql as $$
         begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$",
        "create function fill_up() returns event_trigger language plpgsql as $$
         declare made record;
         begin
             for made in select * from pg_event_trigger_ddl_commands() where command_tag = 'CREATE TABLE' loop
                 execute format('create trigger no_room before insert on %s for each row execute function no_room()',
                                made.object_identity);
             end loop;
         end $$",
        "create event trigger fill_up on ddl_command_end when tag in ('CREATE TABLE') execute function fill_up()",
    ];
    for statement in no_room {
        sqlx::query(statement)
            .execute(&running.app.pool)
            .await
            .unwrap();
    }
    running.work();
    let job = running.jobs.rebuild("invest_log", OPTIONS).await.unwrap();
    let start = Instant::now();
    loop {
        let known = running.jobs.job(job).await.unwrap().unwrap();
        assert_eq!(known.state, JobState::Running, "{known:?}");
        if known
            .problem
            .is_some_and(|problem| problem.contains("No space left on device"))
        {
            break;
        }
        assert!(start.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for statement in [
        "drop event trigger fill_up",
        "drop function no_room cascade",
    ] {
        sqlx::query(statement)
            .execute(&running.app.pool)
            .await
            .unwrap();
    }

    let ended = running.ended(job).await;

    assert_eq!(
        (ended.state, ended.problem.as_deref()),
        (JobState::Done, None)
    );
    assert_eq!(
        running.generations("invest_log").await,
        ["1 PREVIOUS", "2 LIVE"]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_standby_waits_for_the_switch() {
    let mut running = RunningJobs::start().await;
    running.history(30).await;
    running.work();
    let job = running
        .jobs
        .rebuild(
            "holdings",
            RebuildOptions {
                switches: false,
                ..OPTIONS
            },
        )
        .await
        .unwrap();
    assert_eq!(running.ended(job).await.state, JobState::Done);
    assert_eq!(running.generations("holdings").await, ["1 LIVE", "2 READY"]);
    let standby_exists = running.jobs.rebuild("holdings", OPTIONS).await;
    assert!(
        matches!(
            standby_exists,
            Err(JobRejected::StandbyExists { generation: 2, .. })
        ),
        "{standby_exists:?}"
    );
    running.invest(30).await;
    running.caught_up().await;
    let before = running.app.everything_of("holdings").await;

    assert_eq!(running.jobs.switch("holdings", false).await.unwrap(), 2);

    assert_eq!(running.app.everything_of("holdings").await, before);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_one_stands_still_until_it_is_resumed() {
    let mut running = RunningJobs::with_history(10).await;
    running.jobs.pause("holdings").await.unwrap();
    let before = running.app.everything_of("holdings").await;
    running.invest(10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.app.everything_of("holdings").await, before);
    running.jobs.resume("holdings").await.unwrap();
    running.caught_up().await;
    assert_ne!(running.app.everything_of("holdings").await, before);
    let unknown = running.jobs.pause("counters").await;
    assert!(
        matches!(unknown, Err(JobRejected::Unknown(_))),
        "{unknown:?}"
    );
    running.stop().await;
}
