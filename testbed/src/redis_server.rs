//! A Redis of a test's own, to be killed and frozen.

use crate::certificates::{Authority, Issued};
use crate::{TempFolder, free_port};
use redis::Client;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that takes longer to start is none.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is asked whether it has.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// At a port that was free; keeps nothing on disk; gone with the value.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    process: Option<Child>,
    encrypted: Option<Encrypted>,
}

/// Where it speaks TLS too.
#[derive(Debug)]
struct Encrypted {
    port: u16,
    folder: TempFolder,
}

impl RedisServer {
    /// A port where nobody listens.
    pub fn nowhere() -> Self {
        let reserved = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self {
            port: reserved.expect("a free port").port(),
            process: None,
            encrypted: None,
        }
    }

    /// Starts one that speaks TLS too, and there wants a certificate of its clients that `clients` issued, where there is one.
    pub fn start_encrypted(certificate: &Issued, clients: Option<&Authority>) -> Self {
        let folder = TempFolder::new("redis");
        let files = [
            ("cert.pem", &certificate.certificate),
            ("key.pem", &certificate.key),
        ];
        let ca = clients.map(Authority::pem).unwrap_or_default();
        for (name, text) in files.into_iter().chain([("clients.pem", &ca)]) {
            std::fs::write(folder.join(name), text).expect("a file");
        }
        let mut server = Self::nowhere();
        server.encrypted = Some(Encrypted {
            port: free_port(),
            folder,
        });
        server.start();
        server
    }

    /// Its address over TLS, by this name of the machine's; only where it speaks TLS.
    pub fn encrypted_url(&self, host: &str) -> String {
        format!(
            "rediss://{host}:{}",
            self.encrypted.as_ref().expect("it speaks TLS").port
        )
    }

    /// Its address, whether it runs or not.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::open(self.url()).expect("a good address")
    }

    /// Starts it, empty, and waits until it answers.
    pub fn start(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        self.encrypted
            .iter()
            .for_each(|encrypted| encrypted.tell(&mut command));
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .current_dir(std::env::temp_dir())
            .spawn();
        self.process =
            Some(process.expect("this test does harm to a Redis of its own: install redis-server"));
        let start = Instant::now();
        while self.client().get_connection().is_err() {
            assert!(
                start.elapsed() < START_TIMEOUT,
                "a private Redis did not start"
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends it at once, with all it has.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process
            .kill()
            .and_then(|()| process.wait())
            .expect("it ends");
    }

    /// Stops it in its tracks.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("it runs").id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .is_ok_and(|status| status.success())
        );
    }
}

impl Encrypted {
    fn tell(&self, command: &mut Command) {
        let wants =
            std::fs::read(self.folder.join("clients.pem")).is_ok_and(|text| !text.is_empty());
        command.args([
            "--tls-port",
            &self.port.to_string(),
            "--tls-auth-clients",
            if wants { "yes" } else { "no" },
        ]);
        let files = [
            ("--tls-cert-file", "cert.pem"),
            ("--tls-key-file", "key.pem"),
            ("--tls-ca-cert-file", "clients.pem"),
        ];
        // Without clients' certificates it has no CA to name.
        for (flag, name) in files
            .into_iter()
            .filter(|(flag, _)| wants || *flag != "--tls-ca-cert-file")
        {
            command.args([flag, &self.folder.file(name)]);
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}
