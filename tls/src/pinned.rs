//! A client of one server alone, which is known by its certificate.

use crate::pem::{self, PemError};
use crate::provider::install_provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// How a client meets the server that shows the first certificate of this file, in PEM, and no other. Neither the name that it is called
/// by nor a date counts: who has the file of a process's own certificate knows the process by it.
///
/// # Errors
/// The file has no certificate.
pub fn pinned_client_config(certificate: &Path) -> Result<ClientConfig, PemError> {
    install_provider();
    let chain = pem::certificates(certificate, &pem::read(certificate)?)?;
    let certificate = chain
        .into_iter()
        .next()
        .ok_or_else(|| PemError::NoCertificate {
            path: certificate.to_owned(),
        })?;
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let pinned = Arc::new(Pinned {
        certificate,
        algorithms,
    });
    Ok(ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth())
}

/// Believes one certificate. That the server has its key is verified as ever.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *shown == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
