//! What is asked.

use super::Users;
use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Writes the request of a ticket into an empty buffer.
type WriteRequest = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

/// The requests of one load, each with a ticket: 0, 1, 2... Clones take from the same tickets.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) to: SocketAddr,
    write: Arc<WriteRequest>,
    next: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
}

impl Requests {
    fn new(to: SocketAddr, write: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self {
            to,
            write: Arc::new(write),
            next: Arc::default(),
            accepted: Arc::default(),
        }
    }

    /// The next ticket.
    pub(crate) fn ticket(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn write(&self, ticket: u64, into: &mut Vec<u8>) {
        into.clear();
        (self.write)(ticket, into);
    }

    /// How many were answered with an acceptance so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Invests of 1 won in one product after another; with `keys`, each has an `Idempotency-Key` of its own.
pub(crate) fn invest(to: SocketAddr, products: Vec<i64>, users: Users, keys: bool) -> Requests {
    let load = Uuid::now_v7().simple();
    Requests::new(to, move |ticket, into| {
        let product = products[ticket as usize % products.len()];
        let key = if keys {
            format!("Idempotency-Key: {load}-{ticket}\r\n")
        } else {
            String::new()
        };
        write_invest(
            into,
            product,
            format_args!("user{}", users.of(ticket)),
            &key,
        );
    })
}

/// A request to invest 1 won.
pub(crate) fn invest_request(product: i64, user: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_invest(&mut request, product, user, "");
    request
}

/// Reads of one path, by one user after another where there are users.
pub(crate) fn get(to: SocketAddr, path: &str, users: Option<Users>) -> Requests {
    let path = path.to_owned();
    Requests::new(to, move |ticket, into| {
        let user = users
            .map(|users| format!("X-USER-ID: user{}\r\n", users.of(ticket)))
            .unwrap_or_default();
        // A Vec takes every write.
        write!(into, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{user}\r\n").ok();
    })
}

fn write_invest(into: &mut Vec<u8>, product: i64, user: impl Display, headers: &str) {
    let body = format!(r#"{{"investAmount": 1, "productId": {product}}}"#);
    write!(
        into,
        "POST /api/invest HTTP/1.1\r\nHost: localhost\r\nX-USER-ID: {user}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok();
}
