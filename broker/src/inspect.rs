//! What a broker is and how its queues are declared, for who sets a system up. It changes nothing: a queue that is missing stays so.

use crate::address::Address;
use crate::supervised_connection::within_timeout;
use crate::topology::{self, is_precondition_failed};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

/// How long the server may take to accept a connection, or to say its version.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a client says first, in AMQP 0-9-1.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Bytes of a frame before its payload: its type, its channel, and the payload's length.
const FRAME_HEADER_BYTES: usize = 7;
/// The largest first frame that is read.
const MAX_START_BYTES: usize = 64 * 1024;
/// In the table of the server's properties: a name with its length before it, and the type of a long string.
const VERSION_FIELD: &[u8] = b"\x07versionS";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// As the server says it; `None` where it does not.
    pub version: Option<String>,
    /// The queues that are there, with the arguments of this release.
    pub declared: usize,
    /// Those that are not there.
    pub missing: Vec<String>,
    /// Those that have other arguments, with what the server says.
    pub different: Vec<(String, String)>,
}

/// Inspects the server at `address`, and the queues of these consumers of a log with so many partitions, and of their marks.
///
/// # Errors
/// Why it cannot be reached or asked, in a sentence.
pub async fn inspect(
    address: &Address,
    log_id: Uuid,
    consumers: &[&str],
    partitions: i32,
) -> Result<Inspection, String> {
    let connection = connect(address)
        .await
        .map_err(|error| address.explain(&error))?;
    let version = timeout(CONNECT_TIMEOUT, version(address))
        .await
        .ok()
        .and_then(Result::ok)
        .flatten();
    let mut found = Inspection {
        version,
        ..Inspection::default()
    };
    let of_consumer = |consumer: &str| {
        (0..partitions)
            .map(|at| topology::queue(log_id, consumer, at))
            .collect::<Vec<_>>()
    };
    let of_consumers = consumers
        .iter()
        .flat_map(|consumer| of_consumer(consumer))
        .map(|name| (name, topology::arguments()));
    let of_marks = (0..partitions).map(|at| {
        (
            topology::marks_queue(log_id, at),
            topology::marks_arguments(),
        )
    });
    for (name, arguments) in of_consumers.chain(of_marks) {
        inspect_queue(&connection, name, arguments, &mut found)
            .await
            .map_err(|error| error.to_string())?;
    }
    connection.close(200, "inspected".into()).await.ok();
    Ok(found)
}

async fn connect(address: &Address) -> lapin::Result<Connection> {
    let options = ConnectionProperties::default().with_connection_name("moa doctor".into());
    let connected = timeout(CONNECT_TIMEOUT, address.connect(options)).await;
    connected
        .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "no answer in time").into()))
}

/// A passive declaration tells whether the queue is there; only another with arguments compares them, and makes none that is there.
async fn inspect_queue(
    connection: &Connection,
    name: String,
    arguments: FieldTable,
    found: &mut Inspection,
) -> lapin::Result<()> {
    // The server closes a channel with what it refuses.
    let channel = within_timeout(connection.create_channel()).await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    if within_timeout(channel.queue_declare(name.as_str().into(), passive, FieldTable::default()))
        .await
        .is_err()
    {
        found.missing.push(name);
        return Ok(());
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    match within_timeout(channel.queue_declare(name.as_str().into(), options, arguments)).await {
        Ok(_) => {
            found.declared += 1;
            within_timeout(channel.close(200, "inspected".into())).await?;
        }
        Err(error) if is_precondition_failed(&error) => {
            found.different.push((name, error.to_string()))
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The client library does not show what the server says of itself at the beginning.
async fn version(address: &Address) -> io::Result<Option<String>> {
    let (host, port) = address.place();
    let stream = TcpStream::connect((host, port)).await?;
    match address.tls() {
        Some((server, trust)) => {
            let connector = TlsConnector::from(std::sync::Arc::new(trust.client_config()));
            read_version(connector.connect(server.clone(), stream).await?).await
        }
        None => read_version(stream).await,
    }
}

async fn read_version(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<Option<String>> {
    stream.write_all(PROTOCOL_HEADER).await?;
    let mut header = [0; FRAME_HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let [_, _, _, length @ ..] = header;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let mut payload = vec![0; length.min(MAX_START_BYTES)];
    stream.read_exact(&mut payload).await?;
    Ok(version_in(&payload))
}

fn version_in(properties: &[u8]) -> Option<String> {
    let at = properties
        .windows(VERSION_FIELD.len())
        .position(|bytes| bytes == VERSION_FIELD)?;
    let (length, rest) = properties
        .get(at + VERSION_FIELD.len()..)?
        .split_first_chunk::<4>()?;
    let text = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_among_the_properties_and_nothing_else_is_taken_for_one() {
        let properties =
            b"\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x063.10.8\x05linux";
        assert_eq!(version_in(properties).as_deref(), Some("3.10.8"));
        for damaged in [
            &properties[..10],
            b"\x07versionS\x00\x00\x00\xff3.10",
            b"\x07versionS\x00",
            b"",
        ] {
            assert_eq!(version_in(damaged), None);
        }
    }
}
