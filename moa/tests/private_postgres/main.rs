//! The private PostgreSQL: found or fetched, started, taken over, stopped; with real servers throughout.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod killed;
mod places;
mod scratch;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use moa::postgres::Embedded;
use scratch::{
    Scratch, ask_psql, assert_row_is_there, connect, data_directory, ephemeral, refusal,
    write_a_row,
};

#[tokio::test]
async fn data_is_kept_between_starts() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    write_a_row(&server).await;
    assert!(
        server.describe().contains("private, data in"),
        "{}",
        server.describe()
    );
    server.stop().await.unwrap();
    assert_eq!(scratch.postmaster(), None, "the server is stopped");

    let server = Embedded::start(&scratch.durable()).await.unwrap();
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_listens_on_its_socket_only_and_keeps_fsync_on() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    let settings = "select current_setting('listen_addresses'), current_setting('fsync'), \
                    current_setting('synchronous_commit'), current_setting('data_checksums')";
    let found: (String, String, String, String) = sqlx::query_as(settings)
        .fetch_one(&mut connect(&server).await)
        .await
        .unwrap();
    assert_eq!(
        found,
        (String::new(), "on".into(), "on".into(), "on".into())
    );
    let socket = std::fs::metadata(scratch.data().join("socket")).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o700);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_printed_psql_command_opens_the_database() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    assert_eq!(ask_psql(&server, "select current_database()"), "moa");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused_with_one_sentence() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    let (data, pid) = (scratch.data(), std::process::id());
    assert_eq!(
        refusal(&scratch.durable()).await,
        format!(
            "Moa already runs on {} as process {pid}: stop it, or choose another --data-dir",
            data.display()
        )
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_in_one_sentence() {
    let scratch = Scratch::new();
    Embedded::start(&scratch.durable())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    let own = scratch.data().join("postgres/postgresql.auto.conf");
    std::fs::write(&own, "shared_buffers = 'much'\n").unwrap();
    let sentence = refusal(&scratch.durable()).await;
    assert!(
        sentence.starts_with("PostgreSQL does not start ("),
        "{sentence}"
    );
    assert!(sentence.ends_with("or set DATABASE_URL"), "{sentence}");
}

#[tokio::test]
async fn an_ephemeral_server_leaves_nothing_when_it_is_stopped() {
    let server = Embedded::start(&ephemeral()).await.unwrap();
    let cluster = data_directory(&server).await;
    server.stop().await.unwrap();
    assert!(!Path::new(&cluster).parent().unwrap().exists());
}

/// A start may run in a task of its own.
#[test]
fn a_start_is_send() {
    fn assert_send<T: Send>(_: T) {}
    assert_send(Embedded::start(&ephemeral()));
}
