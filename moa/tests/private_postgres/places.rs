//! Where the programs come from, where the data may be, and who runs it.

use std::env::current_exe;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

use moa::postgres::{Embedded, Options, Search};

use crate::scratch::{
    Scratch, ask_psql, assert_row_is_there, hold_if_child, holder, is_root, kill, refusal,
    wait_for_hold, write_a_row,
};

#[tokio::test]
async fn without_an_installed_postgresql_the_fetched_one_serves() {
    let scratch = Scratch::new();
    let search = Search {
        folders: Vec::new(),
        ..Search::of_this_machine().unwrap()
    };
    let server = Embedded::start_with(&scratch.durable(), &search)
        .await
        .unwrap();
    assert!(
        server.describe().starts_with("PostgreSQL 18."),
        "{}",
        server.describe()
    );
    write_a_row(&server).await;
    server.stop().await.unwrap();

    // Whatever is installed: a cluster keeps to its own version.
    let server = Embedded::start(&scratch.durable()).await.unwrap();
    assert!(
        server.describe().starts_with("PostgreSQL 18."),
        "{}",
        server.describe()
    );
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
    assert!(
        sentence.starts_with("the data folder belongs to PostgreSQL 9 and"),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("install PostgreSQL 9, choose another --data-dir or set DATABASE_URL"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_data_folder_with_a_path_too_long_for_a_socket_works() {
    let scratch = Scratch::new();
    let data_dir = scratch.0.join(r#"long ' ,"\ "#.repeat(12)).join("data");
    let options = Options {
        data_dir,
        ephemeral: false,
    };
    let server = Embedded::start(&options).await.unwrap();
    write_a_row(&server).await;
    server.stop().await.unwrap();
    let server = Embedded::start(&options).await.unwrap();
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

/// pg_ctl hands paths to a shell, and PostgreSQL's settings have an escape character.
#[tokio::test]
async fn a_data_folder_may_have_any_characters_in_its_name() {
    let scratch = Scratch::new();
    let data_dir = scratch.0.join(r#" a "b" 'c' \n $HOME `touch ran` ü "#);
    let options = Options {
        data_dir: data_dir.clone(),
        ephemeral: false,
    };
    let server = Embedded::start(&options).await.unwrap();
    write_a_row(&server).await;
    assert_eq!(
        ask_psql(&server, "show data_directory"),
        data_dir.join("postgres").display().to_string()
    );
    server.stop().await.unwrap();
    let server = Embedded::start(&options).await.unwrap();
    assert_row_is_there(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_folder_with_a_line_break_in_its_name_is_refused_with_one_sentence() {
    let scratch = Scratch::new();
    let options = Options {
        data_dir: scratch.0.join("a\nb"),
        ephemeral: false,
    };
    let sentence = refusal(&options).await;
    assert!(
        sentence.contains("choose another --data-dir") && sentence.lines().count() == 1,
        "{sentence}"
    );
}

/// Set for a child that fetches PostgreSQL into this folder.
const FETCH_VARIABLE: &str = "MOA_TEST_FETCH";

async fn fetch_if_child() {
    let Some(cache) = std::env::var_os(FETCH_VARIABLE) else {
        return;
    };
    let search = Search {
        folders: Vec::new(),
        cache: cache.into(),
    };
    let options = Options {
        data_dir: "/nowhere".into(),
        ephemeral: true,
    };
    let sentence = format!(
        "{:#}",
        Embedded::start_with(&options, &search).await.unwrap_err()
    );
    println!("refused: {sentence}");
    assert!(
        !Search::of_this_machine()
            .unwrap()
            .folders
            .iter()
            .any(|folder| folder.is_relative())
    );
    std::process::exit(7);
}

/// Steps: a folder has all that a start may run by its name, each leaving a mark; a start in this folder, with `PATH` and
/// `PYTHONPATH` pointing there, looks for PostgreSQL and tries to fetch it, from an index that has none; there is no mark.
#[tokio::test]
async fn nothing_that_lies_in_the_current_folder_is_run() {
    fetch_if_child().await;
    let scratch = Scratch::new();
    let (planted, links) = (scratch.0.join("planted"), scratch.0.join("links"));
    std::fs::create_dir_all(planted.join("pip")).unwrap();
    std::fs::create_dir(&links).unwrap();
    plant(&planted, &scratch.0.join("mark"));
    let test = "places::nothing_that_lies_in_the_current_folder_is_run";
    let mut child = holder(&current_exe().unwrap(), test, Path::new(""));
    let path = std::env::var("PATH").unwrap();
    child
        .current_dir(&planted)
        .env_remove(crate::scratch::HOLD_VARIABLE)
        .env(FETCH_VARIABLE, scratch.0.join("cache"));
    child
        .env("PATH", format!(".::{path}"))
        .env("PYTHONPATH", &planted);
    child.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", &links);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(
        said.contains("no PostgreSQL is installed and none could be fetched"),
        "{said}"
    );
    assert!(
        said.contains("No matching distribution found"),
        "pip itself was asked: {said}"
    );
    assert!(
        !scratch.0.join("mark").exists(),
        "{}",
        std::fs::read_to_string(scratch.0.join("mark")).unwrap()
    );
}

/// Programs and modules that leave a mark.
fn plant(folder: &Path, mark: &Path) {
    let mark = mark.display();
    for program in ["python3", "id", "sh", "pg_ctl", "initdb", "postgres"] {
        let file = folder.join(program);
        std::fs::write(&file, format!("#!/bin/sh\necho {program} >> '{mark}'\n")).unwrap();
        std::fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
    }
    for module in [
        "pip/__init__.py",
        "pip/__main__.py",
        "zipfile.py",
        "sitecustomize.py",
    ] {
        std::fs::write(
            folder.join(module),
            format!("open('{mark}', 'a').write('{module} ')\n"),
        )
        .unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_postgres_cannot_reach_is_refused_with_one_sentence() {
    let scratch = Scratch::new();
    let closed = scratch.0.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let options = Options {
        data_dir: closed.join("data"),
        ephemeral: false,
    };
    if is_root() {
        let remedy = format!(
            "run `chmod o+x {}` or choose another --data-dir",
            closed.display()
        );
        let sentence = refusal(&options).await;
        assert!(sentence.ends_with(&remedy), "{sentence}");
    } else {
        // Only root hands PostgreSQL to another account; one's own closed folder is no hindrance.
        Embedded::start(&options)
            .await
            .unwrap()
            .stop()
            .await
            .unwrap();
    }
}

/// As root this is the test of the other way; an ordinary user repeats the others here.
#[tokio::test]
async fn an_ordinary_user_runs_it_as_himself() {
    hold_if_child().await;
    let scratch = Scratch::new();
    let program = scratch.0.join("program");
    std::fs::copy(current_exe().unwrap(), &program).unwrap();
    let mut child = holder(
        &program,
        "places::an_ordinary_user_runs_it_as_himself",
        &scratch.data(),
    );
    child.env("HOME", &scratch.0);
    if is_root() {
        let nobody = 65534;
        chown(&scratch.0, Some(nobody), Some(nobody)).unwrap();
        child.uid(nobody).gid(nobody);
    }
    let mut child = child.spawn().unwrap();
    let cluster = wait_for_hold(&mut child);
    assert_eq!(
        std::fs::metadata(&cluster).unwrap().uid(),
        std::fs::metadata(&scratch.0).unwrap().uid()
    );
    kill(child);
}
