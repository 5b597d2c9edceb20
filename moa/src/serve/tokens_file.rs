//! The file of named tokens: read at the start, and again whenever it changes.

use crate::secret_file;
use crate::token::{NamedTokens, SharedTokens};
use anyhow::{Context, ensure};
use event_log::RepeatedFault;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the file is read: a token that is taken back is accepted for as long.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 256 * 1_024;

const FAULT: &str =
    "the file of tokens cannot be used; the tokens that were read before stay in use";

/// The file, and what was read of it last.
pub(super) struct TokensFile {
    path: PathBuf,
    text: String,
    tokens: SharedTokens,
}

impl TokensFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, others may write to it, or a line of it is no entry.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let text = read(path)?;
        let tokens = parse(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
            text,
            tokens: SharedTokens::new(tokens),
        })
    }

    /// The tokens, which change with the file.
    pub(super) fn tokens(&self) -> SharedTokens {
        self.tokens.clone()
    }

    /// Reads it again and again until `shutdown`.
    pub(super) async fn keep_fresh(mut self, shutdown: CancellationToken) {
        let mut fault = RepeatedFault::new(FAULT, "").needing(Vec::new());
        show_valid(true);
        while shutdown
            .run_until_cancelled(tokio::time::sleep(REFRESH_INTERVAL))
            .await
            .is_some()
        {
            let refreshed = self.refresh().await;
            show_valid(refreshed.is_ok());
            match refreshed {
                Ok(()) => fault.recovered(),
                Err(error) => fault.failed(&format_args!("{error:#}")),
            }
        }
    }

    async fn refresh(&mut self) -> anyhow::Result<()> {
        let path = self.path.clone();
        let text = tokio::task::spawn_blocking(move || read(&path)).await??;
        if text == self.text {
            return Ok(());
        }
        let tokens = parse(&self.path, &text)?;
        tracing::info!(
            tokens = tokens.len(),
            "the file of tokens has changed and was read"
        );
        self.tokens.replace(tokens);
        self.text = text;
        Ok(())
    }
}

fn show_valid(is_valid: bool) {
    metrics::gauge!("moa_tokens_file_valid").set(if is_valid { 1.0 } else { 0.0 });
}

fn parse(path: &Path, text: &str) -> anyhow::Result<NamedTokens> {
    NamedTokens::parse(text).with_context(|| format!("MOA_TOKENS_FILE {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read MOA_TOKENS_FILE {}", path.display());
    secret_file::check_unwritable(path)?;
    let mut text = String::new();
    File::open(path)
        .with_context(cannot)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(cannot)?;
    ensure!(
        text.len() as u64 <= MAX_FILE_BYTES,
        "{} is larger than {MAX_FILE_BYTES} bytes",
        path.display()
    );
    Ok(text)
}
