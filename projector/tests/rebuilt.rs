//! Rebuilds: a read model made anew beside the live one, compared, switched to and back, whatever happens on the way.

use crate::support::{Happened, World, failed, listening, opened, reserved, settled};
use projector::{Job, Jobs, Refused, Wanted};
use rstest::rstest;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a rebuild of a small log may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const WANTED: Wanted = Wanted { switches: true, accept_differences: false, max_rate: None };

/// A log, and projectors that may be started and stopped.
struct Running {
    world: World,
    jobs: Jobs,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    invests: u128,
}

impl Running {
    /// Every read model is kept; no job is taken up yet.
    async fn start() -> Self {
        let world = World::fresh().await;
        let (log, pool) = (world.log.clone(), world.pool.clone());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let running = tokio::spawn(projector::run(log.clone(), pool.clone(), listening(&log), shutdown.clone()));
        let following = tokio::spawn({
            let log = log.clone();
            async move { log.follow(stop).await }
        });
        let jobs = Jobs::new(log, pool);
        Self { world, jobs, shutdown, tasks: vec![running, following], invests: 0 }
    }

    /// Takes up jobs, until the handle is aborted.
    fn work(&mut self) -> tokio::task::AbortHandle {
        let (log, pool) = (self.world.log.clone(), self.world.pool.clone());
        let working = tokio::spawn(projector::run_jobs(log, pool, self.shutdown.clone()));
        let abort = working.abort_handle();
        self.tasks.push(working);
        abort
    }

    /// Three products, and so many invests, each with another fate.
    async fn history(&mut self, invests: u128) {
        let titles = ["apples", "pears", "plums"];
        let opened = (1..).zip(titles).map(|(id, title)| opened(id, title, 1_000_000)).collect::<Vec<_>>();
        self.world.append_at_once(&opened).await;
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
            self.world.append_at_once(&events).await;
        }
        self.invests += invests;
    }

    /// Waits until every read model has what the log has.
    async fn caught_up(&self) {
        let start = Instant::now();
        loop {
            let heads = self.world.log.heads().await.unwrap();
            let mut all = true;
            for projection in projector::PROJECTIONS {
                for (partition, head) in (0..).zip(&heads) {
                    all &= self.world.checkpoint(projection.name, partition).await.0 == *head;
                }
            }
            if all {
                return;
            }
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ended(&self, job: i64) -> Job {
        let start = Instant::now();
        loop {
            let known = self.jobs.job(job).await.unwrap().unwrap();
            if known.state != "RUNNING" {
                return known;
            }
            assert!(start.elapsed() < PATIENCE, "{known:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The states of its generations, by number.
    async fn generations(&self, projection: &str) -> Vec<String> {
        let all = self.jobs.generations().await.unwrap();
        let mine = all.iter().filter(|one| one.projection == projection);
        mine.map(|one| format!("{} {}", one.generation, one.state)).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.ok();
        }
    }
}

#[rstest]
#[case::product_list("product_list")]
#[case::holdings("holdings")]
#[case::invest_log("invest_log")]
#[case::investor_summary("investor_summary")]
#[case::event_index("event_index")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_anew_under_live_writes_it_is_the_same_and_goes_on(#[case] name: &str) {
    let mut running = Running::start().await;
    running.history(200).await;
    running.work();
    let job = running.jobs.rebuild(name, WANTED).await.unwrap();
    running.invest(100).await;

    let ended = running.ended(job).await;

    assert_eq!((ended.state.as_str(), ended.problem.as_deref()), ("DONE", None));
    assert_eq!(ended.outcome.unwrap()["equal"], true);
    assert_eq!(running.generations(name).await, ["1 PREVIOUS", "2 LIVE"]);
    running.invest(50).await;
    running.caught_up().await;
    let rebuilt = running.world.everything_of(name).await;
    // The one that was live before is kept up, and is the same.
    let until_same = async {
        while running.jobs.rollback(name).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, until_same).await.unwrap();
    assert_eq!(running.generations(name).await, ["1 LIVE", "2 PREVIOUS"]);
    assert_eq!(running.world.everything_of(name).await, rebuilt);
    assert_eq!(running.jobs.drop(name).await.unwrap(), 1);
    assert_eq!(running.generations(name).await, ["1 LIVE"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_the_way_another_goes_on_and_a_second_one_is_told() {
    let mut running = Running::start().await;
    running.history(300).await;
    running.caught_up().await;
    let slow = Wanted { max_rate: Some(150), ..WANTED };
    let job = running.jobs.rebuild("invest_log", slow).await.unwrap();
    for _ in 0..3 {
        let working = running.work();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let second = running.jobs.rebuild("invest_log", WANTED).await;
        assert!(matches!(second, Err(Refused::Busy(running)) if running == job), "{second:?}");
        working.abort();
        // A dead one's lease runs out; a test need not wait for it.
        sqlx::query("update leases set until = clock_timestamp()").execute(&running.world.pool).await.unwrap();
    }
    let before = running.jobs.job(job).await.unwrap().unwrap();
    assert_eq!(before.state, "RUNNING");

    running.work();
    let ended = running.ended(job).await;

    assert_eq!((ended.state.as_str(), ended.problem.as_deref()), ("DONE", None));
    running.invest(20).await;
    running.caught_up().await;
    let first = running.world.everything_of("invest_log").await;
    assert_eq!(running.jobs.drop("invest_log").await.unwrap(), 1);
    let again = running.jobs.rebuild("invest_log", WANTED).await.unwrap();
    let ended_again = running.ended(again).await;
    let digest = |job: &Job| job.outcome.as_ref().unwrap()["digest"]["new"].clone();
    assert_eq!(ended_again.outcome.as_ref().unwrap()["equal"], true);
    assert_eq!(running.world.everything_of("invest_log").await, first);
    assert_ne!(digest(&ended), digest(&ended_again), "there is more in the log by now");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_differs_is_not_switched_to_until_that_is_accepted() {
    let mut running = Running::start().await;
    running.history(40).await;
    running.caught_up().await;
    let tamper = "update holdings set amount = amount + 1 where (user_id, product_id) in
                     (select user_id, product_id from holdings order by user_id, product_id limit 1)";
    sqlx::query(tamper).execute(&running.world.pool).await.unwrap();
    running.work();
    let dry = running.jobs.diff("holdings", None).await.unwrap();

    let looked = running.ended(dry).await;
    assert_eq!((looked.state.as_str(), &looked.outcome.as_ref().unwrap()["equal"]), ("DONE", &false.into()));
    assert_eq!(running.generations("holdings").await, ["1 LIVE"]);

    let job = running.jobs.rebuild("holdings", WANTED).await.unwrap();
    let ended = running.ended(job).await;

    assert_eq!(ended.state, "FAILED");
    let tables = ended.outcome.unwrap()["tables"].clone();
    let differences: Vec<_> =
        tables.as_array().unwrap().iter().flat_map(|it| it["differences"].as_array().unwrap()).collect();
    assert_eq!(differences.len(), 1);
    let amount = |side: &str| differences[0][side]["amount"].as_i64().unwrap();
    assert_eq!(amount("live"), amount("new") + 1);
    assert_eq!(running.generations("holdings").await, ["1 LIVE", "3 DIFFERENT"]);
    // Whoever takes it up after the verdict, because the one before was killed, comes to the same end.
    let again = "update jobs set state = 'RUNNING', ended_at = null where id = $1";
    sqlx::query(again).bind(job).execute(&running.world.pool).await.unwrap();
    assert_eq!(running.ended(job).await.state, "FAILED");
    assert_eq!(running.generations("holdings").await, ["1 LIVE", "3 DIFFERENT"]);
    let refused = running.jobs.switch("holdings", false).await;
    assert!(matches!(refused, Err(Refused::Nothing(_))), "{refused:?}");
    assert_eq!(running.jobs.switch("holdings", true).await.unwrap(), 3);
    assert_eq!(running.generations("holdings").await, ["1 PREVIOUS", "3 LIVE"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_applied_is_named() {
    let mut running = Running::start().await;
    running.history(20).await;
    running.caught_up().await;
    let spoil = "update events set payload = '{\"ProductClosed\": 7}' where partition = 1 and position = 5";
    for statement in ["alter table events disable trigger all", spoil, "alter table events enable trigger all"] {
        sqlx::query(statement).execute(&running.world.pool).await.unwrap();
    }
    let id = running.world.says("select event_id::text from events where partition = 1 and position = 5").await;
    running.work();
    let job = running.jobs.rebuild("product_list", WANTED).await.unwrap();

    let ended = running.ended(job).await;

    let problem = ended.problem.unwrap();
    assert_eq!(ended.state, "FAILED");
    assert!(problem.starts_with(&format!("partition 1 position 5 (event {}): ", id[0])), "{problem}");
    assert_eq!(running.generations("product_list").await, ["1 LIVE", "2 BUILDING"]);
    assert_eq!(running.jobs.drop("product_list").await.unwrap(), 1);
    assert_eq!(running.generations("product_list").await, ["1 LIVE"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_borne() {
    let mut running = Running::start().await;
    running.history(200).await;
    running.caught_up().await;
    running.work();
    let slow = Wanted { max_rate: Some(200), ..WANTED };
    let job = running.jobs.rebuild("holdings", slow).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()";
        sqlx::query(cut).execute(&running.world.pool).await.unwrap();
    }

    let ended = running.ended(job).await;

    assert_eq!((ended.state.as_str(), ended.problem.as_deref()), ("DONE", None));
    assert_eq!(ended.outcome.unwrap()["equal"], true);
    running.stop().await;
}

/// The disk is full for every row of the new tables, as far as PostgreSQL says so; then there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out_and_named_meanwhile() {
    let mut running = Running::start().await;
    running.history(50).await;
    running.caught_up().await;
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
        sqlx::query(statement).execute(&running.world.pool).await.unwrap();
    }
    running.work();
    let job = running.jobs.rebuild("invest_log", WANTED).await.unwrap();
    let start = Instant::now();
    loop {
        let known = running.jobs.job(job).await.unwrap().unwrap();
        assert_eq!(known.state, "RUNNING", "{known:?}");
        if known.problem.is_some_and(|problem| problem.contains("No space left on device")) {
            break;
        }
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for statement in ["drop event trigger fill_up", "drop function no_room cascade"] {
        sqlx::query(statement).execute(&running.world.pool).await.unwrap();
    }

    let ended = running.ended(job).await;

    assert_eq!((ended.state.as_str(), ended.problem.as_deref()), ("DONE", None));
    assert_eq!(running.generations("invest_log").await, ["1 PREVIOUS", "2 LIVE"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stands_ready_waits_for_the_switch() {
    let mut running = Running::start().await;
    running.history(30).await;
    running.work();
    let job = running.jobs.rebuild("holdings", Wanted { switches: false, ..WANTED }).await.unwrap();
    assert_eq!(running.ended(job).await.state, "DONE");
    assert_eq!(running.generations("holdings").await, ["1 LIVE", "2 READY"]);
    let in_the_way = running.jobs.rebuild("holdings", WANTED).await;
    assert!(matches!(in_the_way, Err(Refused::InTheWay { generation: 2, .. })), "{in_the_way:?}");
    running.invest(30).await;
    running.caught_up().await;
    let before = running.world.everything_of("holdings").await;

    assert_eq!(running.jobs.switch("holdings", false).await.unwrap(), 2);

    assert_eq!(running.world.everything_of("holdings").await, before);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_one_stands_still_until_it_is_resumed() {
    let mut running = Running::start().await;
    running.history(10).await;
    running.caught_up().await;
    running.jobs.pause("holdings").await.unwrap();
    let before = running.world.everything_of("holdings").await;
    running.invest(10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(running.world.everything_of("holdings").await, before);
    running.jobs.resume("holdings").await.unwrap();
    running.caught_up().await;
    assert_ne!(running.world.everything_of("holdings").await, before);
    let unknown = running.jobs.pause("counters").await;
    assert!(matches!(unknown, Err(Refused::Unknown(_))), "{unknown:?}");
    running.stop().await;
}
