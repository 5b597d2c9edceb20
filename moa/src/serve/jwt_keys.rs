//! The identity provider's keys: read at the start, and again while Moa runs, as providers replace them.

use crate::trust;
use anyhow::{Context, ensure};
use edge::{JwtVerifier, MAX_KEYS_BYTES};
use event_log::{Clause, RepeatedFault};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How often the keys are read again: one that is taken back is accepted for as long.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The least time between two reads, however many tokens name keys that are not known, and the time after a read that failed.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long the provider may take for its answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

const FAULT: &str = "users' keys cannot be read; those read before stay in use";

/// Where the keys are, and who takes them.
pub(super) struct KeySource {
    place: Place,
    verifier: Arc<JwtVerifier>,
}

enum Place {
    File(PathBuf),
    Url(Client, Url),
}

impl KeySource {
    /// A file is read at once; a provider may be away for now.
    ///
    /// # Errors
    /// The file has no keys, or the URL cannot be one.
    pub(super) fn open(place: &str, verifier: Arc<JwtVerifier>) -> anyhow::Result<Self> {
        let Some(url) = url(place)? else {
            let source = Self {
                place: Place::File(place.into()),
                verifier,
            };
            source
                .verifier
                .replace_keys(&read(Path::new(place))?)
                .with_context(|| format!("MOA_JWT_KEYS {place}"))?;
            return Ok(source);
        };
        let client = trust::http_client()
            .timeout(FETCH_TIMEOUT)
            .redirect(Policy::none())
            .build()?;
        Ok(Self {
            place: Place::Url(client, url),
            verifier,
        })
    }

    /// Reads them again and again until `shutdown`, sooner when a token names one that is not known. `clause` is failed until there are any.
    pub(super) async fn keep_fresh(self, clause: Clause, shutdown: CancellationToken) {
        let mut fault = RepeatedFault::new(FAULT, "").needing(Vec::new());
        let mut has_keys = matches!(self.place, Place::File(_));
        if !has_keys {
            clause.fail("users' keys were not read yet");
        }
        while let Some(refreshed) = shutdown.run_until_cancelled(self.refresh()).await {
            match &refreshed {
                Ok(()) => {
                    has_keys = true;
                    clause.clear();
                    fault.recovered();
                }
                Err(error) => {
                    metrics::counter!("moa_user_keys_refresh_failures_total").increment(1);
                    fault.failed(&format_args!("{error:#}"));
                }
            }
            let next = self.next(has_keys && refreshed.is_ok());
            if shutdown.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }

    async fn next(&self, is_fresh: bool) {
        sleep(RETRY_DELAY).await;
        if is_fresh {
            timeout(REFRESH_INTERVAL - RETRY_DELAY, self.verifier.unknown_key())
                .await
                .ok();
        }
    }

    async fn refresh(&self) -> anyhow::Result<()> {
        let set = match &self.place {
            Place::File(path) => read(path)?,
            Place::Url(client, url) => fetch(client, url.clone()).await?,
        };
        self.verifier.replace_keys(&set)?;
        Ok(())
    }
}

/// `None` for what is no URL.
fn url(place: &str) -> anyhow::Result<Option<Url>> {
    let Some((scheme, _)) = place.split_once("://") else {
        return Ok(None);
    };
    ensure!(
        ["http", "https"].contains(&scheme),
        "MOA_JWT_KEYS must be a file, or an https:// or http:// URL"
    );
    let url = Url::parse(place)
        .map_err(|error| anyhow::anyhow!("MOA_JWT_KEYS cannot be read as a URL: {error}"))?;
    Ok(Some(url))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read MOA_JWT_KEYS {}", path.display());
    let mut set = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    file.take(MAX_KEYS_BYTES as u64 + 1)
        .read_to_end(&mut set)
        .with_context(cannot)?;
    ensure!(
        set.len() <= MAX_KEYS_BYTES,
        "MOA_JWT_KEYS {} is larger than {MAX_KEYS_BYTES} bytes",
        path.display()
    );
    Ok(set)
}

async fn fetch(client: &Client, url: Url) -> anyhow::Result<Vec<u8>> {
    let mut response = client
        .get(url)
        .send()
        .await
        .map_err(trust::explained)?
        .error_for_status()?;
    let mut set = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        set.extend_from_slice(&chunk);
        ensure!(
            set.len() <= MAX_KEYS_BYTES,
            "the answer is larger than {MAX_KEYS_BYTES} bytes"
        );
    }
    Ok(set)
}
