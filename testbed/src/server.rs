//! The server that the databases are made on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

/// Where the server is looked for when `DATABASE_URL` is not set.
pub const DEFAULT_URL: &str = "postgres://postgres@127.0.0.1:5432/postgres";

/// Every database this crate makes or drops has a name that begins so.
pub const PREFIX: &str = "moa_test_";

/// A server that takes longer to answer counts as absent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// No statement of ours on the server takes so long, unless the machine stands still.
const STATEMENT_TIMEOUT: &str = "60s";

/// A server by its URL.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    url: String,
}

/// Why no database can be had; its text is one sentence for who runs the tests. The password is never in it.
#[derive(Debug)]
pub(crate) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Server {
    pub(crate) fn from_env() -> Result<Server, Unusable> {
        // HTTP clients, which most tests of services have, want one even where they speak no TLS.
        tls::install_provider();
        let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned());
        match PgConnectOptions::from_str(&url) {
            Ok(_) => Ok(Server {
                url: without_tls(&url),
            }),
            Err(error) => Err(Unusable(format!(
                "DATABASE_URL is no PostgreSQL URL ({error}), correct or unset it"
            ))),
        }
    }

    /// A connection to the database that the server's URL names, where databases are made from.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Unusable> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect(&self.url)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(_) => Err(self.refused("no answer in time")),
        }
    }

    pub(crate) async fn try_connect(&self, url: &str) -> Result<PgConnection, sqlx::Error> {
        let options =
            PgConnectOptions::from_str(url)?.options([("statement_timeout", STATEMENT_TIMEOUT)]);
        options.disable_statement_logging().connect().await
    }

    /// The sentence for a server that cannot be used because of `cause`.
    pub(crate) fn refused(&self, cause: impl fmt::Display) -> Unusable {
        let place = place_of(&self.url);
        Unusable(format!(
            "the tests need a PostgreSQL server and {place} cannot be used ({cause}): set DATABASE_URL to one whose \
             user may create databases, or run `make test`, which finds or starts one"
        ))
    }

    /// The URL of another database on this server.
    pub(crate) fn url_of(&self, database: &str) -> String {
        let (before, after) = around_path(&self.url);
        format!("{before}/{database}{after}")
    }

    pub(crate) fn drop_database_blocking(&self, name: &str) -> Result<(), sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut admin = self.try_connect(&self.url).await?;
            drop_database(&mut admin, name).await?;
            admin.close().await
        })
    }
}

/// Drops one of our own databases, if it is there, and ends the sessions that still use it.
pub(crate) async fn drop_database(admin: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    assert!(name.starts_with(PREFIX), "{name} is no test database");
    let statement = format!(r#"drop database if exists "{name}" with (force)"#);
    sqlx::query(&statement).execute(admin).await.map(|_| ())
}

/// The URL as Moa reads one of this machine: sqlx would ask for TLS where the URL says nothing of it, which costs every test.
fn without_tls(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    if url.contains("sslmode=") {
        url.to_owned()
    } else {
        format!("{url}{separator}sslmode=disable")
    }
}

/// What stands before and after the path of a URL.
fn around_path(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let query = url[authority..]
        .find('?')
        .map_or(url.len(), |at| authority + at);
    let path = url[authority..query]
        .find('/')
        .map_or(query, |at| authority + at);
    (&url[..path], &url[query..])
}

/// A URL without its scheme, user, password and parameters.
fn place_of(url: &str) -> &str {
    let (before, _) = around_path(url);
    let authority = before.split("://").last().unwrap_or(before);
    authority.rsplit('@').next().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server {
            url: url.to_owned(),
        }
    }

    #[test]
    fn the_path_of_the_url_is_replaced_and_nothing_else() {
        for (given, expected) in [
            ("postgres://me:pw@host:1/db", "postgres://me:pw@host:1/x"),
            ("postgres://me@host", "postgres://me@host/x"),
            (
                "postgres://host/?sslmode=disable",
                "postgres://host/x?sslmode=disable",
            ),
            (
                "postgres://host?application_name=a/b",
                "postgres://host/x?application_name=a/b",
            ),
            ("postgres:///db?host=/run/pg", "postgres:///x?host=/run/pg"),
            (
                "postgres://me@%2Frun%2Fpg/db",
                "postgres://me@%2Frun%2Fpg/x",
            ),
        ] {
            assert_eq!(server(given).url_of("x"), expected);
        }
    }

    #[test]
    fn the_refusal_does_not_show_the_password() {
        let sentence = server("postgres://me:secret@host:1/db")
            .refused("why")
            .to_string();
        assert!(
            sentence.contains("host:1") && !sentence.contains("secret"),
            "{sentence}"
        );
    }

    #[tokio::test]
    #[should_panic(expected = "is no test database")]
    async fn a_foreign_database_is_never_dropped() {
        let mut admin = Server::from_env().unwrap().connect().await.unwrap();
        let _ = drop_database(&mut admin, "postgres").await;
    }
}
