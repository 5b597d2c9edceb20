//! Until when a certificate is valid. rustls verifies that and does not say it, so its place in the DER of X.509 is read here.

use crate::pem::{self, PemError};
use chrono::{DateTime, NaiveDateTime, Utc};
use std::path::Path;

const SEQUENCE: u8 = 0x30;
/// The certificate's version, where it is not the first.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Two digits of a year from here on are of the last century (RFC 5280).
const FIRST_YEAR_OF_LAST_CENTURY: &[u8] = b"50";

/// When the first certificate of this file, in PEM, ends.
///
/// # Errors
/// The file has no certificate, or a damaged one.
pub fn expires_at(certificate: &Path) -> Result<DateTime<Utc>, PemError> {
    let chain = pem::certificates(certificate, &pem::read(certificate)?)?;
    let end = chain.first().and_then(|first| not_after(first));
    end.ok_or_else(|| PemError::NoCertificate { path: certificate.to_owned() })
}

/// `Certificate { tbsCertificate { [0] version, serialNumber, signature, issuer, validity { notBefore, notAfter }, ... } ... }`
fn not_after(der: &[u8]) -> Option<DateTime<Utc>> {
    let (certificate, _) = content(der, SEQUENCE)?;
    let (mut rest, _) = content(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for _ in ["serialNumber", "signature", "issuer"] {
        rest = element(rest)?.2;
    }
    let (validity, _) = content(rest, SEQUENCE)?;
    let (tag, end, _) = element(element(validity)?.2)?;
    time(tag, end)
}

fn time(tag: u8, text: &[u8]) -> Option<DateTime<Utc>> {
    let century: &[u8] = match tag {
        UTC_TIME if text.get(..2)? >= FIRST_YEAR_OF_LAST_CENTURY => b"19",
        UTC_TIME => b"20",
        GENERALIZED_TIME => b"",
        _ => return None,
    };
    let text = String::from_utf8([century, text].concat()).ok()?;
    NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok().map(|time| time.and_utc())
}

/// The content of an element with this tag, and what follows it.
fn content(der: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == expected).then_some((content, rest))
}

/// The tag and content of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        short @ ..0x80 => (usize::from(short), rest),
        // So many bytes of a length follow.
        long => {
            let (bytes, rest) =
                rest.split_at_checked(usize::from(long & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
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

    #[test]
    fn both_forms_of_a_time_are_read_and_damage_is_none() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59+00:00")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00+00:00")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00+00:00")),
            (UTC_TIME, "4", None),
            (SEQUENCE, "491231235959Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()).map(|time| time.to_rfc3339()).as_deref(), expected);
        }
        for damaged in [&[][..], &[SEQUENCE], &[SEQUENCE, 0x84, 1], &[SEQUENCE, 0xff], &[SEQUENCE, 5, 1]] {
            assert_eq!(not_after(damaged), None);
        }
    }
}
