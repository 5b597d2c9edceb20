//! The HTTP client of the auditor's commands.

use crate::operator;
use crate::secret::Secret;
use crate::settings::AuditorSettings;
use crate::token;
use crate::trust;
use anyhow::Context;
use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;

/// How long the beginning of an answer is waited for: a little longer than the admin listener takes at most.
const AUDIT_HTTP_TIMEOUT: Duration = Duration::from_secs(630);

/// A running Moa's admin listener, and the token for it.
pub(super) struct Client<'a> {
    auditor: &'a AuditorSettings,
}

impl<'a> Client<'a> {
    pub(super) fn of(auditor: &'a AuditorSettings) -> Self {
        Self { auditor }
    }

    /// The `data` of what `path` answers with `query`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let response = self.send(self.request(path, query)?).await?;
        let answer: Value = response.json().await.with_context(|| self.not_moa())?;
        operator::data(answer)
    }

    /// The body of what `path` answers with `query` as `media_type`, as it comes.
    pub(super) async fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
        media_type: &str,
    ) -> anyhow::Result<Response> {
        let response = self
            .send(self.request(path, query)?.header(ACCEPT, media_type))
            .await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let answer: Value = response.json().await.with_context(|| self.not_moa())?;
        Err(operator::data(answer)
            .err()
            .unwrap_or_else(|| anyhow::anyhow!(self.not_moa())))
    }

    fn request(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<RequestBuilder> {
        let url = format!("{}{path}", self.auditor.admin_url.trim_end_matches('/'));
        let client = trust::http_client()
            .connect_timeout(AUDIT_HTTP_TIMEOUT)
            .read_timeout(AUDIT_HTTP_TIMEOUT)
            .build()?;
        Ok(client
            .get(url)
            .query(query)
            .bearer_auth(self.token()?.reveal()))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        request
            .send()
            .await
            .map_err(|error| operator::unreachable(&self.auditor.admin_url, error))
    }

    fn not_moa(&self) -> String {
        operator::not_moa(&self.auditor.admin_url)
    }

    fn token(&self) -> anyhow::Result<Secret> {
        let of = |name, token: &Option<Secret>, file: &Option<std::path::PathBuf>| {
            token::configured(name, token.as_ref(), file.as_deref())
        };
        let auditor = of(
            "MOA_AUDITOR_TOKEN",
            &self.auditor.auditor_token,
            &self.auditor.auditor_token_file,
        )?;
        let operator = || {
            of(
                "MOA_OPERATOR_TOKEN",
                &self.auditor.operator_token,
                &self.auditor.operator_token_file,
            )
        };
        let set = match auditor {
            Some(auditor) => Some(auditor),
            None => operator()?,
        };
        let found = match set {
            Some(token) => Some(token),
            None => token::find(&self.auditor.data_dir)?,
        };
        found
            .context("no token: set MOA_AUDITOR_TOKEN to the auditor's, or --data-dir to the data folder of a Moa here")
    }
}
