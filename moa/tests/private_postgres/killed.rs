//! `kill -9` of Moa, of the server, and in the middle of making one.

use std::env::current_exe;
use std::path::Path;
use std::time::{Duration, Instant};

use moa::postgres::Embedded;
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use crate::scratch::{
    Scratch, alive, assert_row_is_there, connect, hold_if_child, holder, kill, postmaster_of,
    signal, wait_for_hold, wait_until, write_a_row,
};

/// A start after a kill takes a quarter of a second here; a busy machine may need more, but waiting in vain takes longer.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_server_of_a_killed_moa_is_taken_over() {
    hold_if_child().await;
    let scratch = Scratch::new();
    let test = "killed::the_server_of_a_killed_moa_is_taken_over";
    let mut child = holder(&current_exe().unwrap(), test, &scratch.data())
        .spawn()
        .unwrap();
    wait_for_hold(&mut child);
    kill(child);
    let left = scratch.postmaster().expect("its server goes on");

    let start = Instant::now();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    println!("taken over in {:?}", start.elapsed());
    assert!(
        start.elapsed() < RESTART_TIMEOUT,
        "took {:?}",
        start.elapsed()
    );
    assert_eq!(scratch.postmaster(), Some(left));
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_killed_under_a_busy_session_is_started_again() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    write_a_row(&server).await;
    let mut busy = connect(&server).await;
    let busy = tokio::spawn(async move {
        sqlx::query("select pg_sleep(60)")
            .execute(&mut busy)
            .await
            .map(|_| ())
    });
    let killed = scratch.postmaster().unwrap();
    drop(server);
    signal("-KILL", killed);

    let start = Instant::now();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    println!("started again in {:?}", start.elapsed());
    assert!(
        start.elapsed() < RESTART_TIMEOUT,
        "took {:?}",
        start.elapsed()
    );
    assert_ne!(scratch.postmaster(), Some(killed));
    assert_row_is_there(&server).await;
    assert!(busy.await.unwrap().is_err());
    server.stop().await.unwrap();
}

/// 1. The server is killed. 2. The supervisor starts it again, where its clients look for it. 3. Its data cannot be read any more, and it
/// is killed again. 4. The supervisor gives up, and says so by ending.
#[tokio::test]
async fn a_server_that_dies_is_started_again_until_it_does_not_stay_up() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    write_a_row(&server).await;
    let supervised = tokio::spawn(server.supervisor().run(CancellationToken::new()));
    let killed = scratch.postmaster().unwrap();
    signal("-KILL", killed);
    wait_until_then("another server", || {
        scratch
            .postmaster()
            .is_some_and(|pid| pid != killed && alive(pid))
    })
    .await;
    while sqlx::PgConnection::connect_with(&server.connect_options())
        .await
        .is_err()
    {
        assert!(!supervised.is_finished(), "it gave up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_row_is_there(&server).await;
    assert!(!supervised.is_finished());
    std::fs::remove_file(scratch.data().join("postgres/global/pg_control")).unwrap();
    signal("-KILL", scratch.postmaster().unwrap());
    tokio::time::timeout(GIVING_UP_TIMEOUT, supervised)
        .await
        .expect("it gives up")
        .unwrap();
}

/// A minute of backoff, and starts that fail at once.
const GIVING_UP_TIMEOUT: Duration = Duration::from_secs(180);

/// As `wait_until`, while tasks go on.
async fn wait_until_then(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < GIVING_UP_TIMEOUT,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_pid_file_whose_process_is_another_program_by_now_is_no_hindrance() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    write_a_row(&server).await;
    let pid_file = scratch.data().join("postgres/postmaster.pid");
    let left = std::fs::read_to_string(&pid_file).unwrap();
    server.stop().await.unwrap();
    let of_this_process = left.replacen(
        left.lines().next().unwrap(),
        &std::process::id().to_string(),
        1,
    );
    std::fs::write(&pid_file, of_this_process).unwrap();

    let server = Embedded::start(&scratch.durable()).await.unwrap();
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

/// The delays hit the making of the folder, `initdb`, and the first start.
#[tokio::test]
async fn a_kill_while_the_cluster_is_made_leaves_nothing_the_next_start_minds() {
    hold_if_child().await;
    let test = "killed::a_kill_while_the_cluster_is_made_leaves_nothing_the_next_start_minds";
    for delay in [30, 200, 500, 900] {
        let scratch = Scratch::new();
        let child = holder(&current_exe().unwrap(), test, &scratch.data())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        kill(child);

        Embedded::start(&scratch.durable())
            .await
            .unwrap()
            .stop()
            .await
            .unwrap();
        Embedded::start(&scratch.durable())
            .await
            .unwrap()
            .stop()
            .await
            .unwrap();
        let names = std::fs::read_dir(scratch.data())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let unfinished = names
            .filter(|name| name.to_string_lossy().contains("unfinished"))
            .count();
        assert_eq!(unfinished, 0, "after {delay} ms");
    }
}

#[tokio::test]
async fn an_ephemeral_server_leaves_nothing_when_moa_is_killed() {
    hold_if_child().await;
    let test = "killed::an_ephemeral_server_leaves_nothing_when_moa_is_killed";
    let mut child = holder(&current_exe().unwrap(), test, Path::new(""))
        .spawn()
        .unwrap();
    let cluster = wait_for_hold(&mut child);
    let postmaster = postmaster_of(&cluster).unwrap();
    kill(child);
    wait_until("the server's end", || !alive(postmaster));
    wait_until("the folder's end", || !cluster.parent().unwrap().exists());
}

/// What its own programs see of the environment is what the server got: only the programs' folders and the language.
#[tokio::test]
async fn the_server_gets_nothing_of_moas_environment() {
    hold_if_child().await;
    let scratch = Scratch::new();
    let test = "killed::the_server_gets_nothing_of_moas_environment";
    let mut child = holder(&current_exe().unwrap(), test, &scratch.data());
    let child = child
        .env("MOA_OPERATOR_TOKEN", "canary-of-the-operator")
        .env("PGTZ", "Asia/Seoul");
    let mut child = child
        .env("AMQP_URL", "amqp://me:canary@host")
        .spawn()
        .unwrap();
    wait_for_hold(&mut child);
    kill(child);
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    let mut session = connect(&server).await;
    let ask = "create temp table seen (line text); copy seen from program 'env'";
    sqlx::raw_sql(ask).execute(&mut session).await.unwrap();
    let seen: Vec<String> = sqlx::query_scalar("select line from seen")
        .fetch_all(&mut session)
        .await
        .unwrap();
    let names: Vec<_> = seen
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    // These PostgreSQL and the shell make themselves.
    let known = [
        "PATH",
        "LC_ALL",
        "PGDATA",
        "PGLOCALEDIR",
        "PGSYSCONFDIR",
        "PG_GRANDPARENT_PID",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    ];
    let others: Vec<_> = names
        .iter()
        .filter(|name| !known.contains(name) && !name.starts_with("LC_"))
        .collect();
    assert!(names.contains(&"PATH") && others.is_empty(), "{others:?}");
    server.stop().await.unwrap();
}
