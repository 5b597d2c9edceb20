//! What the tests of the private PostgreSQL say in words.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use moa::postgres::{Embedded, Options};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// Set for a child that starts a server on this data folder, or an ephemeral one if it is empty.
pub const HOLD_VARIABLE: &str = "MOA_TEST_HOLD";

/// How long anything is waited for.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The folder of one test, where PostgreSQL's account reaches it; removed with the value, its server stopped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let folder = std::env::temp_dir().join(format!("moa-test-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o711)).unwrap();
        Scratch(folder)
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn durable(&self) -> Options {
        Options {
            data_dir: self.data(),
            ephemeral: false,
        }
    }

    /// The pid of the server that runs, or that ran when it was killed.
    pub fn postmaster(&self) -> Option<u32> {
        postmaster_of(&self.data().join("postgres"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster().filter(|pid| *pid != std::process::id()) {
            signal("-QUIT", pid);
            wait_until("the server's end", || !alive(pid));
        }
        wait_until("the folder's end", || {
            std::fs::remove_dir_all(&self.0).is_ok()
        });
    }
}

pub fn postmaster_of(cluster: &Path) -> Option<u32> {
    let file = std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    file.lines().next()?.trim().parse().ok()
}

pub fn ephemeral() -> Options {
    Options {
        data_dir: PathBuf::from("/nowhere"),
        ephemeral: true,
    }
}

pub fn signal(name: &str, pid: u32) {
    Command::new("kill")
        .args([name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// A zombie whose parent is slow to collect it counts as dead.
pub fn alive(pid: u32) -> bool {
    let state = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .unwrap()
        .stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}

pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < TEST_TIMEOUT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

pub async fn connect(server: &Embedded) -> PgConnection {
    PgConnection::connect_with(&server.connect_options())
        .await
        .unwrap()
}

pub async fn data_directory(server: &Embedded) -> String {
    let ask = "select current_setting('data_directory')";
    sqlx::query_scalar(ask)
        .fetch_one(&mut connect(server).await)
        .await
        .unwrap()
}

pub async fn write_a_row(server: &Embedded) {
    let mut session = connect(server).await;
    sqlx::raw_sql("create table kept (id int); insert into kept values (7)")
        .execute(&mut session)
        .await
        .unwrap();
}

pub async fn assert_row_is_there(server: &Embedded) {
    let row: i32 = sqlx::query_scalar("select id from kept")
        .fetch_one(&mut connect(server).await)
        .await
        .unwrap();
    assert_eq!(row, 7);
}

/// What `psql` prints when it is called as the start says.
pub fn ask_psql(server: &Embedded, statement: &str) -> String {
    let command = format!("{} -Atc '{statement}'", server.psql_command());
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end_matches('\n')
        .to_owned()
}

pub async fn refusal(options: &Options) -> String {
    let error = Embedded::start(options)
        .await
        .expect_err("it should have refused");
    format!("{error:#}")
}

/// In a child only: starts a server, writes a row, says where, and waits to be killed.
pub async fn hold_if_child() {
    let Some(held) = std::env::var_os(HOLD_VARIABLE) else {
        return;
    };
    let ephemeral = held.is_empty();
    let server = Embedded::start(&Options {
        data_dir: held.into(),
        ephemeral,
    })
    .await
    .unwrap();
    write_a_row(&server).await;
    println!("held {}", data_directory(&server).await);
    std::future::pending::<()>().await;
}

/// This test program once more, to hold a server until it is killed; `test` must begin with `hold_if_child`.
pub fn holder(program: &Path, test: &str, data_dir: &Path) -> Command {
    let mut child = Command::new(program);
    child
        .args(["--exact", test, "--nocapture"])
        .env(HOLD_VARIABLE, data_dir)
        .stdout(Stdio::piped());
    child
}

/// Returns the cluster's folder when the child has its server.
pub fn wait_for_hold(child: &mut Child) -> PathBuf {
    let said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut held = said.filter_map(|line| {
        line.split_once("held ")
            .map(|(_, folder)| PathBuf::from(folder))
    });
    held.next().expect("the child starts a server")
}

pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
