//! What the figures depend on: the machine, the servers, the build.

use super::text::table;
use crate::contest::Servers;
use anyhow::Context;
use std::fs::read_to_string;
use std::path::Path;

/// File systems that lose what they have with the power: `fsync` costs nothing there.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// A table, and a sentence where something makes the figures worthless.
pub(super) async fn describe(servers: &Servers) -> anyhow::Result<String> {
    let (disk, file_system) = mount_of(Path::new(&servers.data_directory().await?))?;
    let mut facts = vec![
        ("processor", cpu_model()),
        ("cores", std::thread::available_parallelism()?.to_string()),
        ("memory", word_after("/proc/meminfo", "MemTotal:")),
        (
            "kernel",
            read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(),
        ),
        ("PostgreSQL's data on", format!("{file_system}, {disk}")),
        (
            "load before, 1, 5 and 15 minutes",
            servers.load_before.clone(),
        ),
        (
            "load at the end",
            read_to_string("/proc/loadavg").unwrap_or_default(),
        ),
    ];
    let settings = servers.describe().await?;
    facts.extend(
        settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    let rows: Vec<_> = facts
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value.trim().to_owned()])
        .collect();
    let mut text = table(&["", ""], &rows);
    if IN_MEMORY.contains(&file_system.as_str()) {
        text.push_str(
            "\n**The data is in memory: durability costs nothing here. Set TMPDIR to a folder on a disk.**\n",
        );
    }
    text.push_str(
        "\nThe load generator, the contestant, PostgreSQL, RabbitMQ and Redis share this machine. Every contestant has a \
         database of its own on the same private PostgreSQL, with the settings of Moa's own.\n",
    );
    Ok(text)
}

fn cpu_model() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name)
    });
    model.unwrap_or("unknown").trim().to_owned()
}

fn word_after(file: &str, label: &str) -> String {
    let text = read_to_string(file).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap_or("unknown")
        .trim()
        .to_owned()
}

/// The device and the file system of the mount that a folder is on: the longest mount point that it begins with.
fn mount_of(folder: &Path) -> anyhow::Result<(String, String)> {
    let mounts =
        read_to_string("/proc/self/mounts").context("only Linux says what is mounted where")?;
    let fields = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    let under = mounts
        .lines()
        .filter_map(fields)
        .filter(|(_, point, _)| folder.starts_with(point));
    let (disk, _, file_system) = under
        .max_by_key(|(_, point, _)| point.len())
        .context("a folder on no mount")?;
    Ok((disk, file_system))
}
