//! CPU time of each process, from `/proc`.

use anyhow::Context;
use std::ops::Sub;

/// Linux counts in hundredths of a second, on every machine that Moa runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Names of the processes of RabbitMQ and Redis.
const BROKERS: [&str; 3] = ["beam.smp", "redis-server", "valkey-server"];

/// CPU seconds, user and system together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTimes {
    /// Of Moa's or the baseline's process.
    pub(crate) contestant: f64,
    /// Of the private PostgreSQL, all its processes, those that have ended too.
    pub(crate) postgres: f64,
    /// Of every RabbitMQ and Redis of the machine.
    pub(crate) brokers: f64,
    /// Of this process, which generates the load.
    pub(crate) loader: f64,
}

impl CpuTimes {
    /// Until now.
    pub(crate) fn read(contestant: u32, postmaster: u32) -> anyhow::Result<Self> {
        let (mut all, own) = (Self::default(), std::process::id());
        for entry in std::fs::read_dir("/proc")
            .context("CPU times are read from Linux's /proc")?
            .flatten()
        {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // It may have ended meanwhile; then its parent has its time.
            let Some(process) = Stat::of(pid) else {
                continue;
            };
            if pid == contestant {
                all.contestant += process.own;
            } else if pid == own {
                all.loader += process.own;
            } else if pid == postmaster {
                all.postgres += process.own + process.ended_children;
            } else if process.parent == postmaster {
                all.postgres += process.own;
            } else if BROKERS.contains(&process.name.as_str()) {
                all.brokers += process.own;
            }
        }
        Ok(all)
    }
}

impl Sub for CpuTimes {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            contestant: self.contestant - before.contestant,
            postgres: self.postgres - before.postgres,
            brokers: self.brokers - before.brokers,
            loader: self.loader - before.loader,
        }
    }
}

/// Memory of a process that is resident.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<f64> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    kilobytes
        .map(|kilobytes: f64| kilobytes * 1_024.0)
        .context("Linux does not say how much memory it has")
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `1 (a name) S 0 ...`: the name may hold blanks and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        // By their numbers in proc(5), less the three that are before.
        let seconds =
            |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Self {
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(14)? + seconds(15)?,
            ended_children: seconds(16)? + seconds(17)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_is() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 150 50 30 20 20 0 9 0 1 2 3";
        let expected = Stat {
            name: "a (b) c".into(),
            parent: 7,
            own: 2.0,
            ended_children: 0.5,
        };
        assert_eq!(Stat::parse(line), Some(expected));
    }
}
