//! A Redis of a test's own, to be killed and frozen.

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
}

impl RedisServer {
    /// A port where nobody listens.
    pub fn nowhere() -> Self {
        let reserved = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self { port: reserved.expect("a free port").port(), process: None }
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
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir(std::env::temp_dir()).spawn();
        self.process = Some(process.expect("this test does harm to a Redis of its own: install redis-server"));
        let start = Instant::now();
        while self.client().get_connection().is_err() {
            assert!(start.elapsed() < START_TIMEOUT, "a private Redis did not start");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends it at once, with all it has.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().and_then(|()| process.wait()).expect("it ends");
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
        assert!(Command::new("kill").args([signal, &id]).status().is_ok_and(|status| status.success()));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}
