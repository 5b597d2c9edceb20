//! Files in PEM, and back.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a file of certificates at most: a system's whole bundle has about 250 KB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Characters of a line.
const LINE_CHARS: usize = 64;

/// A file that is no certificate or key. Never shows what is in it.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It is not there, or may not be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is larger than any such file.
    #[error("{} is larger than {MAX_FILE_BYTES} bytes: name a file in PEM", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate in it, or a damaged one.
    #[error("{} has no certificate in PEM: it must begin with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no private key in it, or a damaged or encrypted one.
    #[error("{} has no private key in PEM without a passphrase: `openssl pkey -in KEY -out FILE` writes one", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// What is in the file, up to 4 MB.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let unreadable = |error| PemError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE_BYTES {
        return Err(PemError::TooLarge {
            path: path.to_owned(),
        });
    }
    std::fs::read(path).map_err(unreadable)
}

/// The certificates of the file's text, one at least.
pub(crate) fn certificates(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(PemError::NoCertificate {
            path: path.to_owned(),
        }),
    }
}

/// The first private key of the file's text.
pub(crate) fn key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|_| PemError::NoKey {
        path: path.to_owned(),
    })
}

/// When a certificate expires, in seconds since 1970; `None` for one that cannot be read.
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// Certificates as a file has them.
pub(crate) fn encode(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|certificate| encode_one(certificate))
        .collect()
}

fn encode_one(certificate: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(certificate);
    let lines = encoded
        .as_bytes()
        .chunks(LINE_CHARS)
        .map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!(
        "-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n",
        lines.collect::<String>()
    )
}
