//! Faults of what a process reads from files and writes to its standard error.

use std::fs::File;
use std::process::{Command, Stdio};
use testbed::TempFolder;
use testbed::certificates::Authority;

use super::prometheus::Prometheus;
use crate::harness::{Start, TestApp};
use crate::tokens::{token, write};

/// A pipe with a name: its reader can go and come back.
struct NamedPipe(TempFolder);

impl NamedPipe {
    fn new() -> Self {
        let folder = TempFolder::new("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(folder.join("lines"))
                .status()
                .unwrap()
                .success()
        );
        Self(folder)
    }

    /// Who opens it to write waits for a reader, unless it opens it to read as well.
    fn open(&self) -> (File, File) {
        let path = self.0.join("lines");
        let both = File::options().read(true).write(true).open(&path).unwrap();
        let (writer, reader) = (
            File::options().write(true).open(&path).unwrap(),
            File::open(&path).unwrap(),
        );
        drop(both);
        (writer, reader)
    }

    fn reader(&self) -> File {
        File::open(self.0.join("lines")).unwrap()
    }
}

/// Steps: a line of the file of tokens is none, and it is mended; nobody reads standard error while something is logged, and then somebody does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_files_ring_theirs() {
    let (folder, pipe) = (TempFolder::new("alarms"), NamedPipe::new());
    let (file, ann) = (folder.file("tokens"), token("ann", "operator").await);
    write(&file, &[&ann.line]);
    let mut app = TestApp::of(0, Start::serve().env("MOA_TOKENS_FILE", &file)).await;
    let (writer, reader) = pipe.open();
    let moa = app.start().open_with(Stdio::from(writer)).await;
    app.processes.push(moa);
    let prometheus = Prometheus::of(&app.processes).await;
    prometheus.is_quiet().await;

    write(&file, &[&ann.line, "eve operator everything"]);
    prometheus.rings(&["MoaTokensFileBroken"]).await;
    write(&file, &[&ann.line]);
    prometheus.is_quiet().await;

    drop(reader);
    for title in ["one", "two"] {
        app.open_product(title, 100).await;
    }
    prometheus.rings(&["MoaLogLinesDropped"]).await;
    let _reader = pipe.reader();
    app.open_product("three", 100).await;
    prometheus.is_quiet().await;
}

/// Steps: the listener's certificate is good, expires in a week, has expired, and is renewed, while the process runs; it is asked at its ops
/// port, which shows none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_rings_before_it_expires_and_after_it_until_it_is_renewed() {
    let (folder, authority, database) = (
        TempFolder::new("alarms"),
        Authority::new("a"),
        testbed::Database::fresh().await,
    );
    let files = authority.issue("127.0.0.1").write(&folder);
    let listen = [
        "serve",
        "query-api",
        "--query-listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
    ];
    let start = Start::bare(&listen).on(database.url());
    let start = start
        .env("MOA_TLS_CERT_FILE", &files.certificate)
        .env("MOA_TLS_KEY_FILE", &files.key);
    let moas = [start.open().await];
    let prometheus = Prometheus::of(&moas).await;
    prometheus.is_quiet().await;
    authority.issue_for_days("127.0.0.1", 7).overwrite(&files);
    prometheus.rings(&["MoaCertificateExpires"]).await;
    authority.issue_expired("127.0.0.1").overwrite(&files);
    prometheus.rings(&["MoaCertificateExpired"]).await;
    authority.issue_for_days("127.0.0.1", 90).overwrite(&files);
    prometheus.is_quiet().await;
}
