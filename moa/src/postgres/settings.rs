//! The settings of the private server.

use std::fmt::Write as _;
use std::path::Path;

/// The server's port; only a part of its socket's name, as it listens on no network.
pub(super) const PORT: u16 = 5432;

/// The server's settings, and why.
const SETTINGS: [(&str, &str, &str); 13] = [
    ("listen_addresses", "", "the Unix socket only"),
    ("fsync", "on", "an accepted invest survives a power cut"),
    (
        "synchronous_commit",
        "on",
        "the answer goes out after the disk has it; commits are grouped, so this is cheap",
    ),
    (
        "full_page_writes",
        "on",
        "a torn page is repaired after a power cut",
    ),
    (
        "max_connections",
        "220",
        "every pool of two of each service together stays below this",
    ),
    (
        "shared_buffers",
        "128MB",
        "holds the end of the log and the read models, fits a small machine",
    ),
    (
        "max_wal_size",
        "256MB",
        "bounds what is replayed after a crash: about 150 MB, under a second; costs 8 % more WAL than 512MB",
    ),
    (
        "checkpoint_timeout",
        "60s",
        "bounds what is replayed after a crash",
    ),
    (
        "jit",
        "off",
        "the queries are short, compiling them takes longer than running them",
    ),
    ("timezone", "UTC", "nothing depends on the machine's zone"),
    ("log_timezone", "UTC", "as above"),
    (
        "lc_messages",
        "C",
        "Moa looks for a few of the server's messages, in English",
    ),
    (
        "cluster_name",
        "moa",
        "tells this server from others in a list of processes",
    ),
];

/// The compressions of whole pages in the WAL, the best first; not every server was built with each.
pub(super) const WAL_COMPRESSIONS: [&str; 2] = ["lz4", "pglz"];

/// The text of `postgresql.conf`. A person's own settings go in with `alter system`, which wins over it.
pub(super) fn text(socket: &Path, wal_compression: &str) -> String {
    let mut text = String::from(
        "# Moa writes this file at every start; for settings of your own use ALTER SYSTEM.\n",
    );
    let socket = format!("\"{}\"", socket.display().to_string().replace('"', "\"\""));
    let place = (
        "unix_socket_directories",
        socket.as_str(),
        "a folder that only the owner can enter",
    );
    let port = PORT.to_string();
    let port = ("port", port.as_str(), "a part of the socket's name");
    let compression = (
        "wal_compression",
        wal_compression,
        "pages written whole after a checkpoint are small",
    );
    for (name, value, why) in [place, port, compression].iter().chain(&SETTINGS) {
        // A String takes every write.
        writeln!(
            text,
            "{name} = '{}'  # {why}",
            value.replace('\\', r"\\").replace('\'', "''")
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_folder_with_quotes_and_commas_is_quoted() {
        let text = text(Path::new(r#"/a 'b',"c"\d/socket"#), "pglz");
        assert!(
            text.contains(r#"unix_socket_directories = '"/a ''b'',""c""\\d/socket"'"#),
            "{text}"
        );
    }
}
