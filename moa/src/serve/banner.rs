//! The banner: addresses, token, and how to try a Moa that has just started.

use super::callers::Callers;
use crate::database::Database;
use crate::output::print_banner;
use crate::secret::Secret;
use crate::settings::ServeSettings;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Where the three listeners are.
pub(super) struct Addresses {
    pub(super) query: SocketAddr,
    pub(super) command: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Addresses {
    pub(super) fn of(
        query: &TcpListener,
        command: &TcpListener,
        admin: &TcpListener,
    ) -> io::Result<Self> {
        Ok(Self {
            query: query.local_addr()?,
            command: command.local_addr()?,
            admin: admin.local_addr()?,
        })
    }

    /// Where users call.
    pub(super) fn public(&self) -> [SocketAddr; 2] {
        [self.query, self.command]
    }
}

/// Prints what was opened and how to try it. A token is printed only when Moa made it.
pub(super) fn print_all_in_one(
    settings: &ServeSettings,
    database: &Database,
    at: &Addresses,
    callers: &Callers,
    made: Option<&Secret>,
) {
    let scheme = settings.listeners.scheme();
    let mut lines = vec![
        "Moa is open.\n".to_owned(),
        format!("  read     {scheme}://{}", at.query),
        format!("  write    {scheme}://{}", at.command),
        format!("  admin    {scheme}://{}", at.admin),
        format!("  console  {scheme}://{}{}", at.admin, admin_console::PATH),
        format!("  data     {}", database.describe()),
    ];
    lines.extend(
        database
            .private()
            .map(|private| format!("           look inside: {}", private.psql_command())),
    );
    lines.push(match made {
        Some(token) => format!("  token    {}  (operator; made by Moa)", token.reveal()),
        None => "  token    as set (operator)".to_owned(),
    });
    lines.push(format!("  users    {}", callers.describe()));
    if settings.public.allowed_origins.is_empty()
        && at.public().iter().all(|address| address.ip().is_loopback())
    {
        lines.push(
            "  pages    any of this machine may call (CORS); MOA_ALLOWED_ORIGINS names others"
                .to_owned(),
        );
    }
    // Elsewhere they would be refused.
    if !settings.no_demo && callers.believe_anybody() {
        lines.extend(examples(scheme, at));
    }
    print_lines(lines);
}

/// Prints that a service alone is open, and where.
pub(super) fn service(name: &str, listeners: &[(&str, String)], database: &Database) {
    let mut lines = vec![format!("Moa's {name} is open.\n")];
    lines.extend(
        listeners
            .iter()
            .map(|(who, url)| format!("  {who:8} {url}")),
    );
    lines.push(format!("  {:8} {}", "data", database.describe()));
    print_lines(lines);
}

fn print_lines(mut lines: Vec<String>) {
    lines.push("\nCtrl-C stops it.\n".to_owned());
    print_banner(lines.join("\n"));
}

fn examples(scheme: &str, at: &Addresses) -> [String; 5] {
    let (query, command) = (at.query.port(), at.command.port());
    [
        "\nTry it:\n".to_owned(),
        format!("  curl -X GET \"{scheme}://localhost:{query}/api/product?page=0&size=10\""),
        format!(
            "  curl -X POST \"{scheme}://localhost:{command}/api/invest\" -H \"X-USER-ID: user4\" \
             -H \"Content-Type: application/json\" -d '{{\"investAmount\": 10, \"productId\": 3}}'"
        ),
        format!(
            "  curl -X GET \"{scheme}://localhost:{query}/api/product/my/invest?page=0&size=10\" -H \"X-USER-ID: user4\""
        ),
        format!(
            "  or in a browser: {scheme}://localhost:{query}/docs and {scheme}://localhost:{command}/docs"
        ),
    ]
}
