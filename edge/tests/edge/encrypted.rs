//! A listener that speaks TLS, against real sockets.

use edge::{ConnectionPolicy, ConnectionSettings, HANDSHAKE_TIMEOUT};
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::TempFolder;
use testbed::certificates::{Authority, IssuedFiles};
use tls::{Identity, ServerIdentity, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{SMALL, Served, TEST_TIMEOUT, is_refusal, rest, served_by};

/// How often it is looked whether a certificate was replaced.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A listener, and the files of what it shows.
struct Encrypted {
    served: Served,
    files: IssuedFiles,
    folder: TempFolder,
}

impl Encrypted {
    async fn by(authority: &Authority) -> Self {
        let folder = TempFolder::new("edge");
        let files = authority.issue("localhost").write(&folder);
        let (certificate, key) = (PathBuf::from(&files.certificate), PathBuf::from(&files.key));
        let identity = ServerIdentity::open(move || Identity::read(&certificate, &key)).unwrap();
        let policy = ConnectionPolicy::new(ConnectionSettings::default()).with_tls(&identity);
        Self {
            served: served_by(policy).await,
            files,
            folder,
        }
    }

    async fn connects(&self, trusting: &Authority) -> std::io::Result<TlsStream<TcpStream>> {
        let ca = PathBuf::from(trusting.write(&self.folder));
        let config = Trust::open(Some(&ca), None).unwrap().client_config();
        let stream = TcpStream::connect(self.served.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }
}

async fn all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut said = String::new();
    timeout(TEST_TIMEOUT, stream.read_to_string(&mut said))
        .await
        .expect("it ends")
        .unwrap();
    said
}

#[tokio::test]
async fn requests_are_answered_and_refused_as_without_tls() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::by(&authority).await;
    let mut client = encrypted.connects(&authority).await.unwrap();
    client
        .write_all(format!("{SMALL}{SMALL}garbage\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let said = all(client).await;
    let (good, refusal) = said.rsplit_once("here").unwrap();
    assert_eq!(good.matches("HTTP/1.1 200 OK").count(), 2, "{said}");
    assert!(is_refusal(refusal, 400, "00"), "{said}");
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::by(&authority).await;
    let mut client = encrypted.connects(&authority).await.unwrap();
    client
        .write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let said = all(client).await;
    let (_, body) = said.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), crate::client::LARGE_ANSWER_BYTES);
}

/// One that speaks plain HTTP, one whose TLS is broken off, and one that is shut out by its own doubts; others are served.
#[tokio::test]
async fn a_client_that_fails_its_handshake_ends_only_its_connection() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::by(&authority).await;
    let mut plain = encrypted.served.sends(SMALL).await;
    let said = rest(&mut plain).await;
    assert!(!said.contains("HTTP"), "{said}");
    drop(encrypted.served.sends("\x16\x03\x01").await);
    assert!(encrypted.connects(&Authority::new("b")).await.is_err());
    let mut good = encrypted.connects(&authority).await.unwrap();
    good.write_all(
        SMALL
            .replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    )
    .await
    .unwrap();
    assert!(all(good).await.ends_with("here"));
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_handshake_is_cut_off() {
    let encrypted = Encrypted::by(&Authority::new("a")).await;
    let begun = Instant::now();
    let mut silent = encrypted.served.sends("").await;
    let ended = timeout(HANDSHAKE_TIMEOUT + TEST_TIMEOUT, silent.read(&mut [0]))
        .await
        .expect("it is cut off");
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert!(
        begun.elapsed() >= HANDSHAKE_TIMEOUT,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_handshake() {
    let encrypted = Encrypted::by(&Authority::new("a")).await;
    let _silent = encrypted.served.sends("").await;
    encrypted.served.shutdown.cancel();
    timeout(TEST_TIMEOUT / 2, encrypted.served.ended)
        .await
        .expect("it ends at once")
        .unwrap()
        .unwrap();
}

/// The files get what another CA issued: new connections are shown that within moments.
#[tokio::test]
async fn a_certificate_that_is_renewed_is_shown() {
    let (authority, newer) = (Authority::new("a"), Authority::new("b"));
    let encrypted = Encrypted::by(&authority).await;
    encrypted.connects(&authority).await.unwrap();
    newer.issue("localhost").overwrite(&encrypted.files);
    let shown = async || {
        while encrypted.connects(&newer).await.is_err() {
            sleep(POLL_INTERVAL).await
        }
    };
    timeout(tls::IDENTITY_REFRESH_INTERVAL + TEST_TIMEOUT, shown())
        .await
        .expect("it is shown");
    assert!(encrypted.connects(&authority).await.is_err());
}
