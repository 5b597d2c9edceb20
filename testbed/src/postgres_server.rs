//! A PostgreSQL of a test's own that listens on TCP, with TLS where it has a certificate.

use crate::certificates::{Authority, Issued};
use crate::{TempFolder, free_port};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that takes longer to start is none.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Who may log in, all of them superusers, and how: over TLS only, without TLS only, over TLS with a certificate of their own.
const LOGINS: [(&str, &str); 3] = [
    ("encrypted", "hostssl all encrypted samehost trust"),
    ("plain", "hostnossl all plain samehost trust"),
    ("certified", "hostssl all certified samehost cert"),
];

/// At a port that was free; gone with the value. Its logins are `encrypted`, which it takes over TLS only, `plain`, which it takes
/// without, and `certified`, which must show a certificate of that name.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    process: Child,
    folder: TempFolder,
}

impl PostgresServer {
    /// Starts one that shows `certificate` and believes the certificates of clients which `clients` issued; without a certificate it
    /// speaks no TLS. Waits until it listens.
    pub fn start(certificate: Option<&Issued>, clients: &Authority) -> Self {
        let (folder, port) = (TempFolder::new("postgres"), free_port());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).expect("a mode");
        let account = account();
        let data = folder.join("data");
        fs::create_dir(&data).expect("a folder");
        give(&data, account);
        let initdb = program("initdb", account)
            .args(["--auth=trust", "-U", "owner", "-E", "UTF8", "-D"])
            .arg(&data)
            .output();
        let initdb = initdb.expect("this test needs a PostgreSQL of its own: install postgresql");
        assert!(
            initdb.status.success(),
            "{}",
            String::from_utf8_lossy(&initdb.stderr)
        );
        let written = [
            ("server.pem", certificate.map(|it| &it.certificate)),
            ("server.key", certificate.map(|it| &it.key)),
        ];
        for (name, text) in written
            .into_iter()
            .chain([("clients.pem", Some(&clients.pem()))])
        {
            write(&data.join(name), text.map_or("", String::as_str), account);
        }
        write(
            &data.join("pg_hba.conf"),
            &LOGINS.map(|(_, line)| line).join("\n"),
            account,
        );
        create_logins(&data, account);
        let process = run(&data, port, certificate.is_some(), account);
        let mut server = Self {
            port,
            process,
            folder,
        };
        server.wait();
        server
    }

    /// Shows this certificate from now on, to new connections.
    pub fn shows(&self, certificate: &Issued) {
        let (data, account) = (self.folder.join("data"), account());
        write(&data.join("server.pem"), &certificate.certificate, account);
        write(&data.join("server.key"), &certificate.key, account);
        let told = Command::new("kill")
            .args(["-HUP", &self.process.id().to_string()])
            .status();
        assert!(told.is_ok_and(|told| told.success()), "the server is gone");
    }

    /// The address of its database as this login, with these parameters.
    pub fn url(&self, login: &str, host: &str, parameters: &str) -> String {
        format!(
            "postgres://{login}@{host}:{}/postgres?{parameters}",
            self.port
        )
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().expect("a process");
            assert!(
                ended.is_none() && start.elapsed() < START_TIMEOUT,
                "a private PostgreSQL did not start: {ended:?}"
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // At once: SIGQUIT; what it leaves is removed.
        Command::new("kill")
            .args(["-QUIT", &self.process.id().to_string()])
            .status()
            .ok();
        self.process.wait().ok();
    }
}

fn create_logins(data: &Path, account: Option<(u32, u32)>) {
    let mut alone = program("postgres", account);
    alone
        .args(["--single", "-D"])
        .arg(data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut alone = alone.stderr(Stdio::null()).spawn().expect("postgres");
    let statements: String = LOGINS
        .iter()
        .map(|(name, _)| format!("create role {name} superuser login\n"))
        .collect();
    std::io::Write::write_all(
        &mut alone.stdin.take().expect("its input"),
        statements.as_bytes(),
    )
    .expect("it reads");
    assert!(
        alone.wait().expect("it ends").success(),
        "the logins were not created"
    );
}

fn run(data: &Path, port: u16, tls: bool, account: Option<(u32, u32)>) -> Child {
    let mut server = program("postgres", account);
    server
        .arg("-D")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let port = port.to_string();
    let mut settings = vec![
        ("port", port.as_str()),
        ("listen_addresses", "localhost"),
        ("unix_socket_directories", ""),
    ];
    if tls {
        let files = [
            ("ssl_cert_file", "server.pem"),
            ("ssl_key_file", "server.key"),
            ("ssl_ca_file", "clients.pem"),
        ];
        settings.extend([("ssl", "on")].into_iter().chain(files));
    }
    for (name, value) in settings {
        server.arg("-c").arg(format!("{name}={value}"));
    }
    server.spawn().expect("postgres")
}

/// A program of the newest installed PostgreSQL, or of the one in PATH, as an account that it accepts.
fn program(name: &str, account: Option<(u32, u32)>) -> Command {
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let newest = installed.max_by_key(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
    let mut command = Command::new(
        newest.map_or_else(|| PathBuf::from(name), |path| path.join("bin").join(name)),
    );
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// PostgreSQL refuses root: its package's account then, or `nobody`.
fn account() -> Option<(u32, u32)> {
    let number = |flag: &str, name: &str| -> Option<u32> {
        let said = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8(said.stdout).ok()?.trim().parse().ok()
    };
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|said| said.stdout == b"0\n");
    let accounts = ["postgres", "nobody"].into_iter().filter(|_| is_root);
    accounts
        .into_iter()
        .find_map(|name| Some((number("-u", name)?, number("-g", name)?)))
}

fn write(path: &Path, text: &str, account: Option<(u32, u32)>) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
    give(path, account);
}

fn give(path: &Path, account: Option<(u32, u32)>) {
    if let Some((uid, gid)) = account {
        chown(path, Some(uid), Some(gid)).expect("root gives it away");
    }
}
