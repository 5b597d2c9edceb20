//! `moa` as a process: started with its settings, read, signalled, and killed with the value.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::TEST_TIMEOUT;

/// Both are canaries too: no answer and no line of a process may show them.
pub const OPERATOR: &str = "operator-canary-7f3a9c";
pub const AUDITOR: &str = "auditor-canary-51b2e8";

/// The last line of what a process prints when it is open.
const OPEN: &str = "Ctrl-C stops it.";

/// What a process is to be started with.
#[derive(Clone)]
pub struct Start {
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// What a shell does before it becomes the program.
    before: Option<String>,
    /// Of the terminal that its standard output is, if it is one.
    columns: Option<u16>,
}

/// A process that has ended, and all it said.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// A running process; killed when the value goes.
pub struct MoaProcess {
    child: Child,
    out: watch::Receiver<String>,
    err: watch::Receiver<String>,
    pub read: String,
    pub write: String,
    pub admin: String,
    pub ops: String,
}

impl Start {
    /// Nothing but these arguments; no setting comes from the environment of the tests.
    pub fn bare(args: &[&str]) -> Self {
        // The tests' HTTP clients want one even where they speak no TLS.
        tls::install_provider();
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            before: None,
            columns: None,
        }
    }

    /// Everything in one process, on ports of its own, without the demo.
    pub fn serve() -> Self {
        Self::serve_with_demo().with(&["--no-demo"])
    }

    pub fn serve_with_demo() -> Self {
        let listen = ["--query-listen", "--command-listen", "--admin-listen"];
        let args: Vec<_> = listen
            .iter()
            .flat_map(|flag| [*flag, "127.0.0.1:0"])
            .collect();
        Self::bare(&args)
            .env("MOA_OPERATOR_TOKEN", OPERATOR)
            .env("MOA_AUDITOR_TOKEN", AUDITOR)
    }

    pub fn on(self, database_url: &str) -> Self {
        self.env("DATABASE_URL", database_url)
    }

    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(there, _)| there != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What it is to be set to.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(there, _)| there == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(there, _)| there != name);
        self
    }

    /// The same as `nohup` and the like start it: with these signals ignored.
    pub fn ignoring(self, signals: &str) -> Self {
        Self {
            before: Some(format!("trap '' {signals}")),
            ..self
        }
    }

    /// It may open so many files and cannot raise that.
    pub fn with_open_files(self, files: u32) -> Self {
        Self {
            before: Some(format!("ulimit -n {files}")),
            ..self
        }
    }

    /// Its standard output is a terminal of so many columns.
    pub fn on_terminal(self, columns: u16) -> Self {
        Self {
            columns: Some(columns),
            ..self
        }
    }

    fn program(&self) -> Command {
        let moa = env!("CARGO_BIN_EXE_moa");
        if let Some(columns) = self.columns {
            let mut python = Command::new("python3");
            let script = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/system/harness/terminal.py"
            );
            python.args([script, &columns.to_string(), moa]);
            return python;
        }
        let Some(before) = &self.before else {
            return Command::new(moa);
        };
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), moa]);
        shell
    }

    pub fn command(&self) -> Command {
        let mut command = self.program();
        let ours = |name: &str| {
            let is_prefixed = ["MOA_", "OTEL_"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            is_prefixed || ["DATABASE_URL", "AMQP_URL", "REDIS_URL"].contains(&name)
        };
        std::env::vars()
            .map(|(name, _)| name)
            .filter(|name| ours(name))
            .for_each(|name| {
                command.env_remove(name);
            });
        command
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A process that has opened.
    pub async fn open(&self) -> MoaProcess {
        self.open_with(Stdio::piped()).await
    }

    /// The same with this as its standard error.
    pub async fn open_with(&self, err: Stdio) -> MoaProcess {
        let mut command = self.command();
        let mut child = command.stderr(err).spawn().unwrap();
        // It may hold a copy of what the process has now.
        drop(command);
        let mut out = gather(child.stdout.take().unwrap());
        let err = child
            .stderr
            .take()
            .map_or_else(|| watch::channel(String::new()).1, gather);
        let is_open = timeout(TEST_TIMEOUT, out.wait_for(|said| said.contains(OPEN)))
            .await
            .is_ok_and(|said| said.is_ok());
        let banner = out.borrow().clone();
        assert!(
            is_open,
            "moa did not open; it said: {banner}{}",
            *err.borrow()
        );
        let [read, write, admin, ops] =
            ["read", "write", "admin", "ops"].map(|who| address(&banner, who));
        // Where the admin listener is, it says how the process is, too.
        let ops = if ops.is_empty() { admin.clone() } else { ops };
        MoaProcess {
            child,
            out,
            err,
            read,
            write,
            admin,
            ops,
        }
    }

    /// A process that has just been started; killed when the value goes.
    pub fn begin(&self) -> Child {
        self.command().spawn().unwrap()
    }

    /// A process that is expected to end by itself.
    pub async fn end(&self) -> Ended {
        let output = timeout(TEST_TIMEOUT, self.command().output())
            .await
            .expect("moa goes on and on")
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            status: output.status,
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl MoaProcess {
    /// All it has printed so far.
    pub fn said(&self) -> String {
        self.out.borrow().clone()
    }

    /// All it has logged so far.
    pub fn logged(&self) -> String {
        self.err.borrow().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        signal(name, self.pid());
    }

    /// Waits for its end, at most `bound`.
    pub async fn ended(mut self, bound: Duration) -> Ended {
        let status = timeout(bound, self.child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("it still runs after {bound:?}: {}", self.logged()))
            .unwrap();
        // The pipes end with the process.
        for lines in [&mut self.out, &mut self.err] {
            while timeout(TEST_TIMEOUT, lines.changed())
                .await
                .expect("the pipes end")
                .is_ok()
            {}
        }
        Ended {
            status,
            out: self.said(),
            err: self.logged(),
        }
    }

    /// SIGTERM, and waits for its end, at most `bound`.
    pub async fn stopped(self, bound: Duration) -> Ended {
        self.signal("TERM");
        self.ended(bound).await
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn killed(self) -> Ended {
        self.signal("KILL");
        self.ended(TEST_TIMEOUT).await
    }
}

pub fn signal(name: &str, pid: u32) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "SIG{name} did not reach process {pid}");
}

/// Everything that comes from `pipe`, as it comes.
fn gather(pipe: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (said, hear) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said.send_modify(|all| {
                all.push_str(&line);
                all.push('\n');
            });
        }
    });
    hear
}

/// Empty when the process has no such listener.
fn address(banner: &str, who: &str) -> String {
    let line = banner
        .lines()
        .find_map(|line| line.trim().strip_prefix(who))
        .map(str::trim);
    line.unwrap_or_default().to_owned()
}
