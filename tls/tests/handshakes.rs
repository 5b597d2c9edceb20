//! Handshakes between a client as Moa makes it and servers with certificates of all kinds, and what is said of those that failed.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use rstest::rstest;
use rustls::{ClientConnection, ServerConfig, ServerConnection, Stream};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use testbed::TempFolder;
use testbed::certificates::{Authority, Issued, Shown};
use tls::{Identity, IdentityError, Trust, explain};

/// What a client gets of a server that says "hello" to it.
fn greeting(trust: &Trust, server: ServerConfig, name: &'static str) -> io::Result<String> {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || {
        let mut connection = ServerConnection::new(Arc::new(server)).unwrap();
        let greeted = Stream::new(&mut connection, &mut there).write_all(b"hello");
        connection.send_close_notify();
        greeted.and_then(|()| connection.write_tls(&mut there))
    });
    let mut connection =
        ClientConnection::new(Arc::new(trust.client_config()), name.try_into().unwrap()).unwrap();
    let mut greeting = String::new();
    let read = Stream::new(&mut connection, &mut here).read_to_string(&mut greeting);
    drop(here);
    // The client says why.
    serving.join().unwrap().ok();
    read.map(|_| greeting)
}

fn trusting(authority: &Authority, identity: Option<Identity>, folder: &TempFolder) -> Trust {
    Trust::open(Some(Path::new(&authority.write(folder))), identity).unwrap()
}

fn identity(issued: &Issued, folder: &TempFolder) -> Identity {
    let files = issued.write(folder);
    Identity::read(Path::new(&files.certificate), Path::new(&files.key)).unwrap()
}

#[rstest]
#[case::right(Shown::Right, "hello")]
#[case::expired(
    Shown::Expired,
    "the server's certificate is not believed: it expired at 2021-01-01T00:00:00Z: renew it"
)]
#[case::of_another_name(
    Shown::OtherName,
    "the server's certificate is not believed: it is for other.example, not for a.example: call the server by a name of its certificate"
)]
#[case::of_another_ca(
    Shown::OtherAuthority,
    "the server's certificate is not believed: no CA that is trusted issued it: name its CA's certificate in MOA_TLS_CA_FILE (of \
     PostgreSQL, in the URL's sslrootcert), or install the system's ca-certificates if it is a public CA"
)]
fn a_server_is_believed_for_its_certificate(#[case] shown: Shown, #[case] expected: &str) {
    let (folder, authority) = (TempFolder::new("tls"), Authority::new("a"));
    let server = authority.issue_as(shown, "a.example").server_config(None);
    let greeted = greeting(&trusting(&authority, None, &folder), server, "a.example");
    let said = greeted.unwrap_or_else(|error| {
        explain(&error).unwrap_or_else(|| panic!("not explained: {error:?}"))
    });
    assert_eq!(said, expected);
}

#[test]
fn the_systems_cas_do_not_believe_a_private_one() {
    let server = Authority::new("a").issue("a.example").server_config(None);
    let error = greeting(&Trust::default(), server, "a.example").unwrap_err();
    assert!(
        explain(&error)
            .unwrap()
            .contains("no CA that is trusted issued it"),
        "{error}"
    );
}

#[test]
fn a_server_that_asks_is_shown_the_clients_certificate() {
    let (folder, authority) = (TempFolder::new("tls"), Authority::new("a"));
    let server = || authority.issue("a.example").server_config(Some(&authority));
    let nothing =
        greeting(&trusting(&authority, None, &folder), server(), "a.example").unwrap_err();
    assert!(
        explain(&nothing)
            .unwrap()
            .ends_with("it may want a client's certificate"),
        "{nothing}"
    );
    let stranger = identity(&Authority::new("b").issue("moa"), &folder);
    let strange = greeting(
        &trusting(&authority, Some(stranger), &folder),
        server(),
        "a.example",
    )
    .unwrap_err();
    assert!(
        explain(&strange)
            .unwrap()
            .ends_with("it does not believe our client's certificate"),
        "{strange}"
    );
    let ours = identity(&authority.issue("moa"), &folder);
    assert_eq!(
        greeting(
            &trusting(&authority, Some(ours), &folder),
            server(),
            "a.example"
        )
        .unwrap(),
        "hello"
    );
}

#[test]
fn what_is_not_tls_is_explained_and_what_is_no_fault_of_tls_is_not() {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    there
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .unwrap();
    let config = Arc::new(Trust::default().client_config());
    let mut connection = ClientConnection::new(config, "a.example".try_into().unwrap()).unwrap();
    let error = connection.complete_io(&mut here).unwrap_err();
    assert_eq!(
        explain(&error).unwrap(),
        "what answers there does not speak TLS: check the port and the URL's scheme"
    );
    assert_eq!(
        explain(&io::Error::from(io::ErrorKind::ConnectionRefused)),
        None
    );
}

#[test]
fn files_that_are_no_certificate_or_key_or_do_not_fit_are_refused_with_a_sentence() {
    let (folder, authority) = (TempFolder::new("tls"), Authority::new("a"));
    let (one, other) = (
        authority.issue("one").write(&folder),
        authority.issue("other").write(&folder),
    );
    let read =
        |certificate: &str, key: &str| Identity::read(Path::new(certificate), Path::new(key));
    assert!(matches!(
        read(&one.certificate, &other.key),
        Err(IdentityError::Mismatch { .. })
    ));
    let refused = |certificate: &str, key: &str| read(certificate, key).unwrap_err().to_string();
    assert!(refused(&one.key, &one.key).contains("has no certificate in PEM"));
    assert!(
        refused(&one.certificate, &one.certificate)
            .contains("has no private key in PEM without a passphrase")
    );
    assert!(refused(&one.certificate, "/nowhere").starts_with("cannot read /nowhere: "));
    assert!(
        Trust::open(Some(Path::new("/dev/null")), None)
            .unwrap_err()
            .to_string()
            .contains("has no certificate")
    );
}

/// Clients that parse CAs themselves get the same ones.
#[test]
fn the_cas_are_written_as_they_were_read() {
    let (folder, authority) = (TempFolder::new("tls"), Authority::new("a"));
    let text = trusting(&authority, None, &folder).roots_pem().to_owned();
    let plain = |pem: &str| pem.lines().collect::<String>();
    assert!(plain(&text).ends_with(&plain(&authority.pem())), "{text}");
}

/// A CA and a certificate as `docs/deploying.md` has them made.
#[test]
fn the_documents_own_ca_is_believed() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deploying.md");
    let text = std::fs::read_to_string(document).unwrap();
    let (_, after) = text.split_once("**A CA of your own**").unwrap();
    let commands = after
        .split("```")
        .nth(1)
        .unwrap()
        .strip_prefix("sh\n")
        .unwrap();
    let folder = TempFolder::new("tls");
    let made = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let server = Issued {
        certificate: read("db.pem"),
        key: read("db.key"),
    }
    .server_config(None);
    let trust = Trust::open(Some(&folder.join("ca.pem")), None).unwrap();
    assert_eq!(greeting(&trust, server, "db.internal").unwrap(), "hello");
}
