//! The commands of docs/backup.md, run by a shell as they stand there, but for the places.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

use crate::deployment::postgres::Servers;
use crate::harness::{Ended, OPERATOR};

/// Each block of commands, by what only it has.
pub const SETTINGS: &str = "export BACKUP=";
pub const DUMP: &str = "$BACKUP/moa.dump.part";
pub const VERIFY_DUMP: &str = "moa backup verify --dump";
pub const RESTORE_DUMP: &str = "RESTORED_URL=";
pub const ARCHIVE: &str = "archive_command";
pub const BASE_BACKUP: &str = "pg_basebackup ";
pub const RECOVER: &str = "recovery.signal";
pub const MOVE: &str = "NEW_BIN";
pub const ACCEPT_LOSS: &str = "moa restore --accept-loss";
pub const VERIFY_LOG: &str = "moa audit verify";
pub const ALL: [&str; 10] = [
    SETTINGS,
    DUMP,
    VERIFY_DUMP,
    RESTORE_DUMP,
    ARCHIVE,
    BASE_BACKUP,
    RECOVER,
    MOVE,
    ACCEPT_LOSS,
    VERIFY_LOG,
];

/// A restore of some thousand events takes seconds, on a busy machine many.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Who runs them, and where their files are.
pub struct Operator<'a> {
    servers: &'a Servers,
    account: (u32, u32),
    programs: String,
}

impl<'a> Operator<'a> {
    /// The account of the server `name`, which owns the folder from now on. The folder gets `moa` and a place for backups.
    pub fn of(servers: &'a Servers, name: &str) -> Self {
        let account = servers.give_to_account_of(name);
        let moa = servers.file("moa");
        std::fs::copy(env!("CARGO_BIN_EXE_moa"), &moa).unwrap();
        std::fs::set_permissions(&moa, std::fs::Permissions::from_mode(0o755)).unwrap();
        let asked = std::process::Command::new("pg_config")
            .arg("--bindir")
            .output();
        let own = asked
            .map(|asked| String::from_utf8(asked.stdout).unwrap().trim().to_owned())
            .unwrap_or_default();
        let operator = Self {
            servers,
            account,
            programs: own,
        };
        std::fs::create_dir(operator.file("backup")).unwrap();
        std::os::unix::fs::chown(operator.file("backup"), Some(account.0), Some(account.1))
            .unwrap();
        operator
    }

    fn file(&self, name: &str) -> String {
        self.servers.file(name)
    }

    /// Runs the block that `name` names; it must succeed. Gives what it printed.
    pub async fn run(&self, name: &str) -> String {
        self.run_with(name, &[]).await
    }

    /// The same with these words of it replaced.
    pub async fn run_with(&self, name: &str, replaced: &[(&str, &str)]) -> String {
        let text = replaced.iter().fold(block(name), |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in:\n{text}");
            text.replace(from, to)
        });
        let ended = self.shell(&text, &[]).await;
        assert!(ended.status.success(), "{text}\n{}{}", ended.out, ended.err);
        ended.out
    }

    /// Runs the block with the Moa at `admin`.
    pub async fn operate(&self, name: &str, admin: &str) -> Ended {
        self.shell(
            &block(name),
            &[("MOA_ADMIN_URL", admin), ("MOA_OPERATOR_TOKEN", OPERATOR)],
        )
        .await
    }

    /// Runs a command with the settings of the document.
    pub async fn shell(&self, command: &str, env: &[(&str, &str)]) -> Ended {
        let script = self.in_place(&format!("{}\n{command}", block(SETTINGS)));
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            Path::new(&self.file("moa")).parent().unwrap().display()
        );
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-eu", "-c", &script])
            .current_dir("/")
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C");
        shell
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        shell.uid(self.account.0).gid(self.account.1);
        let output = timeout(COMMAND_TIMEOUT, shell.output())
            .await
            .expect("it ends")
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended {
            status: output.status,
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// The document's places, as they are here.
    fn in_place(&self, script: &str) -> String {
        let places = [
            ("/var/lib/moa-new/socket", self.file("new/socket")),
            ("/var/lib/moa/socket", self.file("place")),
            ("/var/lib/moa/postgres", self.file("first/postgres")),
            ("/srv/backup", self.file("backup")),
            ("/srv/seals/seals.ndjson", self.file("seals")),
            ("/srv/seals/seal-key.pem.pub", self.file("key.pub")),
            ("/srv/moa-restored", self.file("restored")),
            ("/srv/moa-18", self.file("moved")),
            ("/usr/lib/postgresql/15/bin", self.programs.clone()),
        ];
        places.iter().fold(script.to_owned(), |script, (from, to)| {
            script.replace(from, to)
        })
    }
}

fn block(name: &str) -> String {
    let mut found: Vec<_> = blocks()
        .into_iter()
        .filter(|block| block.contains(name))
        .collect();
    assert_eq!(
        found.len(),
        1,
        "{name} must be in one block of docs/backup.md"
    );
    found.remove(0)
}

/// The document's blocks of commands, in order.
pub fn blocks() -> Vec<String> {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/backup.md")).unwrap();
    let mut parts = document.split("```");
    parts.next();
    let fenced = parts
        .step_by(2)
        .filter_map(|part| part.strip_prefix("sh\n"));
    fenced
        .map(|block| {
            block
                .lines()
                .map(|line| line.strip_prefix("   ").unwrap_or(line))
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect()
}
