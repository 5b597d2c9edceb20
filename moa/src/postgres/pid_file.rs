//! `postmaster.pid`, which a server leaves in its cluster while it runs, and also when it is killed.

use std::path::{Path, PathBuf};

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    /// The folder of the server's socket; empty while it starts.
    pub(super) socket: PathBuf,
}

const NAME: &str = "postmaster.pid";

impl PidFile {
    /// The file of a cluster, if there is one that can be understood.
    pub(super) fn of(cluster: &Path) -> Option<PidFile> {
        Self::read(&cluster.join(NAME))
    }

    fn read(path: &Path) -> Option<PidFile> {
        Self::parse(&std::fs::read_to_string(path).ok()?)
    }

    /// Lines: pid, cluster, start time, port, socket folder, and more.
    fn parse(text: &str) -> Option<PidFile> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let socket = lines.nth(3).unwrap_or_default().into();
        Some(PidFile { pid, socket })
    }

    /// Whether no server has this pid; `None` where the system does not tell.
    pub(super) fn is_gone(&self) -> Option<bool> {
        let is_told = Path::new("/proc/self").exists();
        is_told.then(|| !Path::new(&format!("/proc/{}", self.pid)).exists() || self.misleads())
    }

    /// Whether PostgreSQL would take the pid for a running server's although it is none.
    fn misleads(&self) -> bool {
        // No such file: the process is gone, which PostgreSQL sees by itself, or this is no Linux.
        std::fs::read_to_string(format!("/proc/{}/status", self.pid))
            .is_ok_and(|status| is_no_server(&status))
    }
}

/// Another program has the pid, as after a container's restart, or nobody has collected the killed server yet.
fn is_no_server(status: &str) -> bool {
    let field = |name| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let name = field("Name:").unwrap_or_default();
    !name.starts_with("postgres") || field("State:").is_some_and(|state| state.starts_with('Z'))
}

/// Removes the files of a killed server that PostgreSQL would refuse to start beside: its pid file and its socket's.
///
/// Whether processes of the killed server still use the cluster it sees by their shared memory, not by these.
pub(super) fn remove_if_misleading(cluster: &Path, socket: &Path) {
    for file in [cluster.join(NAME), socket.with_added_extension("lock")] {
        if PidFile::read(&file).is_some_and(|left| left.misleads()) {
            // If it cannot be removed the server's own refusal says the rest.
            std::fs::remove_file(file).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_running_and_of_a_starting_server_is_read() {
        let running =
            "4711\n/data/postgres\n1700000000\n5432\n/data/socket\n\n  12345 3\nready   \n";
        assert_eq!(
            PidFile::parse(running),
            Some(PidFile {
                pid: 4711,
                socket: "/data/socket".into()
            })
        );
        assert_eq!(
            PidFile::parse("4711\n/data\n"),
            Some(PidFile {
                pid: 4711,
                socket: PathBuf::new()
            })
        );
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn only_a_living_postgres_counts_as_a_server() {
        for (status, no_server) in [
            ("Name:\tpostgres\nState:\tS (sleeping)\n", false),
            ("Name:\tpostgres\nState:\tZ (zombie)\n", true),
            ("Name:\tsh\nState:\tS (sleeping)\n", true),
        ] {
            assert_eq!(is_no_server(status), no_server, "{status}");
        }
    }
}
