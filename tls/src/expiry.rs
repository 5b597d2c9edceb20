//! Until when a certificate is valid.

use crate::pem::{self, PemError};
use chrono::{DateTime, Utc};
use std::path::Path;

/// When the first certificate of this file, in PEM, ends.
///
/// # Errors
/// The file has no certificate, or a damaged one.
pub fn expires_at(certificate: &Path) -> Result<DateTime<Utc>, PemError> {
    let chain = pem::certificates(certificate, &pem::read(certificate)?)?;
    let end = chain
        .first()
        .and_then(pem::not_after)
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    end.ok_or_else(|| PemError::NoCertificate {
        path: certificate.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use testbed::TempFolder;
    use testbed::certificates::Authority;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let (folder, authority) = (TempFolder::new("expiry"), Authority::new("a"));
        let expired = authority.issue_expired("moa.example").write(&folder);
        let end = expires_at(Path::new(&expired.certificate)).expect("a certificate");
        assert_eq!(end.to_rfc3339(), "2021-01-01T00:00:00+00:00");
        // Valid beyond 2049, which takes another form.
        let valid = authority.issue("moa.example").write(&folder);
        assert!(expires_at(Path::new(&valid.certificate)).expect("a certificate") > Utc::now());
        assert!(expires_at(Path::new(&valid.key)).is_err());
    }
}
