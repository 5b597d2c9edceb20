//! Faults of what a process reads from files and writes to its standard error.

use std::fs::File;
use std::process::{Command, Stdio};
use testbed::TempFolder;

use super::prometheus::Prometheus;
use crate::harness::{Start, TestApp};
use crate::tokens::{token, write};

/// A pipe with a name: its reader can go and come back.
struct NamedPipe(TempFolder);

impl NamedPipe {
    fn new() -> Self {
        let folder = TempFolder::new("pipe");
        assert!(Command::new("mkfifo").arg(folder.join("lines")).status().unwrap().success());
        Self(folder)
    }

    /// Who opens it to write waits for a reader, unless it opens it to read as well.
    fn open(&self) -> (File, File) {
        let path = self.0.join("lines");
        let both = File::options().read(true).write(true).open(&path).unwrap();
        let (writer, reader) = (File::options().write(true).open(&path).unwrap(), File::open(&path).unwrap());
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
