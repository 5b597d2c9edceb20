//! What a newcomer sees when Moa has started.

use crate::database::Database;
use crate::settings::ServeSettings;
use crate::token::Secret;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Where the three listeners are.
pub(crate) struct Addresses {
    query: SocketAddr,
    command: SocketAddr,
    admin: SocketAddr,
}

impl Addresses {
    pub(crate) fn of(query: &TcpListener, command: &TcpListener, admin: &TcpListener) -> io::Result<Self> {
        Ok(Self { query: query.local_addr()?, command: command.local_addr()?, admin: admin.local_addr()? })
    }

    fn are_public(&self) -> bool {
        !self.query.ip().is_loopback() || !self.command.ip().is_loopback()
    }
}

/// Prints what was opened and how to try it. A token is printed only when Moa made it.
pub(crate) fn print(settings: &ServeSettings, database: &Database, at: &Addresses, made: Option<&Secret>) {
    println!("Moa is open.\n");
    println!("  read     http://{}", at.query);
    println!("  write    http://{}", at.command);
    println!("  admin    http://{}", at.admin);
    println!("  data     {}", database.describe());
    if let Some(private) = database.private() {
        println!("           look inside: {}", private.psql_command());
    }
    match made {
        Some(token) => println!("  token    {}  (operator; made by Moa)", token.reveal()),
        None => println!("  token    as set (operator)"),
    }
    if at.are_public() {
        println!("\n  X-USER-ID is not authenticated: whoever reaches these ports can invest as anybody.");
        tracing::warn!("listening beyond loopback while X-USER-ID is not authenticated");
    }
    if !settings.no_demo {
        print_trial(at);
    }
    println!("\nCtrl-C stops it.");
}

/// Prints that a service alone is open, and where.
pub(crate) fn service(name: &str, listeners: &[(&str, SocketAddr)], database: &Database) {
    println!("Moa's {name} is open.\n");
    for (who, address) in listeners {
        println!("  {who:8} http://{address}");
    }
    println!("  {:8} {}", "data", database.describe());
    let is_public = |who: &str| matches!(who, "read" | "write");
    if listeners.iter().any(|(who, address)| is_public(who) && !address.ip().is_loopback()) {
        tracing::warn!("listening beyond loopback while X-USER-ID is not authenticated");
    }
    println!("\nCtrl-C stops it.");
}

fn print_trial(at: &Addresses) {
    println!("\nTry it:\n");
    println!("  curl -X GET \"http://localhost:{}/api/product?page=0&size=10\"", at.query.port());
    println!(
        "  curl -X POST \"http://localhost:{}/api/invest\" -H \"X-USER-ID: user4\" \
         -H \"Content-Type: application/json\" -d '{{\"investAmount\": 10, \"productId\": 3}}'",
        at.command.port()
    );
    println!(
        "  curl -X GET \"http://localhost:{}/api/product/my/invest?page=0&size=10\" -H \"X-USER-ID: user4\"",
        at.query.port()
    );
}
