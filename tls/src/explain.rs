//! Why a TLS connection was not made, for whoever can mend it.

use chrono::{DateTime, Utc};
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::error::Error;
use std::io;
use std::sync::Arc;

/// Names of a certificate that are shown at most.
const MAX_SHOWN_NAMES: usize = 5;

const UNKNOWN_ISSUER: &str = "no CA that is trusted issued it: name its CA's certificate in MOA_TLS_CA_FILE (of PostgreSQL, in the URL's \
     sslrootcert), or install the system's ca-certificates if it is a public CA";

/// One sentence on what is wrong, and what to do, when TLS is the cause of this error, or the cause of its cause; else `None`.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = inside(error) {
            return Some(sentence(found));
        }
        cause = error.source();
    }
    None
}

/// An I/O error does not name what it wraps as its source, and neither does a shared one, as redis has it.
fn inside<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = error.downcast_ref::<TlsError>() {
        return Some(found);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return inside(shared.as_ref());
    }
    let wrapped: &(dyn Error + 'static) = error.downcast_ref::<io::Error>()?.get_ref()?;
    inside(wrapped)
}

fn sentence(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(fault) => {
            format!(
                "the server's certificate is not believed: {}",
                of_server(fault)
            )
        }
        TlsError::AlertReceived(alert) => of_client(*alert),
        TlsError::InvalidMessage(_) => {
            "what answers there does not speak TLS: check the port and the URL's scheme".into()
        }
        TlsError::PeerIncompatible(fault) => {
            format!("the server speaks no TLS that is safe, 1.2 or 1.3: {fault:?}")
        }
        other => format!("TLS failed: {other}"),
    }
}

fn of_server(fault: &CertificateError) -> String {
    match fault {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired at {}: renew it", time(*not_after))
        }
        CertificateError::Expired => "it has expired: renew it".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "it is valid from {} only: compare both machines' clocks",
                time(*not_before)
            )
        }
        CertificateError::NotValidYet => {
            "it is not valid yet: compare both machines' clocks".into()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let presented: Vec<_> = presented
                .iter()
                .take(MAX_SHOWN_NAMES)
                .map(|name| bare(name))
                .collect();
            let expected = expected.to_str();
            format!(
                "it is for {}, not for {expected}: call the server by a name of its certificate",
                names(&presented)
            )
        }
        CertificateError::NotValidForName => {
            "it is for another name: call the server by a name of its certificate".into()
        }
        CertificateError::UnknownIssuer => UNKNOWN_ISSUER.into(),
        CertificateError::Revoked => "it was revoked: renew it".into(),
        CertificateError::BadEncoding => "it is damaged, or not X.509".into(),
        other => format!("{other}; where it is self-signed, let a CA issue one"),
    }
}

/// Without what rustls puts around it: `DnsName("host")`, `IpAddress(10.0.0.7)`.
fn bare(name: &str) -> &str {
    let inside = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

fn names(presented: &[&str]) -> String {
    if presented.is_empty() {
        "no name at all".into()
    } else {
        presented.join(", ")
    }
}

/// What the server said of the certificate that it was shown.
fn of_client(alert: AlertDescription) -> String {
    let said = format!("the server ended the handshake with `{alert:?}`");
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
            format!("{said}: it may want a client's certificate")
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            format!("{said}: it does not believe our client's certificate")
        }
        _ => said,
    }
}

fn time(at: UnixTime) -> String {
    let at = i64::try_from(at.as_secs())
        .ok()
        .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    at.map_or_else(
        || "a time long past".into(),
        |at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    )
}
