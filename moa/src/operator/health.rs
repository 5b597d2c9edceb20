//! `moa healthcheck`: whether a process is ready, asked of its ops port or its admin listener.

use crate::output::print_line;
use crate::settings::{HealthAddress, HealthcheckSettings};
use crate::trust::{self, NoAnswerError};
use anyhow::Context;
use reqwest::Client;
use std::time::Duration;

/// How long the answer of a health check is waited for.
const HEALTH_HTTP_TIMEOUT: Duration = Duration::from_secs(3);

/// `moa healthcheck`: an error unless the process there is ready. Where no address is named it is the process of this machine: a service
/// alone at its ops port, or, where nothing listens there, the admin listener of everything in one process.
pub async fn healthcheck(settings: &HealthcheckSettings) -> anyhow::Result<()> {
    let asked = match &settings.address {
        Some(address) => unready(address.url()).await?,
        None => unready_here(settings).await?,
    };
    match asked {
        Some(said) => anyhow::bail!("{said}"),
        None => print_line!("ok"),
    }
    Ok(())
}

async fn unready_here(settings: &HealthcheckSettings) -> anyhow::Result<Option<String>> {
    let ops = settings.ops_listen.url();
    match unready(ops).await {
        Err(error) if nobody_listens(&error) => {}
        asked => return asked,
    }
    let admin = HealthAddress::of(settings.admin_listen, settings.tls_cert_file.is_some());
    let builder = match &settings.tls_cert_file {
        Some(certificate) => Client::builder().no_proxy().tls_backend_preconfigured(
            tls::pinned_client_config(certificate).context("MOA_TLS_CERT_FILE")?,
        ),
        None => trust::http_client(),
    };
    let asked = ask(builder.timeout(HEALTH_HTTP_TIMEOUT).build()?, admin.url()).await;
    asked.map_err(|error| match nobody_listens(&error) {
        true => anyhow::anyhow!(
            "nothing answers at {}, MOA_OPS_LISTEN, nor at {}, MOA_ADMIN_LISTEN: start Moa, or name its address",
            shown(ops),
            shown(admin.url())
        ),
        false => error,
    })
}

/// What `/readyz` at this URL says, unless it is ready.
pub(super) async fn unready(url: &str) -> anyhow::Result<Option<String>> {
    ask(
        trust::http_client().timeout(HEALTH_HTTP_TIMEOUT).build()?,
        url,
    )
    .await
}

async fn ask(client: Client, url: &str) -> anyhow::Result<Option<String>> {
    let asked = client.get(format!("{}/readyz", url.trim_end_matches('/')));
    let nothing = || format!("nothing answers at {}", shown(url));
    let response = asked
        .send()
        .await
        .map_err(trust::explained)
        .with_context(nothing)?;
    let (status, said) = (response.status(), response.text().await.unwrap_or_default());
    Ok((!status.is_success()).then_some(said))
}

fn shown(url: &str) -> &str {
    url.trim_start_matches("http://")
}

fn nobody_listens(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<NoAnswerError>()
        .is_some_and(|error| error.is_refused)
}
