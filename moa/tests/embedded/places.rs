//! Where the programs come from, where the data may be, and who runs it.

use std::env::current_exe;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use moa::postgres::{Embedded, Options, Search};

use crate::support::{
    Scratch, assert_row_is_there, hold_if_child, holder, is_root, kill, refusal, wait_for_hold, write_a_row,
};

#[tokio::test]
async fn without_an_installed_postgresql_the_fetched_one_serves() {
    let scratch = Scratch::new();
    let search = Search { folders: Vec::new(), ..Search::of_this_machine().unwrap() };
    let server = Embedded::start_with(&scratch.durable(), &search).await.unwrap();
    assert!(server.describe().starts_with("PostgreSQL 18."), "{}", server.describe());
    write_a_row(&server).await;
    server.stop().await.unwrap();

    // Whatever is installed: a cluster keeps to its own version.
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    assert!(server.describe().starts_with("PostgreSQL 18."), "{}", server.describe());
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused_with_one_sentence() {
    let scratch = Scratch::new();
    let cluster = scratch.data().join("postgres");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let sentence = refusal(&scratch.durable()).await;
    assert!(sentence.starts_with("the data folder belongs to PostgreSQL 9 and"), "{sentence}");
    assert!(sentence.ends_with("install PostgreSQL 9, choose another --data-dir or set DATABASE_URL"), "{sentence}");
}

#[tokio::test]
async fn a_data_folder_with_a_path_too_long_for_a_socket_works() {
    let scratch = Scratch::new();
    let data_dir = scratch.0.join("long ' , ".repeat(12)).join("data");
    let options = Options { data_dir, ephemeral: false };
    let server = Embedded::start(&options).await.unwrap();
    write_a_row(&server).await;
    server.stop().await.unwrap();
    let server = Embedded::start(&options).await.unwrap();
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_postgres_cannot_reach_is_refused_with_one_sentence() {
    let scratch = Scratch::new();
    let closed = scratch.0.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let options = Options { data_dir: closed.join("data"), ephemeral: false };
    if is_root() {
        let way_out = format!("run `chmod o+x {}` or choose another --data-dir", closed.display());
        let sentence = refusal(&options).await;
        assert!(sentence.ends_with(&way_out), "{sentence}");
    } else {
        // Only root hands PostgreSQL to another account; one's own closed folder is no hindrance.
        Embedded::start(&options).await.unwrap().stop().await.unwrap();
    }
}

/// As root this is the test of the other way; an ordinary user repeats the others here.
#[tokio::test]
async fn an_ordinary_user_runs_it_as_himself() {
    hold_if_child().await;
    let scratch = Scratch::new();
    let program = scratch.0.join("program");
    std::fs::copy(current_exe().unwrap(), &program).unwrap();
    let mut child = holder(&program, "places::an_ordinary_user_runs_it_as_himself", &scratch.data());
    child.env("HOME", &scratch.0);
    if is_root() {
        let nobody = 65534;
        chown(&scratch.0, Some(nobody), Some(nobody)).unwrap();
        child.uid(nobody).gid(nobody);
    }
    let mut child = child.spawn().unwrap();
    let cluster = wait_for_hold(&mut child);
    assert_eq!(std::fs::metadata(&cluster).unwrap().uid(), std::fs::metadata(&scratch.0).unwrap().uid());
    kill(child);
}
