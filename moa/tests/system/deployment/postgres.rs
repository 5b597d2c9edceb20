//! PostgreSQL servers of a test's own, behind one address: to be stopped, killed, copied, put back and failed over.

use moa::postgres::{DATABASE, Embedded, Options};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use uuid::Uuid;

use crate::harness::{TEST_TIMEOUT, signal, within};

/// A folder of servers, which the tests' PostgreSQL account can pass through; removed with the value, its servers stopped.
pub struct Servers {
    folder: PathBuf,
}

/// One of them, while it runs.
pub struct Server {
    name: &'static str,
    embedded: Embedded,
}

impl Servers {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("moa-servers-{}", Uuid::now_v7().simple()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
        Self { folder }
    }

    /// The path of a file beside the servers.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Gives the folder to the account that the server `name` runs as, so that its commands may write beside it. Returns its user and group.
    pub fn give_to_account_of(&self, name: &str) -> (u32, u32) {
        let cluster = fs::metadata(self.folder.join(name).join("postgres")).unwrap();
        chown(&self.folder, Some(cluster.uid()), Some(cluster.gid())).unwrap();
        (cluster.uid(), cluster.gid())
    }

    /// Starts the server `name`, made when it is not there, and puts it behind the address.
    pub async fn start(&self, name: &'static str) -> Server {
        let server = self.start_aside(name).await;
        self.put_in_place(&server);
        server
    }

    /// Starts it, and leaves the address where it was.
    pub async fn start_aside(&self, name: &'static str) -> Server {
        let options = Options {
            data_dir: self.folder.join(name),
            ephemeral: false,
        };
        Server {
            name,
            embedded: Embedded::start(&options).await.unwrap(),
        }
    }

    /// Whoever connects from now on is led to this one.
    pub fn put_in_place(&self, server: &Server) {
        let place = self.folder.join("place");
        fs::remove_file(&place).ok();
        symlink(
            server
                .embedded
                .connect_options()
                .get_socket()
                .expect("it listens on a socket"),
            place,
        )
        .unwrap();
    }

    /// Where the server in place is reached.
    pub fn url(&self, server: &Server) -> String {
        let (options, place) = (server.embedded.connect_options(), self.folder.join("place"));
        format!(
            "postgres://{}@localhost/{DATABASE}?host={}",
            options.get_username(),
            place.display()
        )
    }

    /// Where this one is reached, in place or aside.
    pub fn url_of(&self, server: &Server) -> String {
        let options = server.embedded.connect_options();
        let socket = options
            .get_socket()
            .expect("it listens on a socket")
            .display();
        format!(
            "postgres://{}@localhost/{DATABASE}?host={socket}",
            options.get_username()
        )
    }

    /// Copies a stopped server's data, whatever was there before.
    pub fn copy(&self, from: &str, to: &str) {
        let [from, to] = [from, to].map(|name| self.folder.join(name));
        fs::remove_dir_all(&to).ok();
        let copied = Command::new("cp")
            .arg("-a")
            .args([&from, &to])
            .status()
            .unwrap();
        assert!(copied.success());
    }

    /// Makes the stopped copy `name` a standby of `primary`.
    pub fn is_standby(&self, name: &str, primary: &Server) {
        let cluster = self.folder.join(name).join("postgres");
        let options = primary.embedded.connect_options();
        let conninfo = format!(
            "host={} user={}",
            options.get_socket().unwrap().display(),
            options.get_username()
        );
        let settings = cluster.join("postgresql.auto.conf");
        let before = fs::read_to_string(&settings).unwrap();
        fs::write(
            &settings,
            format!("{before}\nprimary_conninfo = '{conninfo}'\n"),
        )
        .unwrap();
        fs::write(cluster.join("standby.signal"), "").unwrap();
    }
}

impl Server {
    pub async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.embedded.connect_options();
        options.connect().await.unwrap()
    }

    pub async fn sql(&self, sql: &str) {
        sqlx::raw_sql(sql)
            .execute(&mut self.connect().await)
            .await
            .unwrap();
    }

    pub async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&mut self.connect().await)
            .await
            .unwrap()
    }

    pub async fn stop(self) {
        self.embedded.stop().await.unwrap();
    }

    /// `kill -9` of the server and of all its backends.
    pub async fn killed(self, servers: &Servers) {
        let Some(postmaster) = postmaster(&servers.folder.join(self.name)) else {
            return;
        };
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &postmaster.to_string()])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let all = children.split_whitespace().map(|pid| pid.parse().unwrap());
        for pid in std::iter::once(postmaster).chain(all) {
            // Some may have ended by themselves already.
            Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .output()
                .unwrap();
        }
        within(TEST_TIMEOUT, "the server's end", async || {
            (!is_there(postmaster)).then_some(())
        })
        .await;
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if let Some(pid) = postmaster(&entry.path()).filter(|pid| is_there(*pid)) {
                signal("QUIT", pid);
            }
        }
        let start = Instant::now();
        while fs::remove_dir_all(&self.folder).is_err() && start.elapsed() < TEST_TIMEOUT {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The server's pid, as its own file has it.
fn postmaster(folder: &Path) -> Option<u32> {
    let file = fs::read_to_string(folder.join("postgres/postmaster.pid")).ok()?;
    file.lines().next()?.trim().parse().ok()
}

/// A zombie whose parent is slow to collect it counts as gone.
fn is_there(pid: u32) -> bool {
    let state = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .unwrap()
        .stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}
