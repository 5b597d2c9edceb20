//! A RabbitMQ of a test's own, to be stopped, wiped and started again on the same port.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testbed::certificates::{Authority, Issued};
use testbed::{TempFolder, free_port};

use crate::harness::{TEST_TIMEOUT, within};

/// How long a server may take to answer before it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether a node is there.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A node beside whatever node the machine runs.
pub struct RabbitMq {
    node: Option<Child>,
    programs: PathBuf,
    home: TempFolder,
    port: u16,
    mapper_port: u16,
    dist_port: u16,
    encrypted_port: u16,
}

impl RabbitMq {
    pub async fn start() -> Self {
        Self::start_in(TempFolder::new("rabbitmq"), free_port(), "").await
    }

    /// One that speaks TLS too, and there wants a certificate of its clients that `clients` issued.
    pub async fn start_encrypted(certificate: &Issued, clients: &Authority) -> Self {
        let (home, port) = (TempFolder::new("rabbitmq"), free_port());
        let (ca, files) = (clients.write(&home), certificate.write(&home));
        let settings = format!(
            "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {ca}\nssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
            files.certificate, files.key
        );
        Self::start_in(home, port, &settings).await
    }

    async fn start_in(home: TempFolder, encrypted_port: u16, settings: &str) -> Self {
        for (name, text) in [
            ("env.conf", ""),
            ("rabbitmq.conf", settings),
            ("plugins", "[].\n"),
        ] {
            fs::write(home.join(name), text).unwrap();
        }
        let (port, mapper_port, dist_port) = (free_port(), free_port(), free_port());
        let mut rabbit = Self {
            node: None,
            programs: programs(),
            home,
            port,
            mapper_port,
            dist_port,
            encrypted_port,
        };
        rabbit.start_again().await;
        rabbit
    }

    fn log(&self) -> File {
        File::options()
            .append(true)
            .create(true)
            .open(self.home.join("log"))
            .unwrap()
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its address over TLS, by this name of the machine's; only where it speaks TLS.
    pub fn encrypted_url(&self, host: &str) -> String {
        format!("amqps://guest:guest@{host}:{}/%2f", self.encrypted_port)
    }

    /// Stops it as an operator does, and waits until all its processes are gone: the script ends before the node does.
    pub async fn stop(&mut self) {
        let mut node = self.node.take().expect("it runs");
        let group = format!("-{}", node.id());
        let tell = |signal: &str| {
            Command::new("kill")
                .args([signal, "--", &group])
                .output()
                .unwrap()
                .status
                .success()
        };
        tell("-TERM");
        node.wait().unwrap();
        within(2 * TEST_TIMEOUT, "the end of RabbitMQ", async || {
            (!tell("-0")).then_some(())
        })
        .await;
    }

    /// Removes everything it kept; to be called while it is stopped.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.home.join("mnesia")).unwrap();
    }

    pub async fn start_again(&mut self) {
        let url = self.url();
        let start = Instant::now();
        let connection = loop {
            // A node that finds its name or a port still taken by the one before it ends by itself.
            let ended = |node: &mut Child| !matches!(node.try_wait(), Ok(None));
            if self.node.as_mut().is_none_or(ended) {
                self.spawn();
            }
            let connecting =
                lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
            // A node that is still starting may take a connection and say nothing.
            if let Ok(Ok(connection)) = tokio::time::timeout(ANSWER_TIMEOUT, connecting).await {
                break connection;
            }
            assert!(
                start.elapsed() < 4 * TEST_TIMEOUT,
                "RabbitMQ does not start: {}",
                self.last_words()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        tokio::time::timeout(ANSWER_TIMEOUT, connection.close(200, "".into()))
            .await
            .ok();
    }

    fn spawn(&mut self) {
        let mut command = Command::new(self.programs.join("rabbitmq-server"));
        self.own(&mut command)
            .stdin(Stdio::null())
            .stdout(self.log())
            .stderr(self.log());
        self.node = Some(
            command
                .current_dir(&*self.home)
                .process_group(0)
                .spawn()
                .unwrap(),
        );
    }

    /// The end of what it printed.
    fn last_words(&self) -> String {
        let said = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        said.lines()
            .rev()
            .take(20)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Everything that would else be shared with the machine's own node.
    fn own<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let ours = |name: &str| name.starts_with("RABBITMQ_") || name.starts_with("ERL_");
        std::env::vars()
            .filter(|(name, _)| ours(name))
            .for_each(|(name, _)| {
                command.env_remove(name);
            });
        let home = |name: &str| self.home.join(name);
        command
            .env("HOME", &*self.home)
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_NODENAME",
                format!("moa_test_{}@localhost", self.port),
            )
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", home("mnesia"))
            .env("RABBITMQ_LOG_BASE", home("logs"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home("plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", home("env.conf"))
            .env("RABBITMQ_CONFIG_FILE", home("rabbitmq.conf"))
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take() {
            // The script that was started and the node that it started.
            Command::new("kill")
                .args(["-KILL", "--", &format!("-{}", node.id())])
                .status()
                .ok();
            node.wait().ok();
        }
        // The node has started the Erlang port mapper, which outlives it.
        let mut mapper = Command::new("epmd");
        mapper
            .args(["-port", &self.mapper_port.to_string(), "-kill"])
            .env("ERL_EPMD_PORT", self.mapper_port.to_string());
        mapper.output().ok();
    }
}

/// Where the package keeps its programs: the wrappers in PATH run under an account of their own.
fn programs() -> PathBuf {
    let folders = [
        "/usr/lib/rabbitmq/lib",
        "/opt/homebrew/opt/rabbitmq",
        "/usr/local/opt/rabbitmq",
        "/opt/rabbitmq",
    ];
    let inside = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten();
    let beside = inside.filter_map(|entry| Some(entry.ok()?.path().join("sbin")));
    let plain = folders.iter().map(|folder| Path::new(folder).join("sbin"));
    let found = beside
        .chain(plain)
        .find(|sbin| sbin.join("rabbitmq-server").is_file());
    found.expect("this test stops and wipes a RabbitMQ of its own: install rabbitmq-server")
}
