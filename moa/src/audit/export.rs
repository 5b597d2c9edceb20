//! `moa audit export`: the log, or what a filter leaves of it, to a file or to standard output.

use super::client::Client;
use super::events::EventFilter;
use crate::output::{StandardOutput, print_note};
use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATH: &str = "/admin/audit/export";
/// How often the bar moves.
const DRAW: Duration = Duration::from_millis(100);

/// What to export, and where to.
#[derive(Clone, Debug, Args)]
pub struct ExportSettings {
    #[command(flatten)]
    filter: EventFilter,
    /// NDJSON says which log it is of, and where it ends; a CSV cannot
    #[arg(long, default_value = "ndjson")]
    format: Form,
    /// Write to this file, which is there once it is whole; without it, to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "out")]
    force: bool,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A JSON object for each line.
    Ndjson,
    /// RFC 4180.
    Csv,
}

pub(super) async fn run(settings: ExportSettings, client: &Client<'_>) -> anyhow::Result<()> {
    let media_type = match settings.format {
        Form::Ndjson => "application/x-ndjson",
        Form::Csv => "text/csv",
    };
    let query = settings.filter.query();
    let Some(out) = settings.out else {
        let answer = client.stream(PATH, &query, media_type).await?;
        return copy(answer, &mut StandardOutput, &ProgressBar::hidden()).await.map(drop);
    };
    anyhow::ensure!(
        settings.force || fs::symlink_metadata(&out).is_err(),
        "{} is there already: choose another name, or replace it with --force",
        out.display()
    );
    let answer = client.stream(PATH, &query, media_type).await?;
    let bytes = save(answer, &out).await?;
    print_note!("Wrote {} ({bytes} bytes).", out.display());
    Ok(())
}

/// Under another name until it is whole and on the disk, so that no half file is taken for a whole one.
async fn save(answer: Response, out: &Path) -> anyhow::Result<u64> {
    let mut partial = out.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let saved = write(answer, &partial, out).await;
    if saved.is_err() {
        // What is wrong is told already; that it may not even be there adds nothing.
        fs::remove_file(&partial).ok();
    }
    saved
}

async fn write(answer: Response, partial: &Path, out: &Path) -> anyhow::Result<u64> {
    let cannot = || format!("cannot write {}", out.display());
    let mut file = File::create(partial).with_context(cannot)?;
    let bytes = copy(answer, &mut file, &bar()).await?;
    file.sync_all().with_context(cannot)?;
    fs::rename(partial, out).with_context(cannot)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?;
    Ok(bytes)
}

async fn copy(mut answer: Response, out: &mut impl Write, bar: &ProgressBar) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(block) = answer.chunk().await.context("the export was broken off: begin again")? {
        out.write_all(&block).context("the export cannot be written")?;
        bytes += block.len() as u64;
        bar.set_position(bytes);
    }
    out.flush().context("the export cannot be written")?;
    bar.finish_and_clear();
    Ok(bytes)
}

/// How much has come, for who looks.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{spinner} {bytes} written, {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(DRAW);
    bar
}
