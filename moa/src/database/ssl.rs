//! TLS to PostgreSQL, as a database's URL asks for it: with libpq's parameters, and what they mean there.
//!
//! Where sqlx differs, the stricter meaning is taken. sqlx trusts `sslrootcert` beside the system's CAs, and libpq instead of them;
//! so a certificate of a trusted CA says nothing without its name, and `verify-ca` verifies the name as `verify-full` does.

use crate::trust;
use anyhow::{Context, bail, ensure};
use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tls::Trust;

/// The value of `sslrootcert` that means the system's CAs.
const SYSTEM_ROOTS: &str = "system";

/// The parameters, as they were given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SslParameters {
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl SslParameters {
    /// Takes them out of a URL; the last of several counts.
    pub(super) fn take(url: &mut Url) -> Self {
        let mut found = Self::default();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let others = pairs
            .into_iter()
            .filter_map(|(name, value)| found.keep(name, value))
            .collect::<Vec<_>>();
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        found
    }

    /// Keeps a parameter that is one of these, else hands it back.
    fn keep(&mut self, name: String, value: String) -> Option<(String, String)> {
        match name.as_str() {
            "sslmode" | "ssl-mode" => self.mode = Some(value),
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => self.root = Some(value),
            "sslcert" | "ssl-cert" => self.certificate = Some(value.into()),
            "sslkey" | "ssl-key" => self.key = Some(value.into()),
            _ => return Some((name, value)),
        }
        None
    }

    /// Connections as these parameters ask for them.
    ///
    /// # Errors
    /// A file cannot be used, or the parameters contradict each other.
    pub(super) fn apply(
        &self,
        options: PgConnectOptions,
        trust: &Trust,
    ) -> anyhow::Result<PgConnectOptions> {
        let mode = self.mode(&options)?;
        let options = options.ssl_mode(mode);
        // A socket has no TLS, as in libpq; its files may be anywhere then.
        if matches!(mode, PgSslMode::Disable) {
            return Ok(options);
        }
        let options = self.with_identity(options)?;
        Ok(match self.root_file()?.or(trust.ca_file()) {
            Some(file) => options.ssl_root_cert(file),
            None => options,
        })
    }

    fn mode(&self, options: &PgConnectOptions) -> anyhow::Result<PgSslMode> {
        let given = self.mode.as_deref();
        let system = self.root.as_deref() == Some(SYSTEM_ROOTS);
        ensure!(
            !system || given.is_none_or(|mode| mode == "verify-full"),
            "its sslrootcert=system needs sslmode=verify-full: anybody gets a certificate from some CA"
        );
        if options.get_socket().is_some() {
            return Ok(PgSslMode::Disable);
        }
        Ok(match given {
            None if system => PgSslMode::VerifyFull,
            None if is_loopback(options.get_host()) => PgSslMode::Disable,
            Some("disable") => PgSslMode::Disable,
            None | Some("allow" | "prefer") => PgSslMode::Prefer,
            Some("require") if self.root.is_none() => PgSslMode::Require,
            Some("require" | "verify-ca" | "verify-full") => PgSslMode::VerifyFull,
            Some(_) => bail!(
                "its sslmode must be disable, allow, prefer, require, verify-ca or verify-full"
            ),
        })
    }

    /// The file of CAs in the URL, with certificates in it.
    fn root_file(&self) -> anyhow::Result<Option<&Path>> {
        let Some(file) = self.root.as_deref().filter(|root| *root != SYSTEM_ROOTS) else {
            return Ok(None);
        };
        Trust::open(Some(Path::new(file)), None).context("its sslrootcert")?;
        Ok(Some(Path::new(file)))
    }

    /// With the client's certificate and key, where they are given, fit, and the key is secret.
    fn with_identity(&self, options: PgConnectOptions) -> anyhow::Result<PgConnectOptions> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                trust::identity(certificate, key).context("its sslcert and sslkey")?;
                Ok(options.ssl_client_cert(certificate).ssl_client_key(key))
            }
            (None, None) => Ok(options),
            _ => bail!("it must have both sslcert and sslkey, or neither"),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::str::FromStr as _;
    use testbed::TempFolder;
    use testbed::certificates::Authority;

    fn read(url: &str) -> anyhow::Result<PgConnectOptions> {
        let mut url = Url::parse(url).expect("a URL");
        let parameters = SslParameters::take(&mut url);
        parameters.apply(PgConnectOptions::from_str(url.as_str())?, &Trust::default())
    }

    /// libpq's table (docs: "SSL Mode Descriptions"), and where Moa is stricter.
    #[rstest]
    #[case::loopback("localhost", "", "Disable")]
    #[case::loopback_address("127.0.0.7", "", "Disable")]
    #[case::loopback_v6("[::1]", "", "Disable")]
    #[case::elsewhere("db.example", "", "Prefer")]
    #[case::disable("db.example", "sslmode=disable", "Disable")]
    #[case::allow("db.example", "sslmode=allow", "Prefer")]
    #[case::prefer("localhost", "sslmode=prefer", "Prefer")]
    #[case::require("localhost", "sslmode=require", "Require")]
    #[case::require_of_a_ca("localhost", "sslmode=require&sslrootcert=CA", "VerifyFull")]
    #[case::verify_ca("localhost", "sslmode=verify-ca", "VerifyFull")]
    #[case::verify_full("localhost", "ssl-mode=verify-full&sslrootcert=CA", "VerifyFull")]
    #[case::system("localhost", "sslrootcert=system", "VerifyFull")]
    #[case::system_said("db.example", "sslmode=verify-full&sslrootcert=system", "VerifyFull")]
    #[case::socket(
        "localhost",
        "host=/run/pg&sslmode=require&sslcert=/nowhere",
        "Disable"
    )]
    fn a_mode_is_what_libpq_makes_of_it(
        #[case] host: &str,
        #[case] query: &str,
        #[case] expected: &str,
    ) {
        let folder = TempFolder::new("ssl");
        let ca = Authority::new("a").write(&folder);
        let options = read(&format!(
            "postgres://me@{host}/moa?{}",
            query.replace("CA", &ca)
        ))
        .expect("good parameters");
        assert_eq!(format!("{:?}", options.get_ssl_mode()), expected);
    }

    #[rstest]
    #[case("sslmode=on", "its sslmode must be disable, allow, prefer")]
    #[case(
        "sslmode=require&sslrootcert=system",
        "its sslrootcert=system needs sslmode=verify-full"
    )]
    #[case(
        "sslmode=require&sslrootcert=/nowhere",
        "its sslrootcert: cannot read /nowhere"
    )]
    #[case(
        "sslmode=require&sslrootcert=/dev/null",
        "its sslrootcert: /dev/null has no certificate in PEM"
    )]
    #[case(
        "sslmode=require&sslcert=/nowhere",
        "it must have both sslcert and sslkey"
    )]
    #[case(
        "sslmode=require&sslcert=/nowhere&sslkey=/nowhere",
        "its sslcert and sslkey: cannot read /nowhere"
    )]
    fn what_cannot_be_is_refused_with_a_sentence(#[case] query: &str, #[case] expected: &str) {
        let refused =
            read(&format!("postgres://me@host/moa?{query}")).expect_err("it should be refused");
        assert!(format!("{refused:#}").starts_with(expected), "{refused:#}");
    }

    #[test]
    fn a_key_that_others_may_read_or_of_another_certificate_is_refused() {
        let (folder, authority) = (TempFolder::new("ssl"), Authority::new("a"));
        let (ours, others) = (
            authority.issue("client").write(&folder),
            authority.issue("other").write(&folder),
        );
        let read = |certificate: &str, key: &str| {
            read(&format!(
                "postgres://me@host/moa?sslmode=require&sslcert={certificate}&sslkey={key}"
            ))
        };
        read(&ours.certificate, &ours.key).expect("they fit");
        let refused = format!(
            "{:#}",
            read(&ours.certificate, &others.key).expect_err("they do not fit")
        );
        assert!(
            refused.contains("is not the one of the certificate in"),
            "{refused}"
        );
        testbed::certificates::let_others_read(&ours.key);
        let refused = format!(
            "{:#}",
            read(&ours.certificate, &ours.key).expect_err("others may read it")
        );
        assert!(refused.contains("run `chmod 600"), "{refused}");
    }
}
