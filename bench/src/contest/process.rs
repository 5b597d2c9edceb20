//! A child process: a Moa or a baseline.

use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A start reads keys, waits for the database and loads what is open.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A stop finishes what was accepted.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// A command that makes a key or migrates.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
/// Lines of a process's log that are shown when it fails.
const SHOWN_LINES: usize = 10;

/// A process that said that it is open; killed when the value goes.
pub(crate) struct Process {
    child: Child,
    pub(crate) pid: u32,
    /// What it printed until it was open.
    said: String,
}

impl Process {
    /// Starts it and waits until it prints a line with `open`. What it logs goes to the file `log`.
    pub(super) async fn start(
        mut command: Command,
        open: &str,
        log: &Path,
    ) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .kill_on_drop(true);
        let mut child = command.spawn().context("it cannot be started")?;
        let pid = child.id().context("it has ended")?;
        let mut lines = BufReader::new(child.stdout.take().context("it has no output")?).lines();
        let mut said = String::new();
        let heard = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await? {
                said.push_str(&line);
                said.push('\n');
                if line.contains(open) {
                    return anyhow::Ok(());
                }
            }
            bail!("it ended")
        });
        heard
            .await
            .context("it takes too long to open")
            .flatten()
            .with_context(|| last_lines(log))?;
        // So that the process never waits for a reader.
        tokio::spawn(
            async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} },
        );
        Ok(Self { child, pid, said })
    }

    /// What follows `label` in a line that it printed, blanks apart.
    pub(super) fn said_after(&self, label: &str) -> anyhow::Result<&str> {
        let line = self
            .said
            .lines()
            .find_map(|line| line.trim().strip_prefix(label));
        line.map(str::trim)
            .with_context(|| format!("it does not say where {label} is: {}", self.said))
    }

    /// Asks it to end, and waits.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let asked = command(Path::new("kill"))
            .arg("-TERM")
            .arg(self.pid.to_string())
            .status()
            .await?;
        ensure!(
            asked.success(),
            "process {} had ended before it was asked to",
            self.pid
        );
        timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .context("it does not stop")??;
        Ok(())
    }
}

/// A program in an environment that has `PATH` and nothing else: no setting comes from whoever starts the bench.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(super) async fn run(mut command: Command) -> anyhow::Result<()> {
    let ended = timeout(COMMAND_TIMEOUT, command.stdin(Stdio::null()).output())
        .await
        .context("it does not end")??;
    ensure!(
        ended.status.success(),
        "it failed: {}",
        String::from_utf8_lossy(&ended.stderr).trim()
    );
    Ok(())
}

/// The `moa` that was built with this bench.
pub(super) fn moa() -> anyhow::Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let moa = bench.with_file_name("moa");
    let profile = if cfg!(debug_assertions) {
        ""
    } else {
        " --release"
    };
    ensure!(
        moa.is_file(),
        "there is no {}: build it with `cargo build{profile} -p moa`",
        moa.display()
    );
    Ok(moa)
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(SHOWN_LINES).collect();
    let lines: Vec<_> = lines.into_iter().rev().collect();
    format!("it did not open; the end of its log:\n{}", lines.join("\n"))
}
