//! Where a health check asks.

use super::groups::{DEFAULT_ADMIN_LISTEN, DEFAULT_OPS_LISTEN};
use clap::Args;
use reqwest::Url;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The settings of `moa healthcheck`: beside a service, those of the service.
#[derive(Clone, Debug, Args)]
pub struct HealthcheckSettings {
    /// Where to ask: an ops port or an admin listener; https://NAME:PORT where that speaks TLS [default: the service of this machine, at
    /// its ops port, else at its admin listener]
    pub address: Option<HealthAddress>,
    /// The ops port of a service alone
    #[arg(long, value_name = "ADDRESS", env = "MOA_OPS_LISTEN", default_value = DEFAULT_OPS_LISTEN)]
    pub ops_listen: HealthAddress,
    /// The admin listener
    #[arg(long, value_name = "ADDRESS", env = "MOA_ADMIN_LISTEN", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,
    /// The certificate that the admin listener shows, where it speaks TLS: it is known by it
    #[arg(long, value_name = "FILE", env = "MOA_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,
}

/// The URL of a listener of this machine's that says how the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthAddress(String);

/// Neither an address nor a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an address with its port, such as 127.0.0.1:8090, or a URL such as https://moa.internal:8082"
)]
pub struct InvalidHealthAddressError;

impl HealthAddress {
    /// Of a listener at this address, over TLS if it speaks that.
    pub(crate) fn of(address: SocketAddr, speaks_tls: bool) -> Self {
        let scheme = if speaks_tls { "https" } else { "http" };
        Self(format!("{scheme}://{}", here(address)))
    }

    /// Without a path.
    pub(crate) fn url(&self) -> &str {
        &self.0
    }
}

impl FromStr for HealthAddress {
    type Err = InvalidHealthAddressError;

    fn from_str(text: &str) -> Result<Self, InvalidHealthAddressError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::of(address, false));
        }
        let url = Url::parse(text)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()) && url.path() == "/");
        url.map(|_| Self(text.trim_end_matches('/').to_owned()))
            .ok_or(InvalidHealthAddressError)
    }
}

/// A listener that is bound to all addresses is asked on loopback.
fn here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv6() {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("127.0.0.1:8090", Some("http://127.0.0.1:8090"))]
    #[case("0.0.0.0:8090", Some("http://127.0.0.1:8090"))]
    #[case("[::]:8090", Some("http://[::1]:8090"))]
    #[case("https://moa.internal:8082/", Some("https://moa.internal:8082"))]
    #[case("http://moa.internal", Some("http://moa.internal"))]
    #[case("https://moa.internal/readyz", None)]
    #[case("moa.internal:8082", None)]
    #[case("8090", None)]
    fn an_address_or_a_url_is_asked(#[case] text: &str, #[case] url: Option<&str>) {
        assert_eq!(
            text.parse::<HealthAddress>()
                .ok()
                .as_ref()
                .map(HealthAddress::url),
            url
        );
    }
}
