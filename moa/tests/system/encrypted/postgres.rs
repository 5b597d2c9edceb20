//! TLS to PostgreSQL, as `DATABASE_URL` asks for it.

use rstest::rstest;
use testbed::certificates::{Authority, Shown};
use testbed::{PostgresServer, TempFolder, free_port};

use crate::harness::{Start, TEST_TIMEOUT, within};

/// What a command ends with that reaches the database.
const REACHED: &str = "The schema is up to date";
const NOT_ENCRYPTED: &str = "no encryption";
const STRANGER: &str =
    "no CA that is trusted issued it: name its CA's certificate in MOA_TLS_CA_FILE";
const NO_CERTIFICATE: &str = "connection requires a valid client certificate";

/// Connects as this login to this host with these parameters, in which `CA` and `STRANGER` are files of CAs.
type Case = (&'static str, &'static str, &'static str, &'static str);

/// Logins say what came: `encrypted` is taken over TLS only, and `plain` only without.
const RIGHT: [Case; 14] = [
    (
        "encrypted",
        "localhost",
        "sslmode=verify-full&sslrootcert=CA",
        REACHED,
    ),
    (
        "encrypted",
        "localhost",
        "sslmode=verify-ca&sslrootcert=CA",
        REACHED,
    ),
    (
        "encrypted",
        "localhost",
        "sslmode=require&sslrootcert=CA",
        REACHED,
    ),
    ("encrypted", "localhost", "sslmode=require", REACHED),
    ("encrypted", "localhost", "sslmode=prefer", REACHED),
    ("encrypted", "localhost", "sslmode=allow", REACHED),
    ("encrypted", "localhost", "sslmode=disable", NOT_ENCRYPTED),
    ("encrypted", "localhost", "", NOT_ENCRYPTED),
    ("plain", "localhost", "", REACHED),
    ("plain", "localhost", "sslmode=disable", REACHED),
    (
        "encrypted",
        "127.0.0.1",
        "sslmode=verify-full&sslrootcert=CA",
        "it is for localhost, not for 127.0.0.1",
    ),
    ("encrypted", "localhost", "sslmode=verify-full", STRANGER),
    ("encrypted", "localhost", "sslrootcert=system", STRANGER),
    (
        "encrypted",
        "localhost",
        "sslmode=verify-full&sslrootcert=STRANGER",
        STRANGER,
    ),
];
const EXPIRED: [Case; 2] = [
    (
        "encrypted",
        "localhost",
        "sslmode=verify-full&sslrootcert=CA",
        "it expired at 2021-01-01T00:00:00Z: renew it",
    ),
    ("encrypted", "localhost", "sslmode=require", REACHED),
];
const OTHER_NAME: [Case; 3] = [
    (
        "encrypted",
        "localhost",
        "sslmode=verify-full&sslrootcert=CA",
        "it is for other.example, not for localhost",
    ),
    (
        "encrypted",
        "localhost",
        "sslmode=verify-ca&sslrootcert=CA",
        "it is for other.example, not for localhost",
    ),
    ("encrypted", "localhost", "sslmode=require", REACHED),
];
const OTHER_AUTHORITY: [Case; 2] = [
    (
        "encrypted",
        "localhost",
        "sslmode=verify-full&sslrootcert=CA",
        STRANGER,
    ),
    ("encrypted", "localhost", "sslmode=require", REACHED),
];
const NO_TLS: [Case; 3] = [
    (
        "encrypted",
        "localhost",
        "sslmode=require",
        "server does not support TLS",
    ),
    ("plain", "localhost", "sslmode=prefer", REACHED),
    (
        "plain",
        "localhost",
        "sslmode=verify-full&sslrootcert=CA",
        "server does not support TLS",
    ),
];

#[rstest]
#[case::right(Some(Shown::Right), &RIGHT)]
#[case::expired(Some(Shown::Expired), &EXPIRED)]
#[case::of_another_name(Some(Shown::OtherName), &OTHER_NAME)]
#[case::of_another_ca(Some(Shown::OtherAuthority), &OTHER_AUTHORITY)]
#[case::none(None, &NO_TLS)]
#[tokio::test]
async fn a_connection_is_made_as_libpq_would_make_it(
    #[case] shown: Option<Shown>,
    #[case] cases: &[Case],
) {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let (ca, stranger) = (authority.write(&folder), Authority::new("b").write(&folder));
    let certificate = shown.map(|shown| authority.issue_as(shown, "localhost"));
    let server = PostgresServer::start(certificate.as_ref(), &authority);
    for (login, host, parameters, expected) in cases {
        let parameters = parameters.replace("CA", &ca).replace("STRANGER", &stranger);
        ends(
            Start::bare(&["migrate"]).on(&server.url(login, host, &parameters)),
            expected,
        )
        .await;
    }
}

/// The CA of a file for all servers does as well as the URL's; and a client shows its certificate, where it has one.
#[tokio::test]
async fn a_client_shows_the_certificate_that_its_url_names() {
    let (folder, authority, stranger) = (
        TempFolder::new("encrypted"),
        Authority::new("a"),
        Authority::new("b"),
    );
    let server = PostgresServer::start(Some(&authority.issue("localhost")), &authority);
    let migrate = |certificate: &str| {
        let url = server.url(
            "certified",
            "localhost",
            &format!("sslmode=verify-full{certificate}"),
        );
        Start::bare(&["migrate"])
            .on(&url)
            .env("MOA_TLS_CA_FILE", &authority.write(&folder))
    };
    let showing = |who: &Authority, name: &str| {
        let files = who.issue(name).write(&folder);
        migrate(&format!(
            "&sslcert={}&sslkey={}",
            files.certificate, files.key
        ))
    };
    ends(migrate(""), NO_CERTIFICATE).await;
    ends(showing(&authority, "certified"), REACHED).await;
    ends(
        showing(&authority, "somebody"),
        "certificate authentication failed for user",
    )
    .await;
    ends(
        showing(&stranger, "certified"),
        "it does not believe our client's certificate",
    )
    .await;
}

/// `SSL_CERT_FILE` is where OpenSSL, and so the system, would have its CAs.
#[tokio::test]
async fn the_systems_cas_are_believed_where_the_url_names_none() {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let server = PostgresServer::start(Some(&authority.issue("localhost")), &authority);
    for parameters in ["sslmode=verify-full", "sslrootcert=system"] {
        let start = Start::bare(&["migrate"]).on(&server.url("encrypted", "localhost", parameters));
        ends(
            start.env("SSL_CERT_FILE", &authority.write(&folder)),
            REACHED,
        )
        .await;
    }
}

/// Steps: a service starts while the server's certificate has expired, and waits; the certificate is renewed; it opens.
#[tokio::test]
async fn a_service_goes_on_once_an_expired_certificate_is_renewed() {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let server = PostgresServer::start(Some(&authority.issue("localhost")), &authority);
    let url = server.url(
        "encrypted",
        "localhost",
        &format!(
            "sslmode=verify-full&sslrootcert={}",
            authority.write(&folder)
        ),
    );
    ends(
        Start::bare(&["migrate"])
            .with(&["--partitions", "1"])
            .on(&url),
        REACHED,
    )
    .await;
    server.shows(&authority.issue_expired("localhost"));
    let ops = format!("127.0.0.1:{}", free_port());
    let waits = async || {
        let answer = reqwest::get(format!("http://{ops}/readyz"))
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        answer.contains("database").then_some(())
    };
    let start = Start::bare(&[
        "serve",
        "query-api",
        "--query-listen",
        "127.0.0.1:0",
        "--ops-listen",
        &ops,
    ])
    .on(&url);
    let renewing = async {
        within(TEST_TIMEOUT, "waiting for the database", waits).await;
        server.shows(&authority.issue("localhost"));
    };
    let (moa, ()) = tokio::join!(start.open(), renewing);
    assert!(
        moa.logged()
            .contains("it expired at 2021-01-01T00:00:00Z: renew it"),
        "{}",
        moa.logged()
    );
}

async fn ends(start: Start, expected: &str) {
    let ended = start.end().await;
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(
        ended.status.success(),
        expected == REACHED,
        "{expected}: {said}"
    );
    assert!(said.contains(expected), "{expected}: {said}");
}
