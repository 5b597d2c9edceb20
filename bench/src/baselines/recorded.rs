//! `recorded`: answers every GET with the same bytes, those of one of Moa's answers. What a read costs at least.

use super::ServeBaseline;
use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;

/// What the server adds to each answer by itself.
const ADDED_HEADERS: [&str; 4] = ["content-length", "date", "connection", "transfer-encoding"];

pub(super) fn routes(settings: &ServeBaseline) -> anyhow::Result<Router> {
    let path = settings.answer.as_ref().context("it needs --answer")?;
    let answer = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("that is no answer over HTTP")?;
    let headers = headers(std::str::from_utf8(&answer[..end])?)?;
    let body = Bytes::copy_from_slice(&answer[end + 4..]);
    Ok(Router::new().fallback(get(move || {
        std::future::ready((headers.clone(), body.clone()))
    })))
}

fn headers(head: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').context("a header without a value")?;
        if !ADDED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            headers.append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_str(value.trim())?,
            );
        }
    }
    Ok(headers)
}
