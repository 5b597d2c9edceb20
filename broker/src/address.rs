//! The broker's address.

use crate::tls_runtime::TlsRuntime;
use async_rs::Runtime;
use async_rs::traits::Reactor;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use rustls::pki_types::ServerName;
use std::fmt;
use tls::Trust;

/// The heartbeat that is requested, in seconds, unless the address names another; the server's default is 60.
const HEARTBEAT_SECONDS: u16 = 10;
/// The longest name of a virtual host in AMQP, in bytes.
const MAX_VHOST_BYTES: usize = 255;

/// A broker's address with its login, well-formed, and whose certificates are believed there.
#[derive(Clone)]
pub struct Address {
    uri: AMQPUri,
    /// Where it is reached over TLS.
    tls: Option<(ServerName<'static>, Trust)>,
}

impl Address {
    /// Parses `url`; does not connect. Its scheme says whether TLS is spoken: `amqps`, or `amqp` without. Then the server must
    /// have a certificate for the host's name that `trust` believes.
    ///
    /// # Errors
    /// The address can never work.
    pub fn parse(url: &str, trust: &Trust) -> Result<Self, AddressError> {
        let uri = parse(url)?;
        let tls = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => Some((server_name(&uri.authority.host)?, trust.clone())),
        };
        Ok(Self { uri, tls })
    }

    /// The host and the port.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.uri.authority.host, self.uri.authority.port)
    }

    /// The name that its certificate must have, and whose certificates are believed; `None` without TLS.
    pub(crate) fn tls(&self) -> Option<&(ServerName<'static>, Trust)> {
        self.tls.as_ref()
    }

    /// Connects, without a time-out.
    pub(crate) async fn connect(&self, options: ConnectionProperties) -> lapin::Result<Connection> {
        let Some((server, trust)) = &self.tls else {
            return Connection::connect_uri(self.uri.clone(), options).await;
        };
        let runtime = Runtime::new(TlsRuntime::new(server.clone(), trust));
        Connection::connector(self.uri.clone(), runtime, connect_encrypted, options).await
    }
}

async fn connect_encrypted(
    uri: AMQPUri,
    runtime: Runtime<TlsRuntime>,
) -> lapin::Result<AsyncTcpStream<<TlsRuntime as Reactor>::TcpStream>> {
    let addresses = runtime.to_socket_addrs((uri.authority.host, uri.authority.port));
    Ok(AsyncTcpStream::connect(&runtime, addresses).await?)
}

fn server_name(host: &str) -> Result<ServerName<'static>, AddressError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| AddressError("its host is no name that a certificate can have"))
}

impl fmt::Debug for Address {
    /// Without the address: it has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(secret)")
    }
}

/// An address that can never work. The message does not contain the address, which has a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the broker's address cannot be used: {0}; it should read like amqp://user:password@host:5672/%2f, or amqps:// for TLS"
)]
pub struct AddressError(&'static str);

/// A server that refuses a certificate may break the connection off before it has said so.
const BROKEN_OFF: &str = "the server broke the TLS connection off: it may want a client's certificate, or it does not believe our client's \
     certificate (MOA_TLS_CLIENT_CERT_FILE)";

impl Address {
    /// Why it cannot be reached, for whoever can mend it.
    pub(crate) fn explain(&self, error: &lapin::Error) -> String {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if let Some(why) = tls::explain(error) {
            return why;
        }
        match error.kind() {
            lapin::ErrorKind::IOError(cause)
                if self.tls.is_some()
                    && matches!(
                        cause.kind(),
                        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
                    ) =>
            {
                BROKEN_OFF.into()
            }
            _ => error.to_string(),
        }
    }
}

fn parse(url: &str) -> Result<AMQPUri, AddressError> {
    // The parser's own message may contain the address.
    let mut address: AMQPUri = url
        .parse()
        .map_err(|_| AddressError("it is no AMQP address"))?;
    // The parser would silently read it as localhost.
    if url.contains("@[") || url.contains("//[") {
        return Err(AddressError("an IPv6 address needs a host name"));
    }
    // amqp://host/ names a virtual host with an empty name; everybody who writes it means the default one.
    if address.vhost.is_empty() {
        address.vhost = "/".into();
    }
    if address.vhost.len() > MAX_VHOST_BYTES {
        return Err(AddressError("its virtual host is longer than 255 bytes"));
    }
    address.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Address::parse(url, &Trust::default())
            .expect_err("it should be refused")
            .to_string()
    }

    #[test]
    fn a_bad_address_is_one_sentence_without_the_password() {
        for url in [
            "",
            "secret-canary",
            "amqp:secret-canary",
            "http://user:secret-canary@host",
            "amqps://user:secret-canary@-host-:5671/%2f",
            "amqp://user:secret-canary@host:port/%2f",
            "amqp://user:secret-canary@[::1]:5672/%2f",
            &format!("amqp://user:secret-canary@host/{}", "v".repeat(256)),
        ] {
            let said = refused(url);
            assert!(
                said.starts_with("the broker's address cannot be used: "),
                "{said}"
            );
            assert!(!said.contains("secret-canary"), "{said}");
        }
    }

    #[test]
    fn an_address_without_a_virtual_host_means_the_default_one() {
        for (url, vhost) in [
            ("amqp://host", "/"),
            ("amqp://host/", "/"),
            ("amqp://host/%2f", "/"),
            ("amqp://host/v", "v"),
        ] {
            assert_eq!(parse(url).expect("a good address").vhost, vhost, "{url}");
        }
    }

    #[test]
    fn the_scheme_says_whether_tls_is_spoken_and_on_which_port() {
        let address = |url| Address::parse(url, &Trust::default()).expect("a good address");
        let (plain, encrypted) = (address("amqp://host"), address("amqps://host"));
        assert_eq!(
            (plain.uri.authority.port, plain.tls.is_some()),
            (5672, false)
        );
        assert_eq!(
            (encrypted.uri.authority.port, encrypted.tls.is_some()),
            (5671, true)
        );
    }

    #[test]
    fn a_heartbeat_is_asked_for_unless_the_address_says_another() {
        let heartbeat = |url| parse(url).expect("a good address").query.heartbeat;
        assert_eq!(heartbeat("amqp://host"), Some(HEARTBEAT_SECONDS));
        assert_eq!(heartbeat("amqp://host?heartbeat=3"), Some(3));
    }
}
