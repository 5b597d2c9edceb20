//! What a process does when nobody reads what it says, and when whoever started it goes away.

use reqwest::StatusCode;
use std::io::{PipeReader, pipe};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use testbed::free_port;

use crate::harness::{Ended, MoaProcess, Start, TEST_TIMEOUT, TestApp, ask, signal, within};
use crate::killed::DataFolder;

/// The sum of what each stage of a stop may take, and the stop of PostgreSQL.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// What a shell says of a program that a closed pipe ended.
const BROKEN_PIPE: i32 = 141;
const LARGE_TOTAL_WON: i64 = 1_000_000;
/// Each is logged in some 300 bytes and more.
const FAILING_READS: usize = 400;

/// A pipe that nobody reads from any more.
fn without_reader() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A pipe that somebody could read from, and does not.
fn stalled() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    (reader, writer.into())
}

/// Ends every connection that a partition's processor may have: that is logged where a batch is written.
async fn cut_connections(app: &TestApp) {
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name like 'moa %'";
    sqlx::query(cut).execute(&app.pool).await.unwrap();
}

async fn is_ready(moa: &MoaProcess) -> Option<()> {
    let answer = reqwest::get(format!("{}/readyz", moa.ops)).await.ok()?;
    (answer.status() == StatusCode::OK).then_some(())
}

/// Steps: a process without a reader of its standard error; invests; all its connections are cut, which is logged by whoever
/// meets it; all partitions take invests again; it is ready; SIGTERM ends it with success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_goes_on_when_nobody_reads_its_standard_error() {
    let mut app = TestApp::of(0, Start::serve()).await;
    let moa = app
        .start()
        .clone()
        .env("MOA_LOG", "debug")
        .open_with(without_reader())
        .await;
    app.processes.push(moa);
    let mut products = Vec::new();
    for title in ["a", "b", "c", "d"] {
        products.push(app.open_product(title, LARGE_TOTAL_WON).await);
    }
    for _ in 0..3 {
        cut_connections(&app).await;
        for product in &products {
            let accepted = async || {
                app.invest(ask("ann", *product, 1))
                    .await
                    .is_accepted()
                    .then_some(())
            };
            within(TEST_TIMEOUT, "an invest", accepted).await;
        }
    }
    app.settled().await;
    within(TEST_TIMEOUT, "readiness", || is_ready(&app.processes[0])).await;
    assert!(
        app.processes
            .remove(0)
            .stopped(STOP_TIMEOUT)
            .await
            .status
            .success()
    );
}

/// Steps: a process whose standard error is not read logs more than a pipe of 64 kB holds, a line for each read that fails;
/// it takes invests all the same, and SIGTERM ends it with success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_goes_on_when_the_reader_of_its_standard_error_stalls() {
    let mut app = TestApp::of(0, Start::serve()).await;
    let (_reader, err) = stalled();
    let moa = app.start().clone().open_with(err).await;
    app.processes.push(moa);
    let product = app.open_product("stalled", LARGE_TOTAL_WON).await;
    sqlx::query("alter table holdings rename to away")
        .execute(&app.pool)
        .await
        .unwrap();
    for _ in 0..FAILING_READS {
        assert_eq!(
            app.api(0)
                .get_as("ann", "/api/product/my/invest")
                .await
                .status,
            500
        );
    }
    sqlx::query("alter table away rename to holdings")
        .execute(&app.pool)
        .await
        .unwrap();
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    assert!(
        app.processes
            .remove(0)
            .stopped(STOP_TIMEOUT)
            .await
            .status
            .success()
    );
}

#[tokio::test]
async fn a_service_opens_when_nobody_reads_its_standard_output() {
    let database = testbed::Database::fresh().await;
    let ops = format!("127.0.0.1:{}", free_port());
    let start = Start::bare(&["serve", "projector"])
        .env("MOA_OPS_LISTEN", &ops)
        .on(database.url());
    let mut command = start.command();
    let mut service = command.stdout(without_reader()).spawn().unwrap();
    let ready = async || {
        Some(
            reqwest::get(format!("http://{ops}/readyz"))
                .await
                .ok()?
                .status()
                .is_success(),
        )
    };
    within(TEST_TIMEOUT, "the service", async || {
        ready().await.filter(|is_ready| *is_ready)
    })
    .await;
    signal("TERM", service.id().unwrap());
    let status = tokio::time::timeout(STOP_TIMEOUT, service.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
}

async fn printing_to(start: &Start, out: Stdio) -> Ended {
    let running = start.command().stdout(out).spawn().unwrap();
    let output = tokio::time::timeout(TEST_TIMEOUT, running.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    Ended {
        status: output.status,
        out: String::new(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Every way of printing: tables, JSON, lines as they come, a stream, a file's worth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_reader_is_gone_ends_quietly() {
    let app = TestApp::open().await;
    let product = app.open_product("printed", LARGE_TOTAL_WON).await;
    let invest = app
        .invest(ask("ann", product, 1))
        .await
        .invest_id()
        .unwrap()
        .to_string();
    app.settled().await;
    for command in [
        &["audit", "events"][..],
        &["audit", "events", "--json"],
        &["audit", "events", "--format", "ndjson"],
        &["audit", "export"],
        &["audit", "invest", &invest],
        &["audit", "refusals"],
        &["audit", "access"],
        &["audit", "verify"],
        &["product", "list"],
        &["projection", "list"],
        &["status"],
        &["parked", "list"],
    ] {
        let ended = printing_to(&app.command(command), without_reader()).await;
        assert_eq!(
            (ended.status.code(), ended.err.as_str()),
            (Some(BROKEN_PIPE), ""),
            "{command:?}"
        );
    }
    // Nobody takes half an answer for a whole one.
    if Path::new("/dev/full").exists() {
        for command in [&["audit", "events"][..], &["audit", "export"]] {
            let full = std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap();
            let ended = printing_to(&app.command(command), full.into()).await;
            let said =
                "moa: standard output cannot be written: No space left on device (os error 28)\n";
            assert_eq!(
                (ended.status.code(), ended.err.as_str()),
                (Some(1), said),
                "{command:?}"
            );
        }
    }
    // What went wrong is told to who reads standard error, and nobody else is troubled.
    let wrong = app.command(&["audit", "invest", "no-id"]);
    let mut command = wrong.command();
    let status = command.stderr(without_reader()).status().await.unwrap();
    assert_eq!(status.code(), Some(1));
}

/// One whose parent is slow to collect it has ended, too.
fn is_there(postmaster: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{postmaster}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// What ends it takes its private PostgreSQL along. A terminal that closes sends SIGHUP more than once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_signal_leaves_the_private_postgresql_behind() {
    let folder = DataFolder::new();
    for signals in [&["HUP", "HUP", "HUP"][..], &["QUIT"], &["INT"], &["TERM"]] {
        let moa = folder.start().open().await;
        let postmaster = folder.postmaster().expect("it runs");
        signals.iter().for_each(|name| moa.signal(name));
        let ended = moa.ended(STOP_TIMEOUT).await;
        assert!(
            ended.status.success(),
            "{signals:?}: {:?} {}",
            ended.status,
            ended.err
        );
        assert!(!is_there(postmaster), "{signals:?} left PostgreSQL running");
    }
}

/// Steps: as `nohup` starts it; SIGHUP and SIGQUIT come, which it was to ignore; it serves; SIGTERM ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_was_to_be_ignored_is_ignored() {
    let mut app = TestApp::of(0, Start::serve().ignoring("HUP QUIT")).await;
    app.add_process().await;
    ["HUP", "QUIT"]
        .iter()
        .for_each(|name| app.processes[0].signal(name));
    let product = app.open_product("nohup", LARGE_TOTAL_WON).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    assert!(
        app.processes
            .remove(0)
            .stopped(STOP_TIMEOUT)
            .await
            .status
            .success()
    );
}

/// Steps: a migration on a private PostgreSQL, which waits for a lock; SIGHUP; nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_stopped_leaves_no_postgresql_behind() {
    let folder = DataFolder::new();
    let moa = folder.start().open().await;
    assert!(moa.stopped(STOP_TIMEOUT).await.status.success());
    let data = folder.data();
    let mut child = Start::bare(&["migrate", "--data-dir", &data]).begin();
    let postmaster = within(TEST_TIMEOUT, "PostgreSQL", async || folder.postmaster()).await;
    signal("HUP", child.id().unwrap());
    tokio::time::timeout(STOP_TIMEOUT, child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(!is_there(postmaster), "PostgreSQL was left running");
}
