//! Certificates of a test's own: a CA, and what it issues.

use crate::TempFolder;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A CA that nobody trusts unless told to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate, with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// In PEM.
    pub certificate: String,
    /// In PEM.
    pub key: String,
}

/// The paths of its files.
#[derive(Clone, Debug)]
pub struct IssuedFiles {
    /// The certificate's.
    pub certificate: String,
    /// The key's, which only its owner may read.
    pub key: String,
}

/// What a server shows for the name it is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A certificate for its name, of the CA.
    Right,
    /// One that was for its name.
    Expired,
    /// One for another name.
    OtherName,
    /// One for its name, of another CA.
    OtherAuthority,
}

impl Authority {
    /// A new one, of this name.
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        Self {
            issuer: issuer.expect("a CA"),
        }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The same, in a file of the folder; its path.
    pub fn write(&self, folder: &TempFolder) -> String {
        let path = folder.file(&unique("ca.pem"));
        fs::write(&path, self.pem()).expect("a file");
        path
    }

    /// A certificate for this host name or address, valid for years.
    pub fn issue(&self, name: &str) -> Issued {
        self.sign(params(&[name], name))
    }

    /// One that is valid for so many days more.
    pub fn issue_for_days(&self, name: &str, days: u64) -> Issued {
        let mut params = params(&[name], name);
        params.not_after = SystemTime::now().into();
        params.not_after += Duration::from_secs(days * 86_400);
        self.sign(params)
    }

    /// One that expired.
    pub fn issue_expired(&self, name: &str) -> Issued {
        let mut params = params(&[name], name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// What a server called `name` shows.
    pub fn issue_as(&self, shown: Shown, name: &str) -> Issued {
        match shown {
            Shown::Right => self.issue(name),
            Shown::Expired => self.issue_expired(name),
            Shown::OtherName => self.issue("other.example"),
            Shown::OtherAuthority => Self::new("a stranger").issue(name),
        }
    }

    fn sign(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// In files of the folder.
    pub fn write(&self, folder: &TempFolder) -> IssuedFiles {
        let files = IssuedFiles {
            certificate: folder.file(&unique("cert.pem")),
            key: folder.file(&unique("key.pem")),
        };
        self.overwrite(&files);
        files
    }

    /// In place of what the files had: each is replaced at once, as those who renew certificates do.
    pub fn overwrite(&self, files: &IssuedFiles) {
        for (path, text, mode) in [
            (&files.certificate, &self.certificate, 0o644),
            (&files.key, &self.key, 0o600),
        ] {
            let unfinished = format!("{path}.unfinished");
            fs::write(&unfinished, text).expect("a file");
            fs::set_permissions(&unfinished, Permissions::from_mode(mode)).expect("its mode");
            fs::rename(unfinished, path).expect("its place");
        }
    }

    /// How a server shows it. It wants a certificate of its clients that `clients` issued, where there is one.
    pub fn server_config(&self, clients: Option<&Authority>) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3");
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).expect("a CA");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .map(|one| one.expect("PEM"))
            .collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM");
        builder.with_single_cert(chain, key).expect("they fit")
    }
}

/// Lets everybody on the machine read the file.
pub fn let_others_read(path: &str) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("its mode");
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

fn unique(name: &str) -> String {
    format!("{}-{name}", uuid::Uuid::now_v7().simple())
}
