//! `moa audit export`: the log, or what a filter leaves of it, to a file or to standard output.

use super::client::Client;
use super::events::EventFilter;
use crate::output::{StandardOutput, print_note};
use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;
use std::fs::{self, File, FileType};
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATH: &str = "/admin/audit/export";
/// How often the bar moves.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// What to export, and where to.
#[derive(Clone, Debug, Args)]
pub struct ExportSettings {
    #[command(flatten)]
    filter: EventFilter,
    /// NDJSON says which log it is of, and where it ends; a CSV cannot
    #[arg(long, default_value = "ndjson")]
    format: ExportFormat,
    /// Write to this file, which is there once it is whole; without it, to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there; nothing else than a file is replaced
    #[arg(long, requires = "out")]
    force: bool,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// A JSON object for each line.
    Ndjson,
    /// RFC 4180.
    Csv,
}

pub(super) async fn run(settings: ExportSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let media_type = match settings.format {
        ExportFormat::Ndjson => "application/x-ndjson",
        ExportFormat::Csv => "text/csv",
    };
    let query = settings.filter.query();
    let Some(out) = settings.out else {
        let answer = client.stream(PATH, &query, media_type).await?;
        return copy(answer, &mut StandardOutput, &ProgressBar::hidden())
            .await
            .map(drop);
    };
    may_be_written(&out, settings.force)?;
    let answer = client.stream(PATH, &query, media_type).await?;
    let bytes = save(answer, &out, settings.force).await?;
    print_note!("Wrote {} ({bytes} bytes).", out.display());
    Ok(())
}

/// Where nothing is, or with `force` a file, which is replaced. A device, a pipe, a folder or a link is never: its name would
/// be taken by a file, and whatever else uses it would be cut off.
fn may_be_written(out: &Path, force: bool) -> anyhow::Result<()> {
    let kind = match fs::symlink_metadata(out) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", out.display()));
        }
    };
    let out = out.display();
    anyhow::ensure!(
        kind.is_file(),
        "{out} is {}, which is not replaced: choose another name; without --out the export goes to standard output",
        named(kind)
    );
    anyhow::ensure!(
        force,
        "{out} is there already: choose another name, or replace it with --force"
    );
    Ok(())
}

fn named(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a device or a socket"
    }
}

/// Under another name until it is whole and on the disk, so that no half file is taken for a whole one.
async fn save(answer: Response, out: &Path, force: bool) -> anyhow::Result<u64> {
    let mut partial = out.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let file = File::create_new(&partial)
        .with_context(|| format!("cannot write {}", partial.display()))?;
    let saved = write(answer, file, &partial, out, force).await;
    if saved.is_err() {
        // The error is reported already; that the file may not even exist adds nothing.
        fs::remove_file(&partial).ok();
    }
    saved
}

async fn write(
    answer: Response,
    mut file: File,
    partial: &Path,
    out: &Path,
    force: bool,
) -> anyhow::Result<u64> {
    let cannot = || format!("cannot write {}", out.display());
    let bytes = copy(answer, &mut file, &bar()).await?;
    file.sync_all().with_context(cannot)?;
    // Much time has passed: somebody else may have taken the name.
    may_be_written(out, force)?;
    fs::rename(partial, out).with_context(cannot)?;
    let folder = out
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(cannot)?;
    Ok(bytes)
}

async fn copy(
    mut answer: Response,
    out: &mut impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(block) = answer
        .chunk()
        .await
        .context("the export was broken off: begin again")?
    {
        out.write_all(&block)
            .context("the export cannot be written")?;
        bytes += block.len() as u64;
        bar.set_position(bytes);
    }
    out.flush().context("the export cannot be written")?;
    bar.finish_and_clear();
    Ok(bytes)
}

/// A progress bar of what has arrived.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{spinner} {bytes} written, {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(REDRAW_INTERVAL);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Without `--force` nothing is replaced, with it a file and nothing else.
    #[test]
    fn only_files_are_replaced_and_only_with_force() {
        let folder =
            std::env::temp_dir().join(format!("moa-export-{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&folder).unwrap();
        let (file, link, nowhere, pipe) = (
            folder.join("file"),
            folder.join("link"),
            folder.join("nowhere"),
            folder.join("pipe"),
        );
        fs::write(&file, "mine").unwrap();
        symlink(&file, &link).unwrap();
        symlink(folder.join("gone"), &nowhere).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let said = |out: &Path, force| {
            may_be_written(out, force)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(said(&folder.join("new"), false), None);
        assert_eq!(said(&folder.join("new"), true), None);
        assert!(said(&file, false).unwrap().contains("is there already"));
        assert_eq!(said(&file, true), None);
        for (out, kind) in [
            (Path::new("/dev/full"), "a device or a socket"),
            (Path::new("/dev/null"), "a device or a socket"),
            (&folder, "a folder"),
            (&link, "a symbolic link"),
            (&nowhere, "a symbolic link"),
            (&pipe, "a pipe"),
        ] {
            for force in [false, true] {
                assert!(
                    said(out, force)
                        .unwrap()
                        .contains(&format!("is {kind}, which is not replaced")),
                    "{out:?}"
                );
            }
        }
        assert!(
            said(&file.join("below"), true)
                .unwrap()
                .contains("cannot look at")
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
