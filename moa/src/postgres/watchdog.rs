//! The watchdog removes an ephemeral server, even when Moa is killed.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, ChildStdin};

use super::cluster::Cluster;

/// Waits for the end of its input, which is the end of Moa; then stops the server and removes the folder. More than
/// once, because an `initdb` that was under way still writes for a moment.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read _
for try in 1 2 3 4 5 6 7 8 9 10; do
  "$1" -D "$2" -m immediate -t 10 stop
  rm -rf "$3" "$4" && exit 0
  sleep 0.5
done
"#;

/// As long as the script may take.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(120);

/// A process that outlives Moa by a moment. Dropping the value sets it to work, as Moa's death does.
#[derive(Debug)]
pub(super) struct Watchdog {
    process: Child,
    input: ChildStdin,
}

impl Watchdog {
    pub(super) fn spawn(cluster: &Cluster, root: &Path) -> anyhow::Result<Watchdog> {
        let mut command = cluster.account.command("/bin/sh");
        command
            .args(["-c", SCRIPT, "moa-watchdog"])
            .arg(cluster.binaries.program("pg_ctl"));
        command.arg(&cluster.folder).arg(root).arg(&cluster.socket);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A group of its own: Ctrl-C is for Moa.
        let mut process = command
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .context("cannot run /bin/sh")?;
        let input = process.stdin.take().context("the watchdog has no input")?;
        Ok(Watchdog { process, input })
    }

    /// Stops the server, removes its folder, and returns when both are done.
    pub(super) async fn clean_up(mut self, root: &Path) -> anyhow::Result<()> {
        drop(self.input);
        let ended = tokio::time::timeout(CLEAN_UP_TIMEOUT, self.process.wait()).await;
        ended.context("the ephemeral PostgreSQL does not stop")??;
        // PostgreSQL's account may not remove a folder from one that is not everybody's to write, as `TMPDIR` may be.
        match std::fs::remove_dir(root) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} is left over: remove it", root.display()))
            }
            _ => Ok(()),
        }
    }
}
