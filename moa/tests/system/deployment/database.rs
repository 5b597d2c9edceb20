//! The deployment's PostgreSQL, and the logins of its services.

use moa::postgres::{Embedded, Options};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::harness::Start;

const LOGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/logins.sql");

/// The URL of a private server's database.
pub fn url_of(at: &PgConnectOptions) -> String {
    let socket = at
        .get_socket()
        .expect("it listens on a socket only")
        .display()
        .to_string();
    let (user, port, name) = (at.get_username(), at.get_port(), at.get_database().unwrap());
    format!("postgres://{user}@localhost:{port}/{name}?host={socket}")
}

/// A PostgreSQL of its own: two of each service have more connections than a shared one can spare.
pub struct Database {
    _server: Embedded,
    pub url: String,
}

impl Database {
    pub async fn start() -> Self {
        let options = Options {
            data_dir: std::env::temp_dir(),
            ephemeral: true,
        };
        let server = Embedded::start(&options).await.unwrap();
        let url = url_of(&server.connect_options());
        Self {
            _server: server,
            url,
        }
    }

    pub fn pool(&self) -> PgPool {
        PgPool::connect_lazy(&self.url).unwrap()
    }

    /// The same, as somebody who is no superuser.
    pub fn url_as(&self, login: &str) -> String {
        let (_, rest) = self.url.split_once('@').unwrap();
        format!("postgres://{login}@{rest}")
    }

    /// A login for each service, made as `docs/deploying.md` says, and what its owner then migrates.
    pub async fn make_logins(&self) {
        let (pool, text) = (self.pool(), std::fs::read_to_string(LOGINS).unwrap());
        // What psql would put in: nobody asks for passwords here.
        let lines = text.lines().filter(|line| !line.starts_with('\\'));
        let plain = |line: &str| match line.split_once(":'") {
            Some((before, after)) => format!("{before}'any'{}", after.split_once('\'').unwrap().1),
            None => line.replace(":\"DBNAME\"", "moa"),
        };
        let statements: Vec<_> = lines.map(plain).collect();
        sqlx::raw_sql(&statements.join("\n"))
            .execute(&pool)
            .await
            .unwrap();
        let migrate = Start::bare(&["migrate", "--partitions", "4"]).on(&self.url_as("migrate"));
        let migrated = migrate.end().await;
        assert!(migrated.status.success(), "{}", migrated.err);
    }
}
